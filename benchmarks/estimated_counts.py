"""How far tokens and embeddings move where counts are estimated and not counted.

Counts of real cells are put through the published arithmetic of each method, as far as that can be
done without reads and empty droplets:

* alevin-fry, STARsolo, RSEM: a share of the molecules of a gene that has a gene of like name fits
  both. Expectation maximisation, cell by cell, shares each out by the abundance of the two.
* kallisto, with all that fits counted in equal parts: each such molecule is halved.
* SoupX: of each cell, its share of the molecules of all cells is subtracted, never below zero; what
  could not be subtracted from one gene is taken from the others.
* decontX: each count is multiplied by the probability that it is the cell's own, from the profile
  of the cell's type and that of all other types.
* CellBender: as SoupX, but whole molecules of each gene are taken away from the cells in which most
  are expected to be foreign, up to the number that is expected in all cells.

What is a share of ambient RNA here was no ambient RNA: the figures say how far such a correction
moves cells, and not whether it makes them better. Beside each stands how far cells move where each
molecule is lost with a chance of one in ten, as by a little less sequencing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from machine import describe_machine
from numpy.typing import NDArray
from reporting import markdown_table, write_json
from scipy import sparse
from scipy.stats import spearmanr

from rankformer import Checkpoint, Embedder, ReadingOptions, embed_cells, tokenize_cells
from rankformer.cells.counts import judge_values

SEED, N_TOP, ROUNDS = 0, 100, 30
LABELS = {"pbmc3k": "cell_type", "sc_mixology": "cell_line", "ifnb": "cell_type"}
Counts = NDArray[np.float64]
HEADER = ("cells", "as by", "values taken for", "whole", "rank correlation", "first 100 kept",
          "cosine", "lowest cosine")  # fmt: skip


def read_cells(path: Path, n_cells: int) -> ad.AnnData:
    """Cells at equal distances over the file."""
    adata = ad.read_h5ad(path)
    return adata[np.linspace(0, adata.n_obs - 1, min(n_cells, adata.n_obs)).astype(int)].copy()


def like_genes(symbols: pd.Series) -> NDArray[np.int64]:
    """(n_vars,) another gene of the same family, by the name without its last number; -1 for none.

    ``RPL3`` and ``RPL4``, ``HLA-DRB1`` and ``HLA-DRB5``: each is paired with the next one.
    """
    stems = symbols.astype(str).map(lambda name: re.sub(r"\d+[A-Z]?$", "", name))
    mates = np.full(len(symbols), -1)
    for _, places in pd.Series(range(len(stems))).groupby(stems.to_numpy()):
        if 1 < len(places) < 200:
            mates[places] = np.roll(places.to_numpy(), 1)
    return mates


def share_out(
    counts: Counts, mates: NDArray[np.int64], share: float, *, by_abundance: bool
) -> Counts:
    """Molecules that fit two genes go to both, in halves or by expectation maximisation."""
    rng = np.random.default_rng(SEED)
    has_mate = mates >= 0
    both = np.where(has_mate, rng.binomial(counts.astype(int), share * has_mate), 0).astype(float)
    alone, half = counts - both, both / 2
    theta = alone + half + _sum_at(half, mates)
    if not by_abundance:
        return theta
    for _ in range(ROUNDS):
        other = np.where(has_mate, theta[:, mates], 0)
        own = both * np.divide(theta, theta + other, out=np.zeros_like(theta), where=theta > 0)
        theta = alone + own + _sum_at(both - own, mates)
    return np.where(theta < 1e-3, 0, theta)


def _sum_at(values: Counts, mates: NDArray[np.int64]) -> Counts:
    summed = np.zeros_like(values)
    has_mate = np.flatnonzero(mates >= 0)
    np.add.at(summed.T, mates[has_mate], values.T[has_mate])
    return summed


def subtract_soup(counts: Counts, share: float) -> Counts:
    """SoupX: the expected foreign molecules are subtracted until their number is reached."""
    profile, left = counts.sum(axis=0) / counts.sum(), counts.copy()
    due = share * counts.sum(axis=1)
    for _ in range(ROUNDS):
        weights = np.where(left > 0, profile, 0)
        taken = np.minimum(left, due[:, None] * weights / weights.sum(axis=1, keepdims=True))
        left, due = left - taken, due - taken.sum(axis=1)
    return np.where(left < 1e-3, 0, left)


def decontaminate(counts: Counts, labels: NDArray[np.object_], share: float) -> Counts:
    """DecontX: each count times the probability that it is the cell's own."""
    own = np.empty_like(counts)
    for label in np.unique(labels):
        here = labels == label
        profile = counts[here].sum(axis=0) + 1e-9
        others = counts[~here].sum(axis=0) + 1e-9
        native, foreign = profile / profile.sum(), others / others.sum()
        own[here] = (1 - share) * native / ((1 - share) * native + share * foreign)
    return counts * own


def take_whole(counts: Counts, share: float) -> Counts:
    """CellBender: whole molecules, where most are expected, up to each gene's expected number."""
    profile = counts.sum(axis=0) / counts.sum()
    expected = np.minimum(share * counts.sum(axis=1)[:, None] * profile, counts)
    taken = np.floor(expected)
    rest = np.rint(expected.sum(axis=0) - taken.sum(axis=0)).astype(int)
    order = np.argsort(-(expected - taken), axis=0, kind="stable")
    for gene in np.flatnonzero(rest):
        taken[order[: rest[gene], gene], gene] += 1
    return counts - np.minimum(taken, counts)


def corrections(adata: ad.AnnData, label: str) -> dict[str, Callable[[Counts], Counts]]:
    """Each method by its name in the table."""
    mates = like_genes(adata.var["gene_symbol"])
    labels = adata.obs[label].astype(str).to_numpy()
    rng = np.random.default_rng(SEED)
    return {
        "one molecule in ten lost": lambda x: rng.binomial(x.astype(int), 0.9).astype(float),
        "alevin-fry, STARsolo: 10 % fit two": lambda x: share_out(x, mates, 0.1, by_abundance=True),
        "RSEM: 30 % fit two": lambda x: share_out(x, mates, 0.3, by_abundance=True),
        "kallisto, in halves: 10 % fit two": lambda x: share_out(x, mates, 0.1, by_abundance=False),
        "SoupX, 5 %": lambda x: subtract_soup(x, 0.05),
        "SoupX, 20 %": lambda x: subtract_soup(x, 0.2),
        "decontX, 5 %": lambda x: decontaminate(x, labels, 0.05),
        "decontX, 20 %": lambda x: decontaminate(x, labels, 0.2),
        "CellBender, 5 %": lambda x: take_whole(x, 0.05),
        "CellBender, 20 %": lambda x: take_whole(x, 0.2),
    }  # fmt: skip


def encode(adata: ad.AnnData, embedder: Embedder) -> tuple[list[list[int]], NDArray[np.float32]]:
    """Tokens and embeddings of cells, whatever their values are."""
    options = ReadingOptions(gene_ids="ensembl_id", check=False)
    tokens = tokenize_cells(adata, embedder.checkpoint.vocabulary, options)
    vectors = embed_cells(adata, embedder, options=options).vectors
    return tokens.table["input_ids"].to_pylist(), vectors


def compare(
    before: tuple[list[list[int]], NDArray[np.float32]],
    after: tuple[list[list[int]], NDArray[np.float32]],
) -> dict[str, float]:
    """Means over cells: correlation of the ranks of genes in both, first tokens kept, cosine."""
    correlations, kept = [], []
    for old, new in zip(before[0], after[0], strict=True):
        places = {token: place for place, token in enumerate(new)}
        both = [(place, places[token]) for place, token in enumerate(old) if token in places]
        correlations.append(spearmanr(*zip(*both, strict=True)).statistic)
        kept.append(len({*old[1 : N_TOP + 1]} & {*new[1 : N_TOP + 1]}) / min(N_TOP, len(old) - 2))
    cosines = _cosines(before[1], after[1])
    return {
        "rank_correlation": float(np.mean(correlations)), "first_kept": float(np.mean(kept)),
        "cosine": float(cosines.mean()), "lowest_cosine": float(cosines.min()),
    }  # fmt: skip


def _cosines(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float64]:
    old, new = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (old, new))
    return np.sum(old.astype(np.float64) * new, axis=1)


def measure(adata: ad.AnnData, label: str, embedder: Embedder) -> dict[str, dict[str, Any]]:
    """Figures of each method on some cells."""
    before, counts = encode(adata, embedder), adata.X.toarray().astype(np.float64)
    found = {}
    for name, correct in corrections(adata, label).items():
        values = sparse.csr_matrix(correct(counts).astype(np.float32))
        figures = judge_values(values)
        after = encode(ad.AnnData(values, obs=adata.obs, var=adata.var), embedder)
        found[name] = {
            "taken_for": str(figures.kind), "why_not_estimated": figures.why_not_estimated,
            "whole_share": figures.integer_share, **compare(before, after),
        }  # fmt: skip
    return found


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=Path, nargs="+", help="raw counts, var['ensembl_id']")
    parser.add_argument("--n-cells", type=int, default=200)
    parser.add_argument("--model", default="rankformer-mini")
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    embedder = Embedder(Checkpoint.open(arguments.model), dtype="float32")
    report: dict[str, Any] = {
        "machine": describe_machine(), "model": arguments.model, "cells": {}
    }  # fmt: skip
    rows = []
    for path in arguments.cells:
        adata = read_cells(path, arguments.n_cells)
        found = measure(adata, LABELS[path.stem], embedder)
        report["cells"][path.stem] = {"n_cells": adata.n_obs, "methods": found}
        rows += [
            [path.stem, name, each["taken_for"], f"{each['whole_share']:.0%}",
             *(f"{each[key]:.3f}" for key in ("rank_correlation", "first_kept", "cosine",
                                              "lowest_cosine"))]
            for name, each in found.items()
        ]  # fmt: skip
    write_json(arguments.out, report)
    print(markdown_table(HEADER, rows))


if __name__ == "__main__":
    main()
