"""Products of whole numbers of 8 bits, for CPUs: less time, a quarter of the layers' weights.

Shapes: T tokens, I inputs, O outputs of a product.
"""

import numpy as np
import torch
from torch import Tensor, nn

from rankformer.compilation import compile_kernel
from rankformer.errors import SettingsError
from rankformer.model.cpu.flags import cpu_flags
from rankformer.model.cpu.tiles import NEEDED, as_float
from rankformer.model.encoder import Encoder


class Int8Linear(nn.Module):
    """A linear layer, of whose weights and inputs 8 bits are kept.

    Each output has a scale for its weights, and each token one for its inputs, taken anew from
    their largest value (Yao et al., ZeroQuant, NeurIPS 2022), so that what a cell gives does not
    depend on the cells beside it. Sums are exact. Gradients do not pass, and there is no way back
    to weights that could be saved.

    Parameters
    ----------
    linear
        float32, on the CPU; it is not changed.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight_OI, scale_O = _quantize(linear.weight.detach())
        self.weight_OI: Tensor
        self.scale_O: Tensor
        self.bias: Tensor
        self.register_buffer("weight_OI", weight_OI)
        self.register_buffer("scale_O", scale_O)
        self.register_buffer("bias", linear.bias.detach().clone())

    def forward(self, inputs_TI: Tensor) -> Tensor:
        """(T, O) float32 of (T, I) float32."""
        rounded_TI, scale_T = _quantize(inputs_TI.detach())
        sums_TO: Tensor = torch._int_mm(rounded_TI, self.weight_OI.t())
        _scale_sums(sums_TO.numpy(), scale_T.numpy(), self.scale_O.numpy(), self.bias.numpy())
        return sums_TO.view(torch.float32)


def check_int8(device: torch.device) -> None:
    """Refuse int8 where it would be slow or, with older versions of torch, overflow.

    Raises
    ------
    SettingsError
        On anything but a CPU that Linux says has AVX512-VNNI.
    """
    if device.type != "cpu" or NEEDED not in cpu_flags():
        where = "a CPU without AVX512-VNNI" if device.type == "cpu" else str(device)
        raise SettingsError(
            f"int8 was asked for on {where}.",
            "A CPU with AVX512-VNNI under Linux, for which it is made.",
            "Leave dtype (--dtype) out to have what suits the machine.",
        )


def put_int8_products(encoder: Encoder) -> None:
    """Put `Int8Linear` into the layers of an encoder on a CPU, in place."""
    for layer in encoder.layers:
        for name, module in list(layer.named_children()):
            if isinstance(module, nn.Linear):
                setattr(layer, name, Int8Linear(module))


def _quantize(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(n, I) int8, and (n,) float32 by which they are multiplied to be about `rows` again."""
    rounded = torch.empty(rows.shape, dtype=torch.int8)
    scales = torch.empty(len(rows), dtype=torch.float32)
    _round_rows(rows.contiguous().numpy(), rounded.numpy(), scales.numpy())
    return rounded, scales


# With torch these take five and four passes over memory, longer than the product between them.


@compile_kernel
def _round_rows(rows, rounded, scales):  # type: ignore[no-untyped-def]
    """Round each row to whole numbers from -127 to 127."""
    n_columns = rows.shape[1]
    for row in range(len(rows)):
        # The bits of a float without its sign ascend with its absolute value; unlike floats,
        # whole numbers are compared many at once.
        bits = rows[row].view(np.int32)
        largest = np.int32(0)
        for column in range(n_columns):
            largest = max(largest, bits[column] & np.int32(0x7FFFFFFF))
        top = as_float(largest)
        scales[row] = top / np.float32(127)
        factor = np.float32(127) / top if top > 0 else np.float32(0)
        for column in range(n_columns):
            rounded[row, column] = np.int8(np.rint(rows[row, column] * factor))


@compile_kernel
def _scale_sums(sums, row_scales, column_scales, biases):  # type: ignore[no-untyped-def]
    """Put outputs, float32, in the place of sums of products, int32: new memory costs more."""
    for row in range(len(sums)):
        scale, own = row_scales[row], sums[row]
        outputs = own.view(np.float32)
        for column in range(len(own)):
            value = np.float32(own[column]) * (scale * column_scales[column])
            outputs[column] = value + biases[column]
