"""The workflow for Snakemake in `examples`, run on two small files."""

import shutil
import subprocess
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import rankformer
from tests.conftest import small_counts

pytestmark = pytest.mark.slow
SNAKEFILE = Path(__file__).resolve().parents[1] / "examples" / "snakemake" / "Snakefile"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two files of 20 cells with some genes of rankformer-mini, and what the workflow made."""
    program = shutil.which("snakemake")
    if program is None:
        pytest.skip("needs Snakemake on the PATH: pip install snakemake, in any environment")
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "cells").mkdir()
    genes = rankformer.Checkpoint.open("rankformer-mini").vocabulary.ensembl_ids[:300]
    # A blank in a name: commands must still work.
    for seed, name in enumerate(("first", "second one")):
        adata = ad.AnnData(small_counts(20, len(genes), seed=seed))
        adata.var_names = list(genes)
        adata.obs_names = [f"{name} {i}" for i in range(20)]
        adata.obs["cell_type"] = ["B", "T"] * 10
        adata.write_h5ad(folder / "cells" / f"{name}.h5ad")
    words = ["reference=cells/first.h5ad", "annotate_options=--n-neighbors 5"]
    command = [program, "--snakefile", SNAKEFILE, "--cores", "2", "--config", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_file_is_embedded_and_all_are_gathered(folder):
    table = pd.read_parquet(folder / "results" / "embeddings.parquet")
    assert table["sample"].unique().tolist() == ["first", "second one"]
    for name, rows in table.groupby("sample"):
        adata = ad.read_h5ad(folder / "cells" / f"{name}.h5ad")
        rankformer.tl.embed(adata, model="rankformer-mini", dtype="float32")
        assert rows["cell"].tolist() == adata.obs_names.tolist()
        vectors = rows.drop(columns=["sample", "cell"]).to_numpy()
        np.testing.assert_allclose(vectors, adata.obsm["X_geneformer"], atol=1e-5)


def test_each_file_is_annotated_by_the_reference(folder):
    for name in ("first", "second one"):
        table = pd.read_csv(folder / "results" / "annotated" / f"{name}.csv")
        assert len(table) == 20
        assert set(table["predicted_cell_type"]) <= {"B", "T", "unknown"}
