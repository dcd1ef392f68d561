"""Models and cells for tests of runs."""

import shutil

import pandas as pd
import pytest
from tests.faults.bad_input import save_models
from tests.faults.cells import adata_of, counts
from tests.runs.commands import SIZES, give


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Models and three files, of which each cell differs from the others."""
    folder = save_models(tmp_path_factory.mktemp("desk"))
    (folder / "cells").mkdir()
    values = counts(sum(SIZES.values()))
    first = 0
    for name, n_cells in SIZES.items():
        adata = adata_of(values[first : first + n_cells])
        adata.obs_names = [f"{name}{i}" for i in range(n_cells)]
        adata.write_h5ad(folder / "cells" / f"{name}.h5ad")
        first += n_cells
    return folder


@pytest.fixture
def folder(desk, tmp_path):
    (tmp_path / "model").symlink_to(desk / "model")
    shutil.copytree(desk / "cells", tmp_path / "cells")
    return tmp_path


@pytest.fixture(scope="module")
def whole(desk, tmp_path_factory):
    """Vectors of all cells, embedded at once into a file, and the table of their names."""
    output = tmp_path_factory.mktemp("whole") / "out.parquet"
    give(desk, f"embed cells -o {output} -m model --dtype float32")
    return pd.read_parquet(output)
