"""Cells of one laboratory or condition named by those of another: each way, and the choice.

For each pair: the macro-F1 of the way that ``--method auto`` takes by trying all on the reference,
beside that of each single way, of the agreement, and of what rankformer 0.1 did (neighbours in
the embedding, each file ranked among all of its own genes). A way is fitted once, so that all
figures of a pair are of the same cells. Labels of the query are used for the figures alone. The
intervals hold 95 % of 1,000 draws of the cells of the query (bootstrap): no set names its donors.

Unknown cells: each label that both have is left out of the reference once, where both have at least
ten cells of it. The AUROC says how well the doubt tells its cells from the others, beside one less
the probability of the winner, and beside the distance to the nearest reference cell in the
embedding. The shares of its cells and of others that are called unknown are those by the limit that
is calibrated on the reference without that label, and by the rule of rankformer 0.1: a share of
votes below 0.5, or a distance beyond the 0.95 quantile. Last, foreign queries: cells of other
tissues, none of which has a label of the reference.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from annotation import SAME
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json
from scipy.sparse import csc_matrix
from sklearn.metrics import f1_score, roc_auc_score

import rankformer
from rankformer import Checkpoint, Embedder, NeighbourVote, ReadingOptions
from rankformer.annotate.calibration import calibrate
from rankformer.annotate.cells import shared_genes_of
from rankformer.annotate.doubt import Doubts
from rankformer.annotate.naming import LARGE_SHIFT, LITTLE_AGREEMENT
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.annotate.profiles import Profiles
from rankformer.annotate.shared_genes import counts_of_genes
from rankformer.annotate.vote import transfer_labels
from rankformer.annotate.ways import AGREEMENT, SINGLE_WAYS, Lesson, learn
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
BROAD = {
    "CD4 T cells": "T cells", "CD8 T cells": "T cells", "CD14+ Monocytes": "Monocytes",
    "FCGR3A+ Monocytes": "Monocytes", "CD14 Mono": "Monocytes", "CD16 Mono": "Monocytes",
    "CD4 Naive T": "T cells", "CD4 Memory T": "T cells", "CD8 T": "T cells", "B": "B cells",
}  # fmt: skip
SEEN = "Of these cells rankformer-mini has seen the files that marker genes name, without labels."
MARKED = ("pbmc_1k_v2", "pbmc_1k_5prime", "pbmc_donor_a")
LEAST, N_NEIGHBORS, N_DRAWS = 10, 15, 1000
Labels = NDArray[np.str_]


def labelled(adata: ad.AnnData, labels: Any) -> ad.AnnData:
    """The cells with a label."""
    adata = adata[[isinstance(each, str) for each in labels]].copy()
    adata.obs["label"] = [each for each in labels if isinstance(each, str)]
    return adata


def draw(adata: ad.AnnData, n_cells: int | None) -> ad.AnnData:
    """At most so many cells, drawn with one seed; all with None."""
    return adata[np.sort(np.random.default_rng(0).permutation(adata.n_obs)[:n_cells])].copy()


def marked(adata: ad.AnnData) -> ad.AnnData:
    """Cells without labels, named by counts of marker genes; cells that fit none are left out."""
    symbols = adata.var["gene_symbol"].astype(str).to_numpy()
    counts = csc_matrix(adata.X)

    def of(*names: str) -> Any:
        return np.stack(
            [np.asarray(counts[:, symbols == name].sum(axis=1)).ravel() for name in names]
        )

    t, b = of("CD3D", "CD3E", "CD3G").sum(axis=0), of("MS4A1", "CD79A", "CD79B").sum(axis=0)
    n_nk = (of("GNLY", "NKG7", "KLRD1", "FCGR3A") > 0).sum(axis=0)
    n_myeloid = (of("S100A8", "CD14", "FCN1", "CST3", "LYZ") > 0).sum(axis=0)
    labels = np.full(adata.n_obs, None, dtype=object)
    labels[(t >= 2) & (b == 0) & (n_myeloid <= 2)] = "T cells"
    labels[(b >= 3) & (t == 0) & (n_myeloid <= 2)] = "B cells"
    labels[(n_myeloid >= 4) & (t == 0) & (b == 0)] = "Monocytes"
    labels[(n_nk >= 3) & (t == 0) & (b == 0) & (n_myeloid <= 2)] = "NK cells"
    return labelled(adata, labels)


def sets(folder: Path) -> dict[str, ad.AnnData]:
    """Name → cells, each with ``obs["label"]``."""
    pbmc, ifnb, mix = (
        ad.read_h5ad(folder / f"{name}.h5ad") for name in ("pbmc3k", "ifnb", "sc_mixology")
    )
    blood = rankformer.datasets.blood_cells()
    kinds = pbmc.obs["cell_type"].astype(str)
    is_stim = (ifnb.obs["stim"] == "STIM").to_numpy()
    own = ifnb.obs["cell_type"].astype(str).to_numpy()
    six = np.array([SAME[each] for each in own])
    batches = mix.obs["batch"].astype(str)
    single = (mix.obs["demuxlet_cls"] == "SNG").to_numpy()
    drop, cel = (
        single & np.array([name in each for each in batches]) for name in ("dropseq", "cel")
    )
    lines = mix.obs["cell_line"].astype(str).to_numpy()
    return {
        "control": labelled(ifnb[~is_stim], own[~is_stim]),
        "stimulated": labelled(ifnb[is_stim], own[is_stim]),
        "stimulated, six": labelled(ifnb[is_stim], six[is_stim]), "ifnb": labelled(ifnb, six),
        "pbmc3k": labelled(pbmc, kinds.where(kinds != "unassigned", None)),
        "blood": labelled(blood, blood.obs["cell_type"].astype(str).map(BLOOD)),
        "Drop-seq": labelled(mix[drop], lines[drop]), "CEL-seq2": labelled(mix[cel], lines[cel]),
        "pbmc3k, broad": labelled(pbmc, kinds.replace(BROAD).where(kinds != "unassigned", None)),
        "control, broad": labelled(ifnb[~is_stim], ifnb.obs["cell_type"][~is_stim].map(BROAD)),
        **{name: marked(ad.read_h5ad(folder / f"{name}.h5ad")) for name in MARKED},
    }  # fmt: skip


# Name of a pair → reference and query. By the first three the doubt and its limit were made up.
PAIRS = {
    "ifnb, control → stimulated": ("control", "stimulated"),
    "ifnb, stimulated → control": ("stimulated", "control"),
    "blood_cells (765 genes) → pbmc3k": ("blood", "pbmc3k"),
    "pbmc3k → ifnb, stimulated": ("pbmc3k", "stimulated, six"),
    "ifnb → pbmc3k": ("ifnb", "pbmc3k"),
    "pbmc3k → blood_cells (765 genes)": ("pbmc3k", "blood"),
    "cell lines, Drop-seq → CEL-seq2": ("Drop-seq", "CEL-seq2"),
}
# Looked at only once all was settled: cells named by marker genes.
FRESH = {
    "pbmc3k → pbmc_1k_v2": ("pbmc3k, broad", "pbmc_1k_v2"),
    "pbmc3k → pbmc_donor_a": ("pbmc3k, broad", "pbmc_donor_a"),
    "pbmc_1k_v2 → pbmc_1k_5prime": ("pbmc_1k_v2", "pbmc_1k_5prime"),
    "ifnb, control → pbmc_1k_v2": ("control, broad", "pbmc_1k_v2"),
}
# No label in common.
FOREIGN = {
    "pbmc3k → cell lines": ("pbmc3k", "CEL-seq2"),
    "blood_cells (765 genes) → cell lines": ("blood", "CEL-seq2"),
    "ifnb, control → cell lines": ("control", "CEL-seq2"),
    "cell lines → pbmc3k": ("Drop-seq", "pbmc3k"),
    "cell lines → ifnb, control": ("Drop-seq", "control"),
}


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


def distances(reference: Profiles, cells: Profiles, n_neighbors: int) -> NDArray[np.float32]:
    """Mean cosine distance to the nearest reference cells in the embedding."""
    _, found = NeighbourIndex.build(reference.vectors).search(cells.vectors, n_neighbors)
    return np.asarray(found.mean(axis=1))


def unknown_before(taught: Lesson, cells: Profiles, said: NDArray[np.float32]) -> NDArray[np.bool_]:
    """By the rule of rankformer 0.1, of what the ways of today say."""
    index = NeighbourIndex.build(taught.cells.vectors)
    _, own = index.search_others(np.arange(len(taught)), N_NEIGHBORS)
    own = own.mean(axis=1)
    far = distances(taught.cells, cells, N_NEIGHBORS)
    best = said.argmax(axis=1)
    middle, limit = np.zeros((2, taught.n_classes))
    for code in np.unique(taught.codes):
        middle[code] = np.median(own[taught.codes == code])
        limit[code] = np.quantile(own[taught.codes == code], 0.95)
    shift = max(float(np.median(far - middle[best])), 0.0)
    return (said.max(axis=1) < 0.5) | (far > limit[best] + shift)


def judge_unknown(
    taught: Lesson, parts: tuple[str, ...], classes: Labels, cells: Profiles, truth: Labels
) -> dict[str, Any]:
    """Cells of a reference that lacks the labels of some of them; figures of these and others."""
    learned = learn(taught, cells)
    doubts = Doubts.learn(taught, cells, learned)
    assert doubts is not None  # noqa: S101
    doubt = doubts.of(cells, np.arange(len(cells)))
    said = np.mean([learned.ways[way].probabilities(cells) for way in parts], axis=0)
    held = hold_out(taught, None, SINGLE_WAYS)
    limits = None if held is None else calibrate(taught, held, parts, list(classes))
    limit = 1.5 if limits is None else limits.limit
    absent = ~np.isin(truth, classes[np.unique(taught.codes)])
    unknown, before = doubt > limit, unknown_before(taught, cells, said)
    named = classes[said.argmax(axis=1)].astype(object)
    figures = {
        "n_absent": int(absent.sum()), "limit": limit, "found": float(unknown[absent].mean()),
        "false": float(unknown[~absent].mean()), "found_before": float(before[absent].mean()),
        "false_before": float(before[~absent].mean()),
    }  # fmt: skip
    if absent.any():
        strange = {
            "doubt": doubt, "probability": 1 - said.max(axis=1),
            "nearest cell": distances(taught.cells, cells, 1),
        }  # fmt: skip
        figures["auroc"] = {
            name: float(roc_auc_score(absent, each)) for name, each in strange.items()
        }
    for name, each in (("all named", np.zeros_like(unknown)), ("now", unknown), ("0.1", before)):
        called = np.where(each, "unknown", named)[~absent].astype(str)
        figures[f"macro_f1, {name}"] = macro_f1(truth[~absent], called, classes)
    return figures


def unknown_figures(
    lesson: Lesson, parts: tuple[str, ...], classes: Labels, cells: Profiles, truth: Labels
) -> dict[str, Any]:
    """Name of a label that is left out → figures; and of none, and of those that never were."""
    known = np.flatnonzero(np.isin(truth, classes))
    asked, own = cells.take(known), truth[known]
    found = {"(none)": judge_unknown(lesson, parts, classes, asked, own)}
    if len(known) < len(truth):
        found["(never there)"] = judge_unknown(lesson, parts, classes, cells, truth)
    for code, name in enumerate(classes):
        if min((own == name).sum(), (lesson.codes == code).sum()) >= LEAST:
            taught = lesson.take(np.flatnonzero(lesson.codes != code))
            found[str(name)] = judge_unknown(taught, parts, classes, asked, own)
    return found


def interval(judge: Callable[[NDArray[np.int64]], float], n_cells: int) -> list[float]:
    """Of 1,000 draws of cells with replacement, between which 95 % lie."""
    rng = np.random.default_rng(0)
    drawn = [judge(rng.integers(0, n_cells, n_cells)) for _ in range(N_DRAWS)]
    return [float(each) for each in np.quantile(drawn, [0.025, 0.975])]


def lesson_and_cells(
    reference: ad.AnnData, query: ad.AnnData, embedder: Embedder
) -> tuple[Lesson, Labels, Profiles, int]:
    only = shared_genes_of([reference], query, embedder)
    assert only is not None  # noqa: S101
    classes, codes = np.unique(reference.obs["label"].to_numpy(str), return_inverse=True)
    learned, cells = profile(reference, embedder, only), profile(query, embedder, only)
    lesson = Lesson(learned, codes.astype(np.int32), len(classes), N_NEIGHBORS)
    return lesson, classes, cells, len(only)


def measure(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> dict[str, Any]:
    """All figures of a pair."""
    lesson, classes, cells, n_shared = lesson_and_cells(reference, query, embedder)
    truth = query.obs["label"].to_numpy(str)
    choice = choose_way(hold_out(lesson, None, SINGLE_WAYS), "auto", SINGLE_WAYS)
    learned = learn(lesson, cells)
    assert learned.choice is not None  # noqa: S101
    said = {way: each.probabilities(cells) for way, each in learned.ways.items()}
    said[AGREEMENT] = np.mean([said[way] for way in SINGLE_WAYS], axis=0)
    labels = {way: classes[each.argmax(axis=1)] for way, each in said.items()}
    labels["auto"] = classes[np.mean([said[way] for way in choice.parts], axis=0).argmax(axis=1)]
    labels["before"] = as_before(reference, query, embedder)
    best = max(SINGLE_WAYS, key=lambda way: macro_f1(truth, labels[way], classes))

    def f1(way: str, rows: NDArray[np.int64] | slice = slice(None)) -> float:
        return macro_f1(truth[rows], labels[way][rows], classes)

    return {
        "n_reference": reference.n_obs, "n_query": query.n_obs, "n_shared_genes": n_shared,
        "taken": "+".join(choice.parts), "shift": learned.choice.plain(),
        "tried": {each.way: each.macro_f1 for each in choice.tried},
        "macro_f1": {way: f1(way) for way in labels}, "best_single_way": best,
        "interval_of_auto": interval(lambda rows: f1("auto", rows), len(truth)),
        "auto_less_best": f1("auto") - f1(best),
        "interval_of_auto_less_best": interval(
            lambda rows: f1("auto", rows) - f1(best, rows), len(truth)
        ),
        "unknown": unknown_figures(lesson, choice.parts, classes, cells, truth),
    }  # fmt: skip


def measure_foreign(reference: ad.AnnData, query: ad.AnnData, embedder: Embedder) -> dict[str, Any]:
    """How a query of other kinds of cells looks beside a reference."""
    lesson, _, cells, n_shared = lesson_and_cells(reference, query, embedder)
    choice = learn(lesson, cells).choice
    assert choice is not None  # noqa: S101
    is_foreign = choice.length >= LARGE_SHIFT and choice.agreement_without < LITTLE_AGREEMENT
    return {"n_shared_genes": n_shared, "shift": choice.plain(), "is_foreign": is_foreign}


def mean_of(unknown: dict[str, Any], *path: str) -> float:
    """Over the labels that were left out."""
    values = []
    for name, each in unknown.items():
        if not name.startswith("("):
            value: Any = each
            for step in path:
                value = value[step]
            values.append(value)
    return float(np.mean(values))


def show(found: dict[str, Any], foreign: dict[str, Any]) -> str:
    """The tables."""
    ways = (*SINGLE_WAYS, AGREEMENT, "before")
    rows, unknown = [], []
    for name, each in found.items():
        scores, odd = each["macro_f1"], each["unknown"]
        low, high = each["interval_of_auto"]
        taken = "away" if each["shift"]["taken_away"] else "left"
        rows.append([
            name, f"{scores['auto']:.3f} ({low:.3f} to {high:.3f})", each["taken"], taken,
            *(f"{scores[way]:.3f}" for way in ways), f"{each['auto_less_best']:+.3f}",
        ])  # fmt: skip
        unknown.append([
            name, *(f"{mean_of(odd, 'auroc', kind):.3f}"
                    for kind in ("doubt", "probability", "nearest cell")),
            *(f"{100 * mean_of(odd, key):.0f} %" for key in
              ("found", "found_before", "false", "false_before")),
            *(f"{odd['(none)'][f'macro_f1, {key}']:.3f}" for key in ("all named", "now", "0.1")),
        ])  # fmt: skip
    strange = [
        [name, f"{each['shift']['length']:.2f}", f"{each['shift']['agreement_without']:.2f}",
         "all unknown" if each["is_foreign"] else "named"]
        for name, each in foreign.items()
    ]  # fmt: skip
    return "\n\n".join((
        markdown_table(("reference → query", "auto", "it took", "shift", *ways, "less best"), rows),
        markdown_table(
            ("a label left out", "AUROC of doubt", "of probability", "of nearest cell", "found",
             "found, 0.1", "false", "false, 0.1", "macro-F1, all named", "now", "0.1"), unknown,
        ),
        markdown_table(("foreign query", "shift", "agreement", "cells are"), strange), SEEN,
    ))  # fmt: skip


def main() -> None:
    """Measure, write the JSON, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, required=True, help="pbmc3k, ifnb and sc_mixology")
    parser.add_argument("--model", default="rankformer-mini", help="it, or a folder")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    parser.add_argument("--most-cells", type=int, help="of each side, drawn; all unless given")
    parser.add_argument("--only", nargs="+", help="pairs to measure; the others stay as they are")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    embedder = Embedder(Checkpoint.open(arguments.model), dtype="float32")
    found: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    if arguments.only and arguments.out.exists():
        before = json.loads(arguments.out.read_text())
        found, foreign = before["figures"], before["foreign"]
    cells = {name: draw(each, arguments.most_cells) for name, each in sets(arguments.cells).items()}
    all_pairs = {**PAIRS, **FRESH, **FOREIGN}
    for name in arguments.only or all_pairs:
        reference, query = all_pairs[name]
        began = time.monotonic()
        into, how = (foreign, measure_foreign) if name in FOREIGN else (found, measure)
        into[name] = how(cells[reference], cells[query], embedder)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        report = {
            "machine": describe_machine(), "note": SEEN, "labels": {"ifnb": SAME, "blood": BLOOD},
            "most_cells": arguments.most_cells,
            "intervals": "95 % of 1,000 draws of the cells of the query",
            "figures": found, "foreign": foreign,
        }  # fmt: skip
        write_json(arguments.out, report)
    print(show(found, foreign))


if __name__ == "__main__":
    main()
