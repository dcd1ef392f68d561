"""Reading goes on with fewer cells where memory runs out, and loses none."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from tests.cells.count_files import make_adata, make_counts

from rankformer.cells import cell_budget
from rankformer.cells.cell_budget import CellBudget
from rankformer.cells.row_matrices import CompressedRows
from rankformer.cells.source import open_cells
from rankformer.errors import CountsError, OutOfMemoryError

STARVED = """
import logging, sys
from tests.damage import little_memory
from rankformer.cells.source import open_cells
logging.basicConfig(level=logging.WARNING)
with open_cells(sys.argv[1]) as cells:
    list(cells.chunks(64, stop=640))
    with little_memory(0.1):
        chunks = [(each.start, each.stop, float(each.counts.sum())) for each in cells.chunks(10**6)]
for each in chunks:
    print(*each)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits as Linux has them")
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_starved_for_real(tmp_path, compression):
    """24 million values take 190 MB, and there are 100: half of them must do."""
    n_cells, n_values = 60_000, 400
    data = np.ones(n_cells * n_values, np.float32)
    data[::n_values] = np.arange(n_cells) % 7 + 1
    indices = np.tile(np.arange(n_values, dtype=np.int32), n_cells)
    counts = sp.csr_matrix((data, indices, np.arange(0, data.size + 1, n_values)))
    ad.AnnData(counts).write_h5ad(tmp_path / "cells.h5ad", compression=compression)
    command = [sys.executable, "-c", STARVED, tmp_path / "cells.h5ad"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Memory ran out; going on with 30,000 cells at once" in done.stderr
    rows = [[float(each) for each in line.split()] for line in done.stdout.splitlines()]
    assert [start for start, _, _ in rows] == [0, *(stop for _, stop, _ in rows[:-1])]
    assert rows[-1][1] == n_cells
    for start, stop, total in rows:
        np.testing.assert_allclose(total, counts[int(start) : int(stop)].sum(), rtol=1e-6)


class FewAtOnce:
    """Memory for some rows at a time, which was enough for more at first."""

    def __init__(self, read, most, error):
        self.read, self.most, self.error = read, most, error

    def __call__(self, matrix, start, stop):
        if stop - start > self.most:
            raise self.error
        return self.read(matrix, start, stop)


@pytest.fixture
def few_at_once(monkeypatch):
    def limit(most, error=None):
        few = FewAtOnce(CompressedRows.rows, most, error or MemoryError("no more"))
        monkeypatch.setattr(CompressedRows, "rows", lambda *given: few(*given))

    return limit


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError("Can't synchronously read data (memory allocation failed for chunk)"),
        RuntimeError("can't start new thread"),
    ],
    ids=["Python", "HDF5", "threads"],
)
def test_reading_goes_on_from_the_same_row(few_at_once, caplog, error):
    with open_cells(make_adata()) as cells:
        few_at_once(7, error)
        chunks = list(cells.chunks(50))
    assert [each.start for each in chunks] == [0, 6, 12, 18, 24, 30, 36, 42, 48, 54]
    assert (sp.vstack([each.counts for each in chunks]) != make_counts()).nnz == 0
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert said == [
        f"Memory ran out; going on with {n} cells at once, read from X of AnnData."
        for n in (25, 12, 6)
    ]


def test_one_cell_that_does_not_fit(few_at_once):
    with open_cells(make_adata()) as cells:
        few_at_once(0)
        with pytest.raises(OutOfMemoryError, match=r"while one cell was read from X of AnnData"):
            list(cells.chunks(50))


def test_damage_is_not_taken_for_want_of_memory(few_at_once):
    with open_cells(make_adata()) as cells:
        few_at_once(7, OSError("filter returned failure during read"))
        with pytest.raises(CountsError, match="filter returned failure"):
            list(cells.chunks(50))


def test_filters_that_fail_where_there_is_no_room(few_at_once, monkeypatch):
    """They do not say why; then nothing else can be had either."""
    with open_cells(make_adata()) as cells:
        few_at_once(7, OSError("filter returned failure during read"))
        monkeypatch.setattr(cell_budget, "_ENOUGH_BYTES", 1 << 60)
        assert len(list(cells.chunks(50))) == 10


def test_other_errors_pass():
    def work(start, stop):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(CellBudget(8, "read").run(work, 0, 20))
