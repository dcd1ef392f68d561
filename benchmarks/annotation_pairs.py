"""Cells of one laboratory or condition named by those of another: each way, and the choice.

For each pair: the macro-F1 of the way that ``--method auto`` takes by trying all on the reference,
beside that of each single way, of the agreement, and of what rankformer 0.1 did (neighbours in
the embedding, each file ranked among all of its own genes). A way is fitted once, so that all
figures of a pair are of the same cells. Labels of the query are used for the figures alone.

Unknown cells: of the two largest labels that both have, each is left out of the reference once.
The AUROC says how well the probability of the winner parts its cells from the others; and the
balanced accuracy how well the calibrated limit does, and a limit of 0.5. The limit is calibrated
on the reference without that label.

rankformer-mini has seen all these cells in its pretraining, without their labels.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from annotation import SAME, SEEN
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, short, write_json
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

import rankformer
from rankformer import Checkpoint, Embedder, NeighbourVote, ReadingOptions
from rankformer.annotate.calibration import calibrate
from rankformer.annotate.cells import shared_genes_of
from rankformer.annotate.neighbours import scale_to_unit
from rankformer.annotate.profiles import Profiles
from rankformer.annotate.shared_genes import counts_of_genes
from rankformer.annotate.vote import transfer_labels
from rankformer.annotate.ways import AGREEMENT, SINGLE_WAYS, Lesson, fit_ways
from rankformer.annotate.weighing import choose_way, hold_out
from rankformer.cells.normalise import log_normalise
from rankformer.tokens.tokenize import open_tokens

# Labels of the packaged blood cells that name cells which pbmc3k has, too.
BLOOD = {
    "CD14+ Monocyte": "CD14+ Monocytes",
    "CD19+ B": "B cells",
    "CD56+ NK": "NK cells",
    "Dendritic": "Dendritic cells",
    "CD4+/CD25 T Reg": "CD4 T cells",
    "CD4+/CD45RO+ Memory": "CD4 T cells",
    "CD4+/CD45RA+/CD25- Naive T": "CD4 T cells",
    "CD8+ Cytotoxic T": "CD8 T cells",
    "CD8+/CD45RA+ Naive Cytotoxic": "CD8 T cells",
}
N_CELLS, LEFT_OUT, N_NEIGHBORS = 600, 2, 15
Labels = NDArray[np.str_]


def some(adata: ad.AnnData, labels: Any, n_cells: int = N_CELLS) -> ad.AnnData:
    """At most so many cells with a label, drawn with one seed."""
    adata = adata[[isinstance(each, str) for each in labels]].copy()
    adata.obs["label"] = [each for each in labels if isinstance(each, str)]
    rows = np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:n_cells])
    return adata[rows].copy()


def pairs(folder: Path) -> Iterator[tuple[str, ad.AnnData, ad.AnnData]]:
    """Name, reference and query, each with ``obs["label"]``."""
    pbmc, ifnb, mix = (
        ad.read_h5ad(folder / f"{name}.h5ad") for name in ("pbmc3k", "ifnb", "sc_mixology")
    )
    blood = rankformer.datasets.blood_cells()
    kinds = pbmc.obs["cell_type"].astype(str)
    pbmc = some(pbmc, kinds.where(kinds != "unassigned", None))
    blood = some(blood, blood.obs["cell_type"].astype(str).map(BLOOD))
    is_stim = (ifnb.obs["stim"] == "STIM").to_numpy()
    own = ifnb.obs["cell_type"].astype(str).to_numpy()
    six = np.array([SAME[each] for each in own])
    control, stimulated = some(ifnb[~is_stim], own[~is_stim]), some(ifnb[is_stim], own[is_stim])
    yield "ifnb, control → stimulated", control, stimulated
    yield "ifnb, stimulated → control", stimulated, control
    yield "pbmc3k → ifnb, stimulated", pbmc, some(ifnb[is_stim], six[is_stim])
    yield "ifnb → pbmc3k", some(ifnb, six), pbmc
    yield "blood_cells (765 genes) → pbmc3k", blood, pbmc
    single = (mix.obs["demuxlet_cls"] == "SNG").to_numpy()
    is_cel = np.array(["cel" in each for each in mix.obs["batch"].astype(str)])
    lines = mix.obs["cell_line"].astype(str).to_numpy()
    drop = single & np.array(["dropseq" in each for each in mix.obs["batch"].astype(str)])
    cel = single & is_cel
    yield (
        "cell lines, Drop-seq → CEL-seq2",
        some(mix[drop], lines[drop]),
        some(mix[cel], lines[cel], 300),
    )


def profile(adata: ad.AnnData, embedder: Embedder, only: frozenset[str]) -> Profiles:
    """Cells as the ways see them, ranked among some genes."""
    found = rankformer.embed_cells(adata, embedder, options=ReadingOptions(only_genes=only))
    vectors = np.nan_to_num(found.vectors)
    scale_to_unit(vectors)
    stream = open_tokens(adata, embedder.checkpoint.vocabulary)
    tokens = stream.mapping.tokens
    ids = embedder.checkpoint.vocabulary.token_of
    genes = np.array(sorted(ids[each] for each in only), np.int32)
    counts = next(stream.source.chunks(adata.n_obs)).counts
    return Profiles(vectors, log_normalise(counts_of_genes(counts, tokens, genes)))


def as_before(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> Labels:
    """Best labels as rankformer 0.1 gave them."""
    built = rankformer.build_reference(reference, embedder, "label")
    vectors = rankformer.embed_cells(query, embedder).vectors
    none = np.full(len(vectors), None, dtype=object)
    found = transfer_labels(np.nan_to_num(vectors), none, built, {"label": "t"}, NeighbourVote())
    return found["t"].further["best"].astype(str)


def macro_f1(truth: Labels, said: Labels, classes: Labels) -> float:
    """Of cells of labels that the reference has."""
    known = np.isin(truth, classes)
    labels = np.unique(truth[known])
    return float(
        f1_score(truth[known], said[known], labels=labels, average="macro", zero_division=0)
    )


def unknown_figures(
    lesson: Lesson, parts: tuple[str, ...], classes: Labels, cells: Profiles, truth: Labels
) -> dict[str, float]:
    """Means over the labels that are left out."""
    sizes = {code: int((truth == name).sum()) for code, name in enumerate(classes)}
    codes = [code for code in sorted(sizes, key=lambda each: -sizes[each]) if sizes[code] >= 10]
    found: dict[str, list[float]] = {}
    is_known = np.isin(truth, classes)
    for code in codes[:LEFT_OUT]:
        taught = lesson.take(np.flatnonzero(lesson.codes != code))
        absent = truth[is_known] == classes[code]
        asked = cells.take(np.flatnonzero(is_known))
        fitted = fit_ways(SINGLE_WAYS, taught, asked)
        said = {way: each.probabilities(asked) for way, each in fitted.items()}
        own = np.mean([said[way] for way in parts], axis=0).max(axis=1)
        held = hold_out(taught, None, parts)
        limits = None if held is None else calibrate(taught, held, parts, list(classes))
        limit = 0.5 if limits is None else limits.min_share
        figures = {
            "AUROC": roc_auc_score(absent, 1 - own),
            "AUROC, neighbours": roc_auc_score(absent, 1 - said["neighbours"].max(axis=1)),
            "balanced, calibrated": balanced_accuracy_score(absent, own < limit),
            "balanced, 0.5": balanced_accuracy_score(absent, own < 0.5),
            "limit": limit,
        }  # fmt: skip
        for name, value in figures.items():
            found.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


def measure(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> dict[str, Any]:
    """All figures of a pair."""
    only = shared_genes_of([reference], query, embedder)
    assert only is not None  # noqa: S101
    classes, codes = np.unique(reference.obs["label"].to_numpy(str), return_inverse=True)
    truth = query.obs["label"].to_numpy(str)
    learned, cells = profile(reference, embedder, only), profile(query, embedder, only)
    lesson = Lesson(learned, codes.astype(np.int32), len(classes), N_NEIGHBORS)
    choice = choose_way(hold_out(lesson, None, SINGLE_WAYS), "auto", SINGLE_WAYS)
    fitted = fit_ways(SINGLE_WAYS, lesson, cells)
    said = {way: each.probabilities(cells) for way, each in fitted.items()}
    said[AGREEMENT] = np.mean([said[way] for way in SINGLE_WAYS], axis=0)
    chosen = np.mean([said[way] for way in choice.parts], axis=0)
    figures = {
        way: macro_f1(truth, classes[each.argmax(axis=1)], classes) for way, each in said.items()
    }
    return {
        "n_reference": reference.n_obs, "n_query": query.n_obs, "n_shared_genes": len(only),
        "taken": "+".join(choice.parts),
        "tried": {each.way: each.macro_f1 for each in choice.tried},
        "auto": macro_f1(truth, classes[chosen.argmax(axis=1)], classes), "macro_f1": figures,
        "before": macro_f1(truth, as_before(reference, query, embedder), classes),
        "unknown": unknown_figures(lesson, choice.parts, classes, cells, truth),
    }  # fmt: skip


def show(found: dict[str, Any]) -> str:
    """Two tables."""
    ways = (*SINGLE_WAYS, AGREEMENT)
    header = ("reference → query", "auto", "it took", *ways, "before")
    rows = [
        [name, short(each["auto"]), each["taken"],
         *(short(each["macro_f1"][way]) for way in ways), short(each["before"])]
        for name, each in found.items()
    ]  # fmt: skip
    names = ("AUROC", "AUROC, neighbours", "balanced, calibrated", "balanced, 0.5", "limit")
    unknown = [
        [name, *(short(each["unknown"][figure]) for figure in names)]
        for name, each in found.items()
    ]
    return "\n\n".join(
        (markdown_table(header, rows), markdown_table(("a label left out", *names), unknown), SEEN)
    )


def main() -> None:
    """Measure, write the JSON, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="pbmc3k, ifnb and sc_mixology")
    parser.add_argument("--model", default="rankformer-mini", help="it, or a folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    embedder = Embedder(Checkpoint.open(arguments.model), dtype="float32")
    found: dict[str, Any] = {}
    for name, reference, query in pairs(arguments.cells):
        began = time.monotonic()
        found[name] = measure(reference, query, embedder)
        print(f"{name}: {time.monotonic() - began:.0f} s, {found[name]}", flush=True)
        report = {
            "machine": describe_machine(), "note": SEEN, "labels": {"ifnb": SAME, "blood": BLOOD},
            "most_cells": N_CELLS, "figures": found,
        }  # fmt: skip
        write_json(arguments.out, report)
    print(show(found))


if __name__ == "__main__":
    main()
