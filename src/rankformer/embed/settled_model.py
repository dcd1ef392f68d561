"""How a model will run: device, number format and layer, before its weights are loaded."""

from dataclasses import dataclass

import torch

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.settings import CellMode
from rankformer.errors import SettingsError
from rankformer.model.cpu.int8 import check_int8
from rankformer.model.device import choose_device
from rankformer.model.precision import choose_dtype
from rankformer.model.spec import LayerNumbering


@dataclass(frozen=True, eq=False)
class SettledModel:
    """A checkpoint of which is settled how it runs, here or in other processes.

    Attributes
    ----------
    checkpoint
        Gives weights and vocabulary.
    layer
        The hidden state to take, as Hugging Face counts them.
    device
        On which it computes.
    dtype, precision
        Of its weights and hidden states, and the name that results give it, such as ``"int8"``.
    """

    checkpoint: Checkpoint
    layer: int
    device: torch.device
    dtype: torch.dtype
    precision: str

    @property
    def d_model(self) -> int:
        return self.checkpoint.spec.d_model

    def check_mode(self, mode: CellMode) -> None:
        """Refuse a mode that there is not, or that the vocabulary does not allow."""
        check_mode(mode, self.checkpoint)


def settle_model(
    checkpoint: Checkpoint,
    *,
    emb_layer: int = -1,
    layer_numbering: LayerNumbering = "hidden_states",
    device: str = "auto",
    dtype: str = "auto",
) -> SettledModel:
    """Find out how a model will run on this machine, and check that it can; no weights are read.

    Parameters
    ----------
    checkpoint
        The model.
    emb_layer, layer_numbering, device, dtype
        As of `Embedder`.

    Raises
    ------
    SettingsError
        If a setting is outside what model and machine allow.
    """
    layer = checkpoint.spec.hidden_state_index(emb_layer, layer_numbering)
    chosen = choose_device(device)
    if dtype == "int8":
        check_int8(chosen)
        return SettledModel(checkpoint, layer, chosen, torch.float32, "int8")
    taken = choose_dtype(dtype, chosen, checkpoint.spec)
    return SettledModel(checkpoint, layer, chosen, taken, str(taken).removeprefix("torch."))


def check_mode(mode: str, checkpoint: Checkpoint) -> None:
    """Refuse a mode that there is not, or that the vocabulary of a model does not allow.

    Raises
    ------
    SettingsError
        If so.
    """
    if mode not in ("cell", "cls"):
        raise SettingsError(
            f"Mode {mode!r} was asked for, where each cell gets one vector.",
            '"cell" or "cls".',
            "For vectors of genes use `rankformer embed --mode gene`, or Embedder.genes.",
        )
    if mode == "cls" and checkpoint.vocabulary.cls_token is None:
        raise SettingsError(
            f"Mode cls was asked for, and {checkpoint.name} has no <cls> token.",
            "A V2 model: V1 models were trained without special tokens.",
            'Use mode "cell" with this model, or a model named …-i4096.',
        )
