"""Pretraining of a toy Geneformer with `transformers.Trainer`, small enough to read at one go.

Two tasks at once: name the masked genes (15 %, as Geneformer was pretrained), and find a cell's own
thinned double among those of other cells. Of each pair, one cell is as measured, the other has lost
up to 70 % of its molecules. Without the second task, a minute of training helps no embedding.

Shapes: T packed tokens, M masked genes, C cells, D hidden, V vocabulary.
"""
# ruff: noqa: N803, N806 (shape suffixes)

import tempfile
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from rankformer import (
    Encoder,
    EncoderSpec,
    MaskedLanguageModel,
    PackedBatch,
    Vocabulary,
    encode_rank_values,
)

MASKED, FEWEST_KEPT, TEMPERATURE, CONTRAST_WEIGHT = 0.15, 0.3, 0.1, 0.2


def draw_model(vocabulary: Vocabulary, seed: int) -> MaskedLanguageModel:
    """Random weights: 2 layers of width 64."""
    torch.manual_seed(seed)
    spec = EncoderSpec(
        vocab_size=vocabulary.size, n_layers=2, d_model=64, n_heads=4, d_ff=128,
        max_positions=vocabulary.input_length,
        attention_dropout=0.0,  # on CPUs torch has no fast attention with dropout
    )  # fmt: skip
    return MaskedLanguageModel(Encoder(spec))


@dataclass
class MaskedCells:
    """Makes batches of masked cells: tokens, and which genes they were.

    Attributes
    ----------
    counts
        (n_cells, n_vars) whole numbers of molecules.
    token_of_var
        (n_vars,) tokens of the variables.
    vocabulary
        The toy's.
    seed
        Of masks and thinning.
    """

    counts: NDArray[np.int64]
    token_of_var: NDArray[np.int32]
    vocabulary: Vocabulary
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def __call__(self, rows: list[int]) -> dict[str, Tensor]:
        """The cells at `rows`, then their thinned doubles in the same order."""
        counts = self.counts[rows]
        kept = self.rng.uniform(FEWEST_KEPT, 1, (len(rows), 1))
        return self.mask(np.concatenate([counts, self.rng.binomial(counts, kept)]), self.rng)

    def mask(self, counts: NDArray[np.int64], rng: np.random.Generator) -> dict[str, Tensor]:
        """Of 100 masked genes, 80 become <mask>, 10 a random gene, and 10 stay as they are."""
        matrix = csr_matrix(counts.astype(np.float32))
        tokens, offsets = encode_rank_values(matrix, self.token_of_var, self.vocabulary)
        is_gene = np.isin(tokens, self.vocabulary.tokens)
        places = np.flatnonzero(is_gene & (rng.random(len(tokens)) < MASKED))
        genes, fate = tokens[places], rng.random(len(places))
        any_gene = rng.choice(self.vocabulary.tokens, len(places))
        shown = np.where(fate < 0.9, any_gene, genes)
        tokens[places] = np.where(fate < 0.8, self.vocabulary.mask_token, shown)
        found = {"tokens": tokens, "offsets": offsets, "places": places, "genes": genes}
        return {name: torch.from_numpy(each).long() for name, each in found.items()}

    @torch.inference_mode()
    def score(self, model: MaskedLanguageModel, rows: NDArray[np.int64]) -> tuple[float, float]:
        """Cross-entropy (nats) and accuracy of masked genes; each call masks the same ones."""
        batch = self.mask(self.counts[rows], np.random.default_rng(self.seed))
        logits_MV = model.eval()(pack(batch), batch["places"])
        loss = functional.cross_entropy(logits_MV, batch["genes"])
        return loss.item(), (logits_MV.argmax(1) == batch["genes"]).float().mean().item()


def pack(batch: dict[str, Tensor]) -> PackedBatch:
    offsets = batch["offsets"].cpu().numpy()
    ragged = batch["tokens"].cpu().numpy(), offsets
    return PackedBatch.pack(ragged, 0, len(offsets) - 1, batch["tokens"].device)


class PretrainingTask(nn.Module):
    """The model with its losses, as the Trainer wants it."""

    def __init__(self, model: MaskedLanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, tokens: Tensor, offsets: Tensor, places: Tensor, genes: Tensor
    ) -> dict[str, Tensor]:
        batch = pack({"tokens": tokens, "offsets": offsets})
        hidden_TD = self.model.encoder(batch)
        logits_MV = self.model.score(hidden_TD[places])
        loss = functional.cross_entropy(logits_MV, genes)
        loss = loss + CONTRAST_WEIGHT * contrast(hidden_TD, batch.offsets)
        return {"loss": loss, "logits": logits_MV}


def contrast(hidden_TD: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """Cross-entropy of finding each cell's double among all other cells of the batch."""
    # Without <cls> and <eos>, as cells are embedded.
    cells = [hidden_TD[start + 1 : stop - 1].mean(0) for start, stop in pairwise(offsets)]
    cells_CD = functional.normalize(torch.stack(cells))
    likeness_CC = (cells_CD @ cells_CD.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    double_C = torch.arange(len(cells), device=hidden_TD.device).roll(len(cells) // 2)
    return functional.cross_entropy(likeness_CC, double_C)


class _Report(TrainerCallback):
    def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in (logs or {}):
            print(f"  step {state.global_step:3d} of {state.max_steps}, loss {logs['loss']:.2f}")


def train(
    model: MaskedLanguageModel, batches: MaskedCells, rows: NDArray[np.int64], n_steps: int
) -> None:
    """Train in place on the cells at `rows`: batches of 16 cells and their doubles."""
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder, max_steps=n_steps, per_device_train_batch_size=16,
            learning_rate=5e-3, lr_scheduler_type="linear", warmup_steps=n_steps // 10,
            weight_decay=0.01, seed=batches.seed, use_cpu=True, dataloader_pin_memory=False,
            dataloader_drop_last=True, remove_unused_columns=False, save_strategy="no",
            logging_steps=max(n_steps // 4, 1), disable_tqdm=True, report_to="none",
        )  # fmt: skip
        trainer = Trainer(
            PretrainingTask(model), settings, batches, rows.tolist(), callbacks=[_Report()]
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
