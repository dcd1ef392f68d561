"""Tokens of real cells against a plain float64 re-statement of the published algorithm.

The re-statement reads the published dictionaries itself, so that neither reading, nor mapping, nor
encoding of rankformer takes part in what is expected.
"""

import pickle
from itertools import pairwise

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from tests.conftest import CELL_FILES, shared_path

from rankformer.cells.source import open_cells
from rankformer.genes.map_genes import map_genes
from rankformer.tokens.rank_value import encode_rank_values
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import tokenize_cells

RELEASES = {"v1": ("gc30M", 2048), "v2": ("gc95M", 4096)}


def dictionaries(version):
    release, _ = RELEASES[version]
    names = ("token_dictionary", "gene_median_dictionary", "ensembl_mapping_dict")
    return (
        pickle.loads(shared_path("geneformer", version, f"{name}_{release}.pkl").read_bytes())
        for name in names
    )


def published_values(adata, version):
    """(n_cells, n_tokens) float64: value of each token in each cell; and the token ids."""
    tokens, medians, mapping = dictionaries(version)
    genes = [mapping.get(gene.upper()) for gene in adata.var["ensembl_id"].astype(str)]
    in_vocabulary = np.array([gene in tokens for gene in genes])
    kept = [gene for gene in genes if gene in tokens]
    names, column = np.unique(kept, return_inverse=True)
    collapse = sparse.csr_matrix(
        (np.ones(len(kept)), (np.arange(len(kept)), column)), (len(kept), len(names))
    )
    counts = sparse.csr_matrix(adata.X, dtype=np.float64)
    summed = (counts[:, np.flatnonzero(in_vocabulary)] @ collapse).toarray()
    n_counts = np.asarray(counts.sum(axis=1)).ravel()
    medians = np.array([float(medians[name]) for name in names])
    values = summed / n_counts[:, None] * 10_000 / medians
    return values, np.array([int(tokens[name]) for name in names])


@pytest.fixture(scope="module", params=CELL_FILES)
def real_cells(request):
    adata = ad.read_h5ad(shared_path("cells", f"{request.param}.h5ad"))
    return adata[:: max(1, adata.n_obs // 250)].copy()


@pytest.mark.parametrize("version", RELEASES)
def test_tokens_are_the_published_ones_up_to_ties(real_cells, version, request):
    vocabulary = request.getfixturevalue(version)
    _, input_length = RELEASES[version]
    special = [2, 3] if version == "v2" else []
    values, ids = published_values(real_cells, version)
    column_of = np.full(vocabulary.size, -1)
    column_of[ids] = np.arange(len(ids))
    cells = tokenize_cells(real_cells, vocabulary, ReadingOptions(gene_ids="ensembl_id"))
    for row in range(len(cells)):
        found = cells.cell(row)
        if special:
            assert [found[0], found[-1]] == special
            found = found[1:-1]
        room = input_length - len(special)
        expected = np.sort(values[row][values[row] > 0])[::-1][:room]
        assert len(np.unique(found)) == len(found) == len(expected)
        np.testing.assert_allclose(values[row, column_of[found]], expected, rtol=1e-12)


def encoded(source, mapping, vocabulary, chunk_cells, n_threads):
    """Bytes of the tokens of each cell, read from a source in chunks."""
    cells = []
    with open_cells(source) as opened:
        for chunk in opened.chunks(chunk_cells):
            values, offsets = encode_rank_values(
                chunk.counts, mapping.tokens, vocabulary, n_threads=n_threads
            )
            cells += [values[first:last].tobytes() for first, last in pairwise(offsets)]
    return cells


def test_same_bytes_from_any_storage_chunk_and_threads(real_cells, v1, v2, tmp_path):
    few = real_cells[:60].copy()
    few.write_zarr(tmp_path / "csr.zarr")
    layouts = {"csr": few.X, "csc": sparse.csc_matrix(few.X), "dense": few.X.toarray()}
    sources = [tmp_path / "csr.zarr"]
    for name, counts in layouts.items():
        other = ad.AnnData(counts, obs=few.obs, var=few.var)
        other.write_h5ad(tmp_path / f"{name}.h5ad")
        sources += [other, tmp_path / f"{name}.h5ad"]
    sources.append(ad.read_h5ad(tmp_path / "csr.h5ad", backed="r"))
    for vocabulary in (v1, v2):
        mapping = map_genes(few.var, vocabulary, gene_ids="ensembl_id")
        expected = encoded(few, mapping, vocabulary, 60, 1)
        assert len(set(expected)) > 50
        for source in sources:
            assert encoded(source, mapping, vocabulary, 7, 3) == expected


def test_symbols_and_ensembl_ids_give_nearly_the_same_cells(v2):
    """Symbols of 10x files are the names of their time; a few have moved on since."""
    adata = ad.read_h5ad(shared_path("cells", "pbmc_1k_v2.h5ad"))[:50].copy()
    by_id = tokenize_cells(adata, v2, ReadingOptions(gene_ids="ensembl_id"))
    by_symbol = tokenize_cells(adata, v2, ReadingOptions(gene_ids="index"))
    shared = [
        len(np.intersect1d(by_id.cell(i), by_symbol.cell(i))) / len(by_id.cell(i))
        for i in range(50)
    ]
    assert min(shared) > 0.97
