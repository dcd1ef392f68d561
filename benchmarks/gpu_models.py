"""Models of published shapes with random weights, and the sizes of what is measured on a GPU."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rankformer import Checkpoint, Encoder, EncoderSpec, Vocabulary
    from rankformer.embed.embedder import Embedder

MODELS = ("gf-6L-30M-i2048", "gf-12L-95M-i4096", "gf-12L-104M-i4096", "gf-18L-316M-i4096")
"""The last two are the models V2-104M and V2-316M."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured: for an H100 and its like, or next to nothing on a CPU.

    Attributes
    ----------
    n_cells
        Cells that the encoder is timed on, of each of `MODELS`: less than a second each.
    n_stand_in, stand_in_batch
        Cells of the padded stand-in, and of one of its batches.
    file_cells, file_genes
        Cells of the file, and the mean number of genes of each.
    training_batch, training_length, training_steps
        Cells of a training step, their tokens, and steps.
    n_edits
        Deletions.
    """

    device: str = "cuda"
    dtype: str = "bfloat16"
    n_cells: tuple[int, ...] = (8_192, 2_048, 1_024, 384)
    n_stand_in: int = 48
    stand_in_batch: int = 24
    rounds: int = 3
    file_cells: int = 200_000
    file_genes: int = 827
    training_batch: int = 64
    training_length: int = 2_000
    training_steps: int = 8
    n_edits: int = 1_500
    is_tiny: bool = False

    @classmethod
    def tiny(cls) -> Sizes:
        """On a CPU, to see that all of it works."""
        return cls(
            device="cpu", n_cells=(6, 6, 4, 4), n_stand_in=4, stand_in_batch=2, rounds=1,
            file_cells=300, file_genes=40, training_batch=3, training_length=30, training_steps=3,
            n_edits=10, is_tiny=True,
        )  # fmt: skip


def make_spec(name: str, sizes: Sizes) -> EncoderSpec:
    """A published shape; a tiny one has a layer and few genes, and the same proportions."""
    from rankformer import EncoderSpec
    from rankformer.checkpoints.registry import require_model

    model = require_model(name)
    spec = EncoderSpec(
        vocab_size=model.release.size, n_layers=model.n_layers, d_model=model.d_model,
        n_heads=model.n_heads, d_ff=model.d_ff, max_positions=model.release.input_length,
        dropout=model.dropout, attention_dropout=model.dropout,
    )  # fmt: skip
    if not sizes.is_tiny:
        return spec
    return replace(
        spec, vocab_size=400, n_layers=1, d_model=64, n_heads=1,
        d_ff=64 * model.d_ff // model.d_model, max_positions=128,
    )  # fmt: skip


def make_vocabulary(spec: EncoderSpec, name: str) -> Vocabulary:
    """Made-up genes, as many as the model's vocabulary has."""
    from rankformer import Vocabulary
    from rankformer.checkpoints.registry import require_model

    frame = ("<cls>", "<eos>") if require_model(name).release.has_cls else ()
    names = ["<pad>", "<mask>", *frame]
    genes = [f"ENSG{i:011d}" for i in range(1, spec.vocab_size - len(names) + 1)]
    return Vocabulary.from_tables(
        {name: token for token, name in enumerate([*names, *genes])},
        dict.fromkeys(genes, 1.0),
        input_length=spec.max_positions,
        name="made up",
    )


def make_checkpoint(name: str, sizes: Sizes) -> Checkpoint:
    """A checkpoint that knows its shape and vocabulary; its weights are another model's."""
    from rankformer import Checkpoint, Encoder, MaskedLanguageModel, save_checkpoint

    spec = make_spec(name, sizes)
    small = replace(spec, n_layers=1, d_model=32, n_heads=1, d_ff=32)
    with tempfile.TemporaryDirectory() as folder:
        saved = save_checkpoint(
            Path(folder) / name, MaskedLanguageModel(Encoder(small)), make_vocabulary(spec, name)
        )
        return replace(Checkpoint.open(saved), name=name, spec=spec)


def draw_encoder(spec: EncoderSpec, device: str) -> Encoder:
    """Random weights, drawn on the device; norms and biases too, so that a mixed-up one shows."""
    import torch

    from rankformer import Encoder

    torch.manual_seed(0)
    with torch.device(device):
        encoder = Encoder(spec)
    with torch.no_grad():
        for each in encoder.parameters():
            if each.dim() == 1:
                each.add_(torch.randn_like(each), alpha=0.02)
    return encoder.eval()


def make_embedder(
    checkpoint: Checkpoint, encoder: Encoder, sizes: Sizes, *, dtype: str, device: str = ""
) -> Embedder:
    from rankformer.embed.embedder import Embedder

    return Embedder(checkpoint, encoder=encoder, dtype=dtype, device=device or sizes.device)
