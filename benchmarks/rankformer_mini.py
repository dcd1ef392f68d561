"""What rankformer-mini knows: masked genes of cells held out, and cells that it never saw.

Masked genes are those of every third cell held out of its training, beside four
baselines that are counted on the cells it was trained on: how often a gene is met, how often at
that rank, how often in the 50 cells that share most of the other genes, and how often among the
genes whose median lies between those of the genes shown before and behind it. The last one knows
nothing but how ranks are made: genes of one count stand in the order of their medians. Each
baseline leaves out the genes that the cell shows, and gets the smoothing that suits the held-out
cells best.

The cells that it never saw are scanpy's `pbmc68k_reduced`: 700 blood cells of 10 kinds, of 765
genes: the mean over genes, `<cls>`, and the mean a layer below the last. Beside them are PCA of the
same genes, log-normalised, and random weights of the same shape.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scanpy as sc
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, spread, write_json
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, f1_score, normalized_mutual_info_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rankformer
from rankformer import Checkpoint, ReadingOptions, Vocabulary
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.pretrain import draw_model
from rankformer.pretraining.trainer import score_masked_genes
from rankformer.ragged import Ragged
from rankformer.tokens.tokenize import open_tokens
from rankformer.training.cells import gather_training_cells
from rankformer.training.splits import hold_out_cells

RANK_BINS, N_NEIGHBOURS, N_SPECIAL, SEEDS = 64, 50, 4, range(3)
ONE_IN = 3
SMOOTHING = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
Vectors = NDArray[np.floating]


def masked_genes(checkpoint: Checkpoint, folder: Path) -> dict[str, dict[str, float]]:
    """Loss and accuracy of the model and of the baselines on the same masked genes."""
    vocabulary, options = checkpoint.vocabulary, ReadingOptions(gene_ids="ensembl_id")
    record = json.loads((checkpoint.folder / "training.json").read_text())
    paths = [folder / each["source"] for each in record["sources"]]
    how = record["hyperparameters"]
    cells = gather_training_cells([open_tokens(path, vocabulary, options) for path in paths])
    trained, held_out = hold_out_cells(
        np.flatnonzero(cells.kept), how["held_out_share"], how["seed"]
    )
    batches = MaskedBatches(cells, how["seed"], how["masked_share"])
    held_out = held_out[::ONE_IN]
    questions = [batches([row]) for row in held_out]
    found = {"rankformer-mini": score_model(checkpoint, batches, held_out, questions)}
    known = Known(cells.take(trained), vocabulary)
    cases = [Case.of(question) for question in questions]
    for name, guesses in known.guess(cases).items():
        found[name] = score(guesses, cases, known.frequency)
    return found


@dataclass(frozen=True)
class Case:
    """A cell: the tokens that it shows, and the genes masked, at which ranks."""

    tokens: NDArray[Any]
    shown: NDArray[Any]
    places: NDArray[Any]
    genes: NDArray[Any]

    @classmethod
    def of(cls, question: dict[str, Any]) -> Case:
        """From a batch of one cell; 10 % of the masked genes show another gene."""
        tokens = question["tokens"].numpy()[: int(question["offsets"][-1])]
        places = question["places"].numpy()
        shown = np.delete(tokens, places)
        shown = shown[shown >= N_SPECIAL]
        return cls(tokens, shown, places, question["genes"].numpy())

    def shown_beside(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The genes shown before and behind each masked one; special tokens at the ends."""
        is_open = np.ones(len(self.tokens), bool)
        is_open[self.places] = False
        open_places = np.flatnonzero(is_open)
        behind = np.searchsorted(open_places, self.places)
        return tuple(
            self.tokens[open_places[each.clip(0, len(open_places) - 1)]]
            for each in (behind - 1, behind)
        )


def score_model(
    checkpoint: Checkpoint,
    batches: MaskedBatches,
    held_out: NDArray[np.int64],
    questions: list[dict[str, Any]],
) -> dict[str, float]:
    """Cell by cell, so that the model is asked what the baselines are asked."""
    model = checkpoint.masked_language_model()
    figures = [score_masked_genes(model, batches, np.array([row])) for row in held_out]
    weights = [len(question["genes"]) for question in questions]
    return {
        key: float(np.average([each[key] for each in figures], weights=weights))
        for key in ("loss", "accuracy")
    }


class Known:
    """Counts of genes in the cells trained on, and the guesses that follow from them."""

    def __init__(self, ragged: Ragged, vocabulary: Vocabulary) -> None:
        values, offsets = ragged
        size = vocabulary.size
        self.medians = vocabulary.median_of_token
        lengths = np.diff(offsets)
        ranks = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
        bins = ranks * RANK_BINS // np.repeat(lengths, lengths)
        is_gene = (values >= N_SPECIAL).astype(np.float32)
        self.of_cell = csr_matrix((is_gene, values, offsets), shape=(len(lengths), size))
        self.frequency = np.asarray(self.of_cell.sum(axis=0)).ravel() + 0.5
        self.frequency[:N_SPECIAL] = 0
        self.frequency /= self.frequency.sum()
        self.of_bin = np.zeros((RANK_BINS, size), np.float32)
        np.add.at(self.of_bin, (bins, values), is_gene)

    def guess(self, cases: list[Case]) -> dict[str, Iterator[NDArray[Any]]]:
        """Name → for each case counts of genes, (n_masked or 1, vocabulary size)."""
        return {
            "gene frequency": (self.frequency[None] for _ in cases),
            "frequency at that rank": (
                self.of_bin[case.places * RANK_BINS // len(case.tokens)] for case in cases
            ),
            f"{N_NEIGHBOURS} nearest cells": self._of_neighbours(cases),
            "medians of the genes beside it": (self._between_medians(case) for case in cases),
        }

    def _between_medians(self, case: Case) -> NDArray[Any]:
        """How often each gene is met that has its median between; all where none can."""
        before, behind = (self.medians[each][:, None] for each in case.shown_beside())
        is_between = (self.medians >= before) & (self.medians <= behind)
        is_between |= ~(before <= behind)
        return self.frequency * is_between

    def _of_neighbours(self, cases: list[Case]) -> Iterator[NDArray[Any]]:
        """By the cosine of which genes are there, of the genes that the case shows."""
        offsets = np.cumsum([0, *(len(case.shown) for case in cases)])
        tokens = np.concatenate([case.shown for case in cases])
        ones = np.ones(len(tokens), np.float32)
        shown = csr_matrix((ones, tokens, offsets), shape=(len(cases), self.of_cell.shape[1]))
        norms = np.sqrt(np.asarray(self.of_cell.sum(axis=1)).ravel())
        likeness = (shown @ self.of_cell.T).toarray() / norms
        for row in likeness:
            near = np.argpartition(-row, N_NEIGHBOURS)[:N_NEIGHBOURS]
            yield np.asarray(self.of_cell[near].sum(axis=0))


def score(
    guesses: Iterable[NDArray[Any]], cases: list[Case], frequency: NDArray[np.floating]
) -> dict[str, float]:
    """Loss of a baseline at the smoothing with the least loss; accuracy without smoothing."""
    shares = np.array(SMOOTHING)[:, None]
    losses, n_right, n_genes = np.zeros(len(SMOOTHING)), 0, 0
    for counts, case in zip(guesses, cases, strict=True):
        is_open = np.ones(len(frequency), bool)
        is_open[case.shown] = False
        counts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
        rows = np.arange(len(case.genes)) if len(counts) > 1 else np.zeros(len(case.genes), int)
        own = (1 - shares) * counts[rows, case.genes] + shares * frequency[case.genes]
        all_open = (1 - shares) * (counts @ is_open)[rows] + shares * (frequency @ is_open)
        losses -= np.log(np.maximum(own / all_open, 1e-12)).sum(axis=1)
        n_right += int(((counts * is_open).argmax(axis=1)[rows] == case.genes).sum())
        n_genes += len(case.genes)
    return {"loss": losses.min() / n_genes, "accuracy": n_right / n_genes}


def zero_shot(checkpoint: Checkpoint) -> dict[str, dict[str, list[float]]]:
    """Figures of each way to make vectors of the cells, one a seed."""
    adata = sc.datasets.pbmc68k_reduced()
    labels = adata.obs["bulk_labels"].to_numpy(str)
    values = adata.raw.X.toarray()
    scaled = StandardScaler().fit_transform(values).clip(-10, 10)
    ways: dict[str, Callable[[int], Vectors]] = {
        "rankformer-mini": lambda _: embed(adata, checkpoint),
        "rankformer-mini, `<cls>`": lambda _: embed(adata, checkpoint, mode="cls"),
        "rankformer-mini, a layer below": lambda _: embed(adata, checkpoint, emb_layer=-2),
        "random weights": lambda seed: embed(adata, draw_like(checkpoint, seed)),
        "PCA": lambda seed: PCA(50, random_state=seed).fit_transform(values),
        "PCA, genes scaled": lambda seed: PCA(50, random_state=seed).fit_transform(scaled),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for name, make in ways.items():
        figures = [judge(make(seed), labels, seed) for seed in SEEDS]
        found[name] = {key: [each[key] for each in figures] for key in figures[0]}
    return found


def embed(adata: Any, checkpoint: Checkpoint, **how: Any) -> Vectors:
    """Vectors of the cells; the ranks of their counts are recovered from the logarithms."""
    embedded = rankformer.tl.embed(
        adata, model=checkpoint, use_raw=True, undo_log1p=True, dtype="float32", copy=True, **how
    )
    return embedded.obsm["X_geneformer"]


def draw_like(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """Random weights of the same shape, for comparison only."""
    spec = checkpoint.spec
    shape = {"n_layers": spec.n_layers, "d_model": spec.d_model, "n_heads": spec.n_heads,
             "d_ff": spec.d_ff}  # fmt: skip
    model = draw_model(checkpoint.vocabulary, shape, seed)
    folder = Path(tempfile.mkdtemp()) / "random"
    return Checkpoint.open(rankformer.save_checkpoint(folder, model, checkpoint.vocabulary))


def judge(vectors: Vectors, labels: NDArray[np.str_], seed: int) -> dict[str, float]:
    """How well vectors tell labels: by neighbours, by a linear probe, by clusters."""
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    figures = {
        name: float(
            f1_score(labels, cross_val_predict(each, vectors, labels, cv=folds), average="macro")
        )
        for name, each in (("kNN macro-F1", KNeighborsClassifier(10)), ("probe macro-F1", probe))
    }
    clusters = KMeans(len(np.unique(labels)), n_init=4, random_state=seed).fit_predict(vectors)
    figures["ARI"] = float(adjusted_rand_score(labels, clusters))
    figures["NMI"] = float(normalized_mutual_info_score(labels, clusters))
    return figures


def show(masked: dict[str, dict[str, float]], seen: dict[str, dict[str, list[float]]]) -> str:
    """Both tables."""
    rows = [
        [name, f"{each['loss']:.3f}", f"{each['accuracy']:.2%}"] for name, each in masked.items()
    ]
    columns = list(next(iter(seen.values())))
    figures = [[name, *(spread(each[key]) for key in columns)] for name, each in seen.items()]
    return "\n\n".join(
        [
            markdown_table(("masked genes of held-out cells", "loss, nats", "accuracy"), rows),
            markdown_table(("pbmc68k_reduced", *columns), figures),
        ]
    )


def main() -> None:
    """Measure, write the JSON, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cells", type=Path, required=True, help="folder of the files of its training"
    )
    parser.add_argument("--model", default="rankformer-mini", help="it, or a folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    checkpoint = Checkpoint.open(arguments.model)
    masked, seen = masked_genes(checkpoint, arguments.cells), zero_shot(checkpoint)
    report = {"machine": describe_machine(), "masked_genes": masked, "pbmc68k_reduced": seen}
    write_json(arguments.out, report)
    print(show(masked, seen))


if __name__ == "__main__":
    main()
