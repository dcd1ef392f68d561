"""Cells in any order: the tokens are those of tokenizing, wherever the cells lie."""

import pickle

import anndata as ad
import numpy as np
import pytest
from tests.conftest import small_counts

from rankformer.cells.row_matrices import CompressedRows
from rankformer.errors import SettingsError
from rankformer.tokens.token_sources import SavedTokens
from rankformer.tokens.tokenize import open_tokens, opened_sources, tokenize_cells
from rankformer.training.cells import gather_training_cells, tokens_in_memory

N_CELLS = (150, 1, 90)


@pytest.fixture
def files(vocabulary, tmp_path):
    """Three files, which name the genes differently, in more than one block."""
    paths = []
    for i, n_cells in enumerate(N_CELLS):
        names = list(vocabulary.ensembl_ids) if i else list(vocabulary.symbols)
        order = np.random.default_rng(i).permutation(len(names))
        adata = ad.AnnData(small_counts(n_cells, len(names), seed=i, mean=0.3))
        adata.var_names, adata.obs["donor"] = [names[j] for j in order], f"donor{i}"
        paths.append(tmp_path / f"{i}.h5ad")
        adata.write_h5ad(paths[-1])
    return paths


@pytest.fixture
def expected(files, vocabulary):
    """Tokens of all cells, one array a cell, as the main job gives them."""
    tokenized = [tokenize_cells(path, vocabulary) for path in files]
    return [each.cell(i) for each in tokenized for i in range(len(each))]


def cells_of(ragged):
    values, offsets = ragged
    return np.split(values, offsets[1:-1])


@pytest.mark.parametrize("saved", [False, True], ids=["counts", "tokens"])
def test_any_cells_in_any_order(files, vocabulary, expected, tmp_path, saved):
    if saved:
        files = [
            tokenize_cells(path, vocabulary).save(tmp_path / f"{path.stem}.tokens")
            for path in files
        ]
    with opened_sources(files, vocabulary) as opened:
        cells = gather_training_cells(opened)
        assert len(cells) == sum(N_CELLS)
        rows = np.random.default_rng(0).permutation(len(cells))[:200]
        for row, found in zip(rows, cells_of(cells.take(rows)), strict=True):
            assert found.tolist() == expected[row].tolist()


def test_where_memory_runs_out_they_are_read_in_pieces(files, vocabulary, expected, monkeypatch):
    read = CompressedRows.rows

    def starved(matrix, start, stop):
        if stop - start > 20:
            raise MemoryError
        return read(matrix, start, stop)

    with opened_sources(files, vocabulary) as opened:
        monkeypatch.setattr(CompressedRows, "rows", starved)
        cells = gather_training_cells(opened)
        found = cells_of(cells.take(np.arange(len(cells))))
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]


def test_as_tokens_they_go_to_another_process(files, vocabulary, expected):
    cells = gather_training_cells([open_tokens(each, vocabulary) for each in files])
    cells.take(np.array([0]))
    sent = pickle.loads(pickle.dumps(tokens_in_memory(cells)))
    found = cells_of(sent.take(np.arange(len(cells))))
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]


def test_parts_are_cells_of_their_own(files, vocabulary, expected):
    cells = gather_training_cells([open_tokens(each, vocabulary) for each in files])
    rows = np.array([200, 3, 151])
    parts = cells.split(rows, np.full(3, 0.5), np.random.default_rng(0))
    special = list(vocabulary.special_tokens.values())
    for i, row in enumerate(rows):
        whole = set(expected[row])
        found = [set(cells_of(part)[i]) for part in parts]
        assert (found[0] | found[1]) - set(special) <= whole
        assert found[0] != found[1]


def test_columns_and_filters_of_all_sources(files, vocabulary):
    adata = ad.read_h5ad(files[0])
    adata.obs["filter_pass"] = np.arange(adata.n_obs) % 2
    adata.write_h5ad(files[0])
    cells = gather_training_cells([open_tokens(each, vocabulary) for each in files])
    assert cells.obs["donor"].tolist() == [
        f"donor{i}" for i, n in enumerate(N_CELLS) for _ in range(n)
    ]
    assert cells.kept.sum() == N_CELLS[0] // 2 + sum(N_CELLS[1:])


def test_counts_and_tokens_together_are_refused(files, vocabulary, tmp_path):
    tokens = tokenize_cells(files[0], vocabulary).save(tmp_path / "tokens")
    sources = [SavedTokens.open(tokens, vocabulary), open_tokens(files[1], vocabulary)]
    with pytest.raises(SettingsError, match=r"holds counts, and .* tokens"):
        gather_training_cells(sources)
