"""Real cells that the pictures show, and what rankformer-mini makes of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import rankformer

MODEL = "rankformer-mini"
# A natural killer cell whose commonest gene is common in all cells.
KILLER_CELL = "AACACGTGGTCTTT-1"


@dataclass(frozen=True)
class Cell:
    """The genes that a cell shows, in the order of the file.

    Attributes
    ----------
    symbols, counts, medians
        Of each gene.
    n_counts
        Of the whole cell, genes that the file has left out included.
    """

    symbols: tuple[str, ...]
    counts: NDArray[np.float64]
    medians: NDArray[np.float64]
    n_counts: float

    @property
    def values(self) -> NDArray[np.float64]:
        """What genes are ranked by."""
        return self.counts / self.n_counts * 10_000 / self.medians

    @property
    def order(self) -> NDArray[np.intp]:
        """Places of the genes, the highest value first."""
        return np.argsort(-self.values, kind="stable")


def read_cell(name: str = KILLER_CELL) -> Cell:
    """A cell of the example data set, with the genes that the model knows."""
    adata = rankformer.datasets.blood_cells()
    vocabulary = rankformer.Checkpoint.open(MODEL).vocabulary
    mapping = rankformer.map_genes(adata, MODEL)
    tokens = mapping.tokens
    median_of = dict(zip(vocabulary.tokens.tolist(), vocabulary.medians.tolist(), strict=True))
    place = adata.obs_names.get_loc(name)
    counts = adata.X[place].toarray().ravel()
    shown = np.flatnonzero((counts > 0) & (tokens >= 0))
    return Cell(
        symbols=tuple(mapping.symbols[shown]),
        counts=counts[shown].astype(float),
        medians=np.array([median_of[tokens[gene]] for gene in shown]),
        n_counts=float(adata.obs["n_counts"].iloc[place]),
    )


def read_tokens(name: str = KILLER_CELL) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The tokens of a cell by symbol, and the vector of each after the last layer."""
    adata = rankformer.datasets.blood_cells()
    adata = adata[adata.obs_names == name].copy()
    vocabulary = rankformer.Checkpoint.open(MODEL).vocabulary
    cells = rankformer.tokenize_cells(adata, MODEL)
    encoder = rankformer.Checkpoint.open(MODEL).encoder()
    import torch

    with torch.inference_mode():
        batch = rankformer.PackedBatch.pack(cells.ragged(0, 1), 0, 1)
        vectors = encoder(batch, layer=-1).numpy()
    special = {token: each for each, token in vocabulary.special_tokens.items()}
    gene_of = dict(zip(vocabulary.tokens.tolist(), vocabulary.ensembl_ids, strict=True))
    names = [
        special.get(token) or vocabulary.symbol_of.get(gene_of[token], gene_of[token])
        for token in cells.cell(0).tolist()
    ]
    return tuple(names), vectors
