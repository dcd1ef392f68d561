"""Names of tensors: ours and Hugging Face's `BertForMaskedLM`, one table for both directions."""

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from rankformer.errors import CheckpointError
from rankformer.model.encoder import Encoder, MaskedLanguageModel
from rankformer.model.spec import EncoderSpec

M = TypeVar("M", Encoder, MaskedLanguageModel)
# Ours → theirs, without ".weight" and ".bias". Several of theirs are stacked in ours.
_EMBEDDING_NAMES = {
    "embeddings.token": ("embeddings.word_embeddings",),
    "embeddings.position": ("embeddings.position_embeddings",),
    "embeddings.token_type": ("embeddings.token_type_embeddings",),
    "embeddings.norm": ("embeddings.LayerNorm",),
}
_LAYER_NAMES = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "attention_out": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "ffn_in": ("intermediate.dense",),
    "ffn_out": ("output.dense",),
    "ffn_norm": ("output.LayerNorm",),
}
_DRAWING = (nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)
_HEAD_NAMES = {
    "transform": "cls.predictions.transform.dense",
    "norm": "cls.predictions.transform.LayerNorm",
    "bias": "cls.predictions.bias",
}


def load_encoder(file: Path, spec: EncoderSpec, dtype: torch.dtype = torch.float32) -> Encoder:
    """An encoder with the weights of `file`, on the CPU, not in training mode.

    Parameters
    ----------
    file
        ``model.safetensors``, or ``pytorch_model.bin`` (read with ``weights_only=True``), with the
        names of `BertForMaskedLM`, `BertModel` or a BERT with another head.
    spec
        Its shape.
    dtype
        Of the encoder. One tensor of a safetensors file at a time is held in that of the file too.

    Raises
    ------
    CheckpointError
        If the file is damaged, or its tensors do not fit `spec`.
    """
    with _Undrawn(), torch.device("meta"):
        encoder = Encoder(spec)
    return _fill(encoder, _encoder_names(spec), read_tensors(file), file, dtype)


def load_masked_language_model(file: Path, spec: EncoderSpec) -> MaskedLanguageModel:
    """As `load_encoder`, with the masked-LM head; float32."""
    with _Undrawn(), torch.device("meta"):
        model = MaskedLanguageModel(Encoder(spec))
    return _fill(model, _model_names(spec), read_tensors(file), file, torch.float32)


class _Undrawn(TorchFunctionMode):
    """Here no weights are drawn, as a file gives them: for that, torch loads its compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # Modules call them for the weights alone, and take nothing from them.
        return None if func in _DRAWING else func(*args, **(kwargs or {}))


def hugging_face_tensors(model: MaskedLanguageModel | Encoder) -> dict[str, Tensor]:
    """The weights under `BertForMaskedLM`'s names, contiguous, on the CPU."""
    state = model.state_dict()
    if isinstance(model, Encoder):
        names = _encoder_names(model.spec)
    else:
        names = _model_names(model.encoder.spec)
    tensors: dict[str, Tensor] = {}
    for ours, theirs in names:
        parts = state[ours].detach().cpu().chunk(len(theirs))
        tensors.update(zip(theirs, (part.clone() for part in parts), strict=True))
    return tensors


def _fill(
    module: M,
    names: Iterator[tuple[str, tuple[str, ...]]],
    tensors: Mapping[str, Tensor],
    file: Path,
    dtype: torch.dtype,
) -> M:
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    state: dict[str, Tensor] = {}
    # `BertModel` saves without the prefix that models with heads give it.
    prefix = "bert." if "embeddings.word_embeddings.weight" in tensors else ""
    for ours, prefixed in names:
        theirs = tuple(name.removeprefix(prefix) for name in prefixed)
        parts = [tensors[name] for name in theirs if name in tensors]
        # Ours stacks theirs, which have equal shapes, along the first axis.
        n_rows, *rest = expected[ours]
        wanted = (n_rows // len(theirs), *rest)
        misfits = [part for part in parts if part.shape != wanted or not part.is_floating_point()]
        if misfits or len(parts) < len(theirs):
            raise _misfit(file, theirs, misfits, wanted)
        if not all(bool(torch.isfinite(part.sum(dtype=torch.float32))) for part in parts):
            raise _not_finite(file, theirs)
        state[ours] = torch.cat([part.to(dtype) for part in parts])
    module.load_state_dict(state, assign=True)
    return module.eval()


def _misfit(
    file: Path, names: tuple[str, ...], misfits: list[Tensor], expected: tuple[int, ...]
) -> CheckpointError:
    what = "is missing"
    if misfits:
        kind = str(misfits[0].dtype).removeprefix("torch.")
        what = f"has the shape {tuple(misfits[0].shape)} and the type {kind}"
    return CheckpointError(
        f"In {file}, {' or '.join(names)} {what}.",
        f"Floating-point weights of shape {expected}, as config.json says.",
        "Take config.json and the weights of one checkpoint together, or fetch it again.",
    )


def _not_finite(file: Path, names: tuple[str, ...]) -> CheckpointError:
    return CheckpointError(
        f"In {file}, {' or '.join(names)} holds NaN or infinite values.",
        "Finite weights, as of a model that was trained without running off.",
        "Fetch the checkpoint again, or take one from an earlier step of the training.",
    )


class _OneByOne(Mapping[str, Tensor]):
    """Tensors of a safetensors file, each mapped into memory for as long as it is held.

    All of them in one mapping would count as memory beside the copy that the encoder keeps.
    """

    def __init__(self, file: Path) -> None:
        from safetensors import safe_open

        self._file, self._open = file, partial(safe_open, file, framework="pt")
        with self._open() as tensors:
            self._names = list(tensors.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self:
            raise KeyError(name)
        with _reading(self._file), self._open() as tensors:
            tensor: Tensor = tensors.get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_tensors(file: Path) -> Mapping[str, Tensor]:
    """Tensors of a weights file, by the names that they have there.

    Raises
    ------
    CheckpointError
        If the file is damaged or holds anything but tensors.
    """
    with _reading(file):
        return _read(file)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    # torch and safetensors raise many kinds of errors on damaged files, depending on the bytes.
    except Exception as error:
        raise CheckpointError(
            f"{file} could not be read: {_reason(error)}.",
            "Weights as safetensors, or as a PyTorch file of tensors only; no code is run.",
            "Fetch the checkpoint again: the file may be cut short or be a Git LFS pointer.",
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        # torch advises here to believe the file.
        return "it is no PyTorch file, or holds more than tensors"
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _read(file: Path) -> Mapping[str, Tensor]:
    if file.suffix == ".safetensors":
        return _OneByOne(file)
    tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise TypeError("it holds more than tensors")
    return dict(tensors)


def _encoder_names(spec: EncoderSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    prefixed = {f"layers.{i}.{ours}": [f"encoder.layer.{i}.{name}" for name in theirs]
                for i in range(spec.n_layers) for ours, theirs in _LAYER_NAMES.items()}  # fmt: skip
    for ours, theirs in {**_EMBEDDING_NAMES, **prefixed}.items():
        is_table = ours.startswith("embeddings.") and not ours.endswith("norm")
        for kind in ("weight",) if is_table else ("weight", "bias"):
            yield f"{ours}.{kind}", tuple(f"bert.{name}.{kind}" for name in theirs)


def _model_names(spec: EncoderSpec) -> Iterator[tuple[str, tuple[str, ...]]]:
    for ours, theirs in _encoder_names(spec):
        yield f"encoder.{ours}", theirs
    for ours, name in _HEAD_NAMES.items():
        if ours == "bias":
            yield ours, (name,)
        else:
            yield f"{ours}.weight", (f"{name}.weight",)
            yield f"{ours}.bias", (f"{name}.bias",)
