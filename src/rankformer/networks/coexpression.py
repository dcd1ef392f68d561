"""The baseline: which genes are expressed together in the same cells."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.cells.normalise import scale_cells
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import TokenStream, read_kept


def correlate_genes(
    streams: Sequence[TokenSource],
    chosen: Sequence[NDArray[np.int64]],
    tokens: NDArray[np.int64],
    acting: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """Pearson's correlation of genes over cells, of log1p of counts scaled to 10,000 a cell.

    Parameters
    ----------
    streams
        The sources.
    chosen
        Rows of the cells, source by source.
    tokens
        (n_genes,) the genes.
    acting
        (n_acting,) places among them of those that are correlated with all.

    Returns
    -------
    (n_acting, n_genes); NaN for a gene that does not vary. None if a source holds tokens that were
    saved: these have no counts.
    """
    n_genes, n_cells = len(tokens), 0
    sums, squares = np.zeros(n_genes), np.zeros(n_genes)
    products = np.zeros((len(acting), n_genes))
    for stream, rows in zip(streams, chosen, strict=True):
        if not isinstance(stream, TokenStream):
            return None
        by_gene = _variables_of(stream.mapping.tokens, tokens)
        for own, counts in read_kept(stream.source, stream.options):
            scaled = scale_cells(counts[np.isin(own, rows)]) @ by_gene
            logs = scaled.log1p().toarray().astype(np.float64)
            n_cells += len(logs)
            sums += logs.sum(axis=0)
            squares += (logs**2).sum(axis=0)
            products += logs[:, acting].T @ logs
    means = sums / max(n_cells, 1)
    deviations = np.sqrt(np.maximum(squares / max(n_cells, 1) - means**2, 0))
    deviations[deviations < np.sqrt(np.finfo(float).eps)] = np.nan
    covariance = products / max(n_cells, 1) - np.outer(means[acting], means)
    covariance /= deviations[acting, None] * deviations
    return np.asarray(np.clip(covariance, -1, 1, out=covariance))


def _variables_of(token_of_var: NDArray[np.int32], tokens: NDArray[np.int64]) -> csr_matrix:
    """(n_vars, n_genes): 1 where a variable is a gene; several may be the same one."""
    place_of = {int(token): place for place, token in enumerate(tokens)}
    places = np.array([place_of.get(int(token), -1) for token in token_of_var])
    variables = np.flatnonzero(places >= 0)
    ones = np.ones(len(variables), np.float32)
    shape = (len(token_of_var), len(tokens))
    return csr_matrix((ones, (variables, places[variables])), shape=shape)
