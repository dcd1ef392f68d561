"""A fine-tuned model: a checkpoint with heads, saved in one folder.

The folder is a checkpoint like any other, whose encoder embeds; ``heads.json`` and
``heads.safetensors`` beside it say what it predicts.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.hashes import check_hash, hash_of, write_hash, written_hash
from rankformer.checkpoints.save import write_checkpoint
from rankformer.errors import CheckpointError, SettingsError
from rankformer.model.encoder import Encoder
from rankformer.model.heads import Head, Unit
from rankformer.vocabulary.vocabulary import Vocabulary

HEADS_FILE, HEAD_WEIGHTS_FILE = "heads.json", "heads.safetensors"


@dataclass(frozen=True, eq=False)
class FineTunedModel:
    """A checkpoint with heads.

    Attributes
    ----------
    checkpoint
        Encoder and vocabulary.
    heads
        What each predicts.
    modules
        Their modules, (n, d_model) → (n, n_outputs), float32 on the CPU.
    unit
        Whether cells or genes get labels.
    mode
        How a cell becomes a vector.
    """

    checkpoint: Checkpoint
    heads: tuple[Head, ...]
    modules: tuple[nn.Module, ...]
    unit: Unit
    mode: Literal["cell", "cls"]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "FineTunedModel":
        """Open a folder that `rankformer finetune` wrote.

        Raises
        ------
        CheckpointError, VocabularyError
            If it is no fine-tuned model, or damaged.
        """
        if not isinstance(folder, str | os.PathLike):
            raise CheckpointError(
                f"The fine-tuned model is given as {type(folder).__name__}.",
                "The folder that finetune wrote.",
                "Name that folder.",
            )
        folder = Path(folder)
        if not folder.exists():
            raise CheckpointError(
                f"{folder} does not exist.",
                "The folder that `rankformer finetune` wrote.",
                "Check the path.",
            )
        if not (folder / HEADS_FILE).is_file():
            raise CheckpointError(
                f"{folder} is no fine-tuned model: it has no {HEADS_FILE}.",
                "The folder that `rankformer finetune` wrote.",
                "Pass that folder: a model without heads embeds, and predicts nothing.",
            )
        checkpoint = Checkpoint.open(folder)
        heads, unit, mode = _read_heads(folder / HEADS_FILE)
        modules = _read_modules(folder / HEAD_WEIGHTS_FILE, heads, checkpoint.spec.d_model)
        return cls(checkpoint, heads, modules, unit, mode)

    def outputs(self, vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Outputs of each head, before temperature and scale.

        Parameters
        ----------
        vectors
            (n, d_model) float32; rows of NaN give NaN.

        Returns
        -------
        One (n, n_outputs) float32 a head.
        """
        return [apply_head(module, vectors) for module in self.modules]


def apply_head(module: nn.Module, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Outputs (n, n_outputs) float32 of a head on the CPU.

    A linear head is taken in float64: in float32, the last digits of a row depend on the rows
    beside it.
    """
    if isinstance(module, nn.Linear):
        weight = module.weight.detach().cpu().double().numpy()
        bias = module.bias.detach().cpu().double().numpy()
        return np.asarray(vectors.astype(np.float64) @ weight.T + bias, np.float32)
    with torch.inference_mode():
        outputs = module.cpu().eval()(torch.from_numpy(vectors))
    return np.asarray(outputs.numpy(), np.float32)


def write_finetuned(
    folder: Path,
    encoder: Encoder,
    heads: Sequence[Head],
    modules: Sequence[nn.Module],
    vocabulary: Vocabulary,
    *,
    unit: Unit,
    mode: str,
    documents: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a fine-tuned model into a folder that is there.

    Raises
    ------
    SettingsError
        If a head is a module of another kind than `torch.nn.Linear`: its code is not saved.
    """
    from safetensors.torch import save_file

    odd = [type(each).__name__ for each in modules if not isinstance(each, nn.Linear)]
    if odd:
        raise SettingsError(
            f"The head is a {odd[0]}.",
            "torch.nn.Linear, which can be made again from its weights alone: no code is saved.",
            "Save its state_dict yourself, or use one of the built-in heads.",
        )
    write_checkpoint(folder, encoder, vocabulary, documents)
    described = {"unit": unit, "pooling": mode, "heads": [asdict(head) for head in heads]}
    (folder / HEADS_FILE).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    tensors = {
        f"{i}.{name}": tensor.detach().cpu().float().contiguous()
        for i, module in enumerate(modules)
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, folder / HEAD_WEIGHTS_FILE)
    (folder / HEAD_WEIGHTS_FILE).chmod((folder / HEADS_FILE).stat().st_mode & 0o777)
    write_hash(folder / HEAD_WEIGHTS_FILE)


def _read_heads(path: Path) -> tuple[tuple[Head, ...], Unit, Literal["cell", "cls"]]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        heads = tuple(_read_head(each) for each in described["heads"])
        unit, mode = described["unit"], described["pooling"]
        if unit not in ("cell", "gene") or mode not in ("cell", "cls") or not heads:
            raise ValueError(f"unit {unit!r}, pooling {mode!r}, {len(heads)} heads")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} could not be read: {type(error).__name__} {error}.",
            "The file that `rankformer finetune` wrote.",
            "Take the folder from where the model came from again.",
        ) from error
    return heads, cast("Unit", unit), cast('Literal["cell", "cls"]', mode)


def _read_head(described: Mapping[str, Any]) -> Head:
    numbers = {key: float(described[key]) for key in ("weight", "temperature", "mean", "scale")}
    if not all(np.isfinite(list(numbers.values()))) or numbers["temperature"] <= 0:
        raise ValueError(f"{numbers}")
    return Head(str(described["name"]), tuple(map(str, described["classes"])), **numbers)


def _read_modules(path: Path, heads: Sequence[Head], d_model: int) -> tuple[nn.Module, ...]:
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        modules = tuple(nn.Linear(d_model, head.n_outputs) for head in heads)
        for i, module in enumerate(modules):
            module.load_state_dict({name: tensors[f"{i}.{name}"] for name in ("weight", "bias")})
    # safetensors and torch raise many kinds of errors on damaged files, depending on the bytes.
    except Exception as error:
        raise CheckpointError(
            f"{path} could not be read: {str(error).splitlines()[0].rstrip('.')}.",
            f"A head for each of the {len(heads)} labels in {HEADS_FILE}, on {d_model} dimensions.",
            "Take the folder from where the model came from again.",
        ) from error
    check_hash(path, hash_of(path), written_hash(path))
    if not all(bool(torch.isfinite(each).all()) for each in tensors.values()):
        raise CheckpointError(
            f"{path} holds NaN or infinite values.",
            "Finite weights of the heads.",
            "Take the folder from where the model came from again, or train anew.",
        )
    return modules
