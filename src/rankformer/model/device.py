"""Where the model runs; and copies to there and back, which do not wait for its computations."""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rankformer.errors import SettingsError

ALL_GPUS = "cuda:all"


def list_devices(device: str | Sequence[str]) -> list[str]:
    """The devices that are to compute at the same time, a process each; empty for one in this.

    Parameters
    ----------
    device
        ``"cuda:all"`` for all GPUs of this machine, several devices, or one.

    Raises
    ------
    SettingsError
        If all GPUs were asked for, and there is none.
    """
    if not isinstance(device, str):
        return list(device)
    if device != ALL_GPUS:
        return []
    if not torch.cuda.is_available():
        raise _no_such_device(device, {"mps": torch.backends.mps.is_available()})
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())]


def choose_device(device: str = "auto") -> torch.device:
    """The device named, or with ``"auto"`` the fastest present: CUDA, Apple's MPS, else the CPU.

    Raises
    ------
    SettingsError
        If there is no such device here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return torch.device(next((name for name, here in present.items() if here), "cpu"))
    if device == ALL_GPUS:
        raise SettingsError(
            f"The device {device!r} was asked for.",
            "One device here: all GPUs work together where cells are embedded, annotated, labelled "
            "or perturbed, with `rankformer embed`, `annotate`, `predict` and `perturb`.",
            'Pass device="auto" (--device auto), or one GPU, such as cuda:0.',
        )
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise _no_such_device(device, present) from error
    missing_card = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if not present.get(chosen.type, chosen.type == "cpu") or missing_card:
        raise _no_such_device(device, present)
    return chosen


def synchronize(device: torch.device) -> None:
    """Wait until all that was queued on a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def move_to(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy a host's tensor to `device`; on CUDA it is ready there for what is queued after it.

    There it is copied beside what is computed, and nothing here waits for it.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return tensor.to(device)
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    copying, computing = _copying_stream(device, "to"), torch.cuda.current_stream(device)
    with torch.cuda.stream(copying):
        moved = tensor.pin_memory().to(device, non_blocking=True)
    computing.wait_stream(copying)
    # Its memory is another's only when what is computed with it is done.
    moved.record_stream(computing)
    return moved


class HostCopy:
    """A copy of a tensor on its way to the host; on CUDA beside what is computed next."""

    def __init__(self, tensor: Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._copy = tensor.cpu()
            return
        copying = _copying_stream(tensor.device, "from")
        copying.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(copying):
            self._copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._copy.copy_(tensor, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(copying)
        tensor.record_stream(copying)

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return self._copy.nbytes

    def wait(self) -> None:
        """Wait until it is there."""
        if self._arrived is not None:
            self._arrived.synchronize()

    def numpy(self) -> NDArray[np.float32]:
        """Wait for it."""
        self.wait()
        return self._copy.numpy()


@cache
def _copying_stream(device: torch.device, way: Literal["to", "from"]) -> torch.cuda.Stream:
    """One for each way, as memory that was used on one stream is kept for it."""
    del way
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _no_such_device(device: str, present: dict[str, bool]) -> SettingsError:
    here = ["cpu", *(name for name, is_here in present.items() if is_here)]
    return SettingsError(
        f"The device {device!r} was asked for.",
        f"On this machine, torch {torch.__version__} finds: {', '.join(here)}.",
        'Pass device="auto" (--device auto) or one of these; for a GPU, install its driver and '
        "a torch built for it.",
    )
