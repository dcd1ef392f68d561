"""The command line as a user runs it: real processes, real files."""

import json
import os
import re
import shlex
import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scanpy as sc
from datasets import load_from_disk
from rich.filesize import decimal

import rankformer
from rankformer.checkpoints import find
from rankformer.checkpoints.find import default_model
from tests.conftest import save_small_checkpoint
from tests.terminal import run_on_terminal


def run(*arguments, **more):
    """Run a command in a process of its own; what it printed comes back."""
    command = [sys.executable, "-m", "rankformer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **more)


@pytest.fixture
def expected(checkpoint_folder, small_adata):
    """Embeddings as the library gives them."""
    return rankformer.tl.embed(small_adata, model=checkpoint_folder, copy=True)


def test_embed_in_a_process_of_its_own(cells, checkpoint_folder, expected, tmp_path):
    done = run("embed", cells, "-o", tmp_path / "out.h5ad", "--model", checkpoint_folder)
    assert done.returncode == 0, done.stderr
    assert "30 cells" in done.stderr
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    original = ad.read_h5ad(cells)
    np.testing.assert_allclose(found.obsm["X_geneformer"], expected.obsm["X_geneformer"], atol=1e-6)
    assert (found.X != original.X).nnz == 0
    assert found.obs.equals(original.obs)
    assert found.uns["rankformer"]["X_geneformer"]["mode"] == "cell"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["cells.h5ad", "out.h5ad"]


def read(path):
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".parquet":
        return np.stack(pd.read_parquet(path)["vector"])
    adata = ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)
    return adata.obsm["X_geneformer"]


@pytest.mark.parametrize("name", ["out.npy", "out.parquet", "out.zarr", "out.h5ad"])
def test_every_format_holds_the_same(command, cells, checkpoint_folder, expected, tmp_path, name):
    status, *_ = command("embed", cells, "-o", tmp_path / name, "-m", checkpoint_folder)
    assert status == 0
    np.testing.assert_allclose(read(tmp_path / name), expected.obsm["X_geneformer"], atol=1e-6)


def test_parquet_and_npy_carry_provenance(command, cells, checkpoint_folder, tmp_path):
    sha256 = rankformer.Checkpoint.open(checkpoint_folder).weights_sha256
    command("embed", cells, "-o", tmp_path / "a.parquet", "-m", checkpoint_folder)
    metadata = pq.read_schema(tmp_path / "a.parquet").metadata[b"rankformer"]
    assert json.loads(metadata)["weights_sha256"] == sha256
    assert pd.read_parquet(tmp_path / "a.parquet")["cell"].tolist() == [
        f"cell{i}" for i in range(30)
    ]
    command("embed", cells, "-o", tmp_path / "a.npy", "-m", checkpoint_folder)
    assert json.loads((tmp_path / "a.npy.json").read_text())["weights_sha256"] == sha256


def test_zarr_in_zarr_out_is_a_copy(command, small_adata, checkpoint_folder, expected, tmp_path):
    small_adata.write_zarr(tmp_path / "cells.zarr")
    status, *_ = command(
        "embed", tmp_path / "cells.zarr", "-o", tmp_path / "out.zarr", "-m", checkpoint_folder
    )
    assert status == 0
    found = ad.read_zarr(tmp_path / "out.zarr")
    assert (found.X != small_adata.X).nnz == 0
    np.testing.assert_allclose(found.obsm["X_geneformer"], expected.obsm["X_geneformer"], atol=1e-6)


def test_several_files_become_one_in_order(
    command, small_adata, checkpoint_folder, expected, tmp_path
):
    folder = tmp_path / "many"
    folder.mkdir()
    small_adata[:12].write_h5ad(folder / "a.h5ad")
    small_adata[12:, ::-1].copy().write_h5ad(folder / "b.h5ad")
    status, *_ = command("embed", folder, "-o", tmp_path / "out.h5ad", "-m", checkpoint_folder)
    assert status == 0
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert found.obs_names.tolist() == small_adata.obs_names.tolist()
    assert found.obs["source"].nunique() == 2
    np.testing.assert_allclose(found.obsm["X_geneformer"], expected.obsm["X_geneformer"], atol=1e-6)


def test_obs_of_several_files_is_kept(command, small_adata, checkpoint_folder, tmp_path):
    first, second = small_adata[:12].copy(), small_adata[12:].copy()
    first.obs["source"], second.obs["source"] = "lung", "blood"
    first.obs["age"], first.obs["female"], second.obs["site"] = 40, True, "north"
    first.write_h5ad(tmp_path / "a.h5ad")
    second.write_h5ad(tmp_path / "b.h5ad")
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    status, _, said = command("embed", *files, "-o", tmp_path / "out.h5ad", "-m", checkpoint_folder)
    assert status == 0
    assert 'obs["source_2"]' in said
    obs = ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert obs["source"].tolist() == ["lung"] * 12 + ["blood"] * 18
    assert obs["source_2"].tolist() == [str(files[0])] * 12 + [str(files[1])] * 18
    assert obs["cell_type"].tolist() == small_adata.obs["cell_type"].tolist()
    assert obs["age"][:12].tolist() == [40] * 12
    assert obs["female"][:12].tolist() == [True] * 12
    assert obs["site"][12:].tolist() == ["north"] * 18
    assert obs[["age", "female"]][12:].isna().all(axis=None)
    assert obs["site"][:12].isna().all()


@pytest.mark.parametrize("mode", ["cell", "gene"])
def test_tables_of_several_files_say_which(command, small_adata, checkpoint_folder, tmp_path, mode):
    """Cells of two files may have the same name."""
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    small_adata[:12].write_h5ad(files[0])
    small_adata[:5].write_h5ad(files[1])
    status, *_ = command(
        "embed", *files, "-o", tmp_path / "out.parquet", "-m", checkpoint_folder, "--mode", mode
    )
    assert status == 0
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert list(table.columns[:2]) == ["cell", "source"]
    cells = table[["cell", "source"]].drop_duplicates()
    assert cells["source"].tolist() == [str(files[0])] * 12 + [str(files[1])] * 5
    assert cells["cell"].tolist() == [f"cell{i}" for i in (*range(12), *range(5))]


def test_a_file_that_is_named_twice_is_embedded_once(
    command, cells, checkpoint_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, _, said = command(
        "embed", cells, "cells.h5ad", "-o", "out.h5ad", "-m", checkpoint_folder
    )
    assert status == 0
    assert "named more than once" in said
    assert ad.read_h5ad("out.h5ad").n_obs == 30


def test_a_copy_is_made_by_what_a_file_is(command, cells, checkpoint_folder, expected, tmp_path):
    cells.rename(tmp_path / "cells.h5")
    status, *_ = command(
        "embed", tmp_path / "cells.h5", "-o", tmp_path / "out.h5ad", "-m", checkpoint_folder
    )
    assert status == 0
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    assert (found.X != expected.X).nnz == 0
    np.testing.assert_allclose(found.obsm["X_geneformer"], expected.obsm["X_geneformer"], atol=1e-6)


def test_a_copy_of_a_read_only_store_can_be_written_to(
    command, small_adata, checkpoint_folder, expected, tmp_path
):
    """A user who is not root meets an error where a copied folder may not be written to."""
    store = tmp_path / "cells.zarr"
    small_adata.write_zarr(store)
    for path in (store, *store.rglob("*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    status, *_ = command("embed", store, "-o", tmp_path / "out.zarr", "-m", checkpoint_folder)
    assert status == 0
    out = tmp_path / "out.zarr"
    assert all(path.stat().st_mode & 0o200 for path in (out, *out.rglob("*")))
    found = ad.read_zarr(out)
    np.testing.assert_allclose(found.obsm["X_geneformer"], expected.obsm["X_geneformer"], atol=1e-6)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_reasons_of_an_earlier_run_are_not_kept(
    command, small_adata, checkpoint_folder, tmp_path, suffix
):
    small_adata.obs["X_geneformer_missing"] = pd.Categorical(["no counts"] + [None] * 29)
    path = tmp_path / f"cells.{suffix}"
    (small_adata.write_h5ad if suffix == "h5ad" else small_adata.write_zarr)(path)
    out = tmp_path / f"out.{suffix}"
    assert command("embed", path, "-o", out, "-m", checkpoint_folder)[0] == 0
    found = (ad.read_h5ad if suffix == "h5ad" else ad.read_zarr)(out)
    assert found.obs.columns.tolist() == ["cell_type"]


def test_gene_mode_is_one_long_table(command, cells, small_adata, checkpoint_folder, tmp_path):
    status, *_ = command(
        "embed", cells, "-o", tmp_path / "genes.parquet", "-m", checkpoint_folder, "--mode", "gene"
    )
    assert status == 0
    table = pd.read_parquet(tmp_path / "genes.parquet")
    assert list(table.columns) == ["cell", "ensembl_id", "rank", "vector"]
    assert table["cell"].unique().tolist() == small_adata.obs_names.tolist()
    geneformer = rankformer.Geneformer(
        rankformer.GeneformerConfig(model_name=checkpoint_folder, emb_mode="gene")
    )
    series = geneformer.get_embeddings(geneformer.process_data(small_adata))
    for (_, rows), expected in zip(table.groupby("cell", sort=False), series, strict=True):
        assert rows["rank"].tolist() == list(range(1, len(expected) + 1))
        assert rows["ensembl_id"].tolist() == expected.index.tolist()
        np.testing.assert_allclose(np.stack(rows["vector"]), np.stack(expected), atol=1e-6)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_gene_summary(command, cells, checkpoint_folder, tmp_path, statistic):
    arguments = ["-m", checkpoint_folder, "--mode", "gene"]
    command("embed", cells, "-o", tmp_path / "genes.parquet", *arguments)
    status, *_ = command(
        "embed", cells, "-o", tmp_path / "summary.parquet", *arguments, "--summary", statistic
    )
    assert status == 0
    long = pd.read_parquet(tmp_path / "genes.parquet").groupby("ensembl_id")["vector"]
    summary = pd.read_parquet(tmp_path / "summary.parquet").set_index("ensembl_id")
    assert summary["n_cells"].to_dict() == long.size().to_dict()
    assert summary["symbol"].str.fullmatch(r"G\d+").all()
    for gene, vectors in long:
        expected = getattr(np, statistic)(np.stack(vectors), axis=0)
        np.testing.assert_allclose(summary.loc[gene, "vector"], expected, atol=1e-5)


def test_tokenize_writes_a_dataset_and_a_gene_report(command, cells, checkpoint_folder, tmp_path):
    status, *_ = command(
        "tokenize", cells, "-o", tmp_path / "tokens", "-m", checkpoint_folder,
        "--attribute", "label=cell_type", "--gene-report", tmp_path / "genes.csv",
    )  # fmt: skip
    assert status == 0
    dataset = load_from_disk(str(tmp_path / "tokens"))
    assert dataset.column_names == ["input_ids", "length", "label"]
    assert dataset.num_rows == 30
    report = pd.read_csv(tmp_path / "genes.csv")
    assert (report["token"] >= 0).sum() == 150
    assert len(report) == 170


def test_gene_mode_tells_which_cells_it_left_out(command, small_adata, checkpoint_folder, tmp_path):
    counts = small_adata.X.toarray()
    counts[3] = 0
    small_adata.X = counts
    small_adata.obs["filter_pass"] = [1, 0, 1] * 10
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    arguments = ["-m", checkpoint_folder, "--mode", "gene"]
    for name, options in (("all", []), ("mean", ["--summary", "mean"])):
        status, _, said = command(
            "embed", tmp_path / "cells.h5ad", "-o", tmp_path / f"{name}.parquet",
            *arguments, *options,
        )  # fmt: skip
        assert status == 0
        assert "1 of 30 cells have no embedding: no counts in genes" in said
        assert "10 of 30 cells have no embedding: filter_pass is 0" in said
    assert pd.read_parquet(tmp_path / "all.parquet")["cell"].nunique() == 19


def test_saved_tokens_embed_as_their_counts_do(
    command, cells, checkpoint_folder, expected, tmp_path
):
    arguments = "-m", checkpoint_folder
    command("tokenize", cells, "-o", tmp_path / "tokens", *arguments, "--attribute", "cell_type")
    status, *_ = command("embed", tmp_path / "tokens", "-o", tmp_path / "out.h5ad", *arguments)
    assert status == 0
    found = ad.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_allclose(found.obsm["X_geneformer"], expected.obsm["X_geneformer"], atol=1e-6)
    assert found.obs_names.tolist() == expected.obs_names.tolist()
    assert found.obs["cell_type"].tolist() == expected.obs["cell_type"].tolist()
    published = load_from_disk(str(tmp_path / "tokens")).remove_columns("cell_type")
    published.info.description = ""
    published.save_to_disk(str(tmp_path / "published"))
    command("embed", tmp_path / "published", "-o", tmp_path / "out.npy", *arguments)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), found.obsm["X_geneformer"])


def test_both_layer_numberings_agree(command, cells, checkpoint_folder, tmp_path):
    command("embed", cells, "-o", tmp_path / "a.npy", "-m", checkpoint_folder, "--emb-layer", -2)
    command("embed", cells, "-o", tmp_path / "b.npy", "-m", checkpoint_folder, "--emb-layer", -1,
            "--layer-numbering", "published")  # fmt: skip
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    command("embed", cells, "-o", tmp_path / "c.npy", "-m", checkpoint_folder)
    assert not np.allclose(np.load(tmp_path / "a.npy"), np.load(tmp_path / "c.npy"))


def test_nothing_heavy_is_imported_before_it_is_needed():
    script = (
        "import sys, rankformer, rankformer.cli\n"
        "heavy = {'torch', 'anndata', 'numpy', 'pandas', 'datasets', 'numba', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tokenizing_needs_no_torch(cells, checkpoint_folder, tmp_path):
    script = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from rankformer import Checkpoint, tokenize_cells\n"
        f"vocabulary = Checkpoint.open({str(checkpoint_folder)!r}).vocabulary\n"
        f"assert len(tokenize_cells({str(cells)!r}, vocabulary)) == 30\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_of_every_command(command):
    for words in ([], ["embed"], ["tokenize"], ["inspect"], ["models"], ["models", "fetch"]):
        status, screen, _ = command(*words, "--help")
        assert status == 0
        assert "Usage: " in screen
    assert command("--version")[1].strip() == rankformer.__version__


def test_bench_prints_rates(command, checkpoint_folder):
    status, out, _ = command(
        "bench", "--model", checkpoint_folder, "--device", "cpu", "--seconds", "0.1"
    )
    assert status == 0
    for what in ("small on cpu", "cells/s", "TFLOP/s", "time over that of both alone", "MB"):
        assert what in out


# Which model is taken where none is named, what is said at the end, and silence.


def put_published(folder, name, vocabulary):
    """Random weights under a published name stand for the model, where a copy by hand would lie."""
    save_small_checkpoint(folder / name, vocabulary)


def test_the_one_published_model_that_is_here_is_taken(
    command, cells, tmp_path, monkeypatch, vocabulary
):
    monkeypatch.setenv("RANKFORMER_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    status, _, said = command("embed", cells, "-o", tmp_path / "a.npy", "--min-recognised", 0)
    assert "rankformer-mini is taken, which ships with rankformer and is for trying out" in said

    monkeypatch.setattr(find, "find_folder", find_unbound(tmp_path / "models"))
    put_published(tmp_path / "models", "gf-6L-30M-i2048", vocabulary)
    assert default_model() == "gf-6L-30M-i2048"
    put_published(tmp_path / "models", "gf-12L-95M-i4096", vocabulary)
    status, _, said = command("embed", cells, "-o", tmp_path / "b.npy")
    assert status == 2
    assert "gf-6L-30M-i2048, gf-12L-95M-i4096" in said
    assert "--model NAME" in said


def find_unbound(folder):
    return lambda model: next((folder / n for n in model.names if (folder / n).is_dir()), None)


def test_the_end_says_what_lies_where_and_how_to_go_on(
    command, small_adata, tmp_path, vocabulary, monkeypatch
):
    """Ten of the cells have more genes than the model takes."""
    counts = small_adata.X.toarray()
    counts[:] = 0
    counts[:, :30] = 1 + np.arange(30)
    counts[:10, :150] = 2
    small_adata.X = counts
    cells = tmp_path / "cells.h5ad"
    small_adata.write_h5ad(cells)
    folder = save_small_checkpoint(tmp_path / "model", vocabulary)
    full = "10 of 30 cells have as many genes as the model reads, 64 tokens, or more"

    status, _, said = command("embed", cells, "-o", tmp_path / "out.h5ad", "-m", folder)
    assert status == 0, said
    assert full in said
    out = tmp_path / "out.h5ad"
    wrote = re.search(r"^Wrote (\S+) \((.+)\): (.+)$", said, re.MULTILINE)
    assert wrote.groups() == (
        str(out), decimal(out.stat().st_size), 'obsm["X_geneformer"], 30 x 32, model, mode cell.'
    )  # fmt: skip
    assert "Read cells.h5ad: 30 cells; 150 of 170 variables are 150 genes of the model." in said
    _, _, advice = said.partition("Go on with scanpy:\n")
    names = {}
    monkeypatch.setattr(sc.pl, "umap", lambda *_: None)
    for line in advice.splitlines()[:3]:
        exec(line.strip(), names)  # noqa: S102
    assert names["adata"].obsm["X_umap"].shape == (30, 2)
    assert names["adata"].uns["neighbors"]["params"]["use_rep"] == "X_geneformer"

    status, _, said = command("tokenize", cells, "-o", tmp_path / "tokens", "-m", folder)
    assert status == 0, said
    assert full in said
    (advice,) = (line for line in said.splitlines() if line.startswith("  rankformer embed "))
    assert command(*shlex.split(advice)[1:])[0] == 0
    np.testing.assert_allclose(
        ad.read_h5ad(tmp_path / "tokens-embedded.h5ad").obsm["X_geneformer"],
        ad.read_h5ad(tmp_path / "out.h5ad").obsm["X_geneformer"], atol=1e-6,
    )  # fmt: skip


def test_the_end_counts_the_labels_that_were_given(command, cells, checkpoint_folder, tmp_path):
    status, _, said = command(
        "annotate", cells, "-r", cells, "--label", "cell_type", "-o", tmp_path / "out.csv",
        "-m", checkpoint_folder, "--n-neighbors", 3,
    )  # fmt: skip
    assert status == 0, said
    found = pd.read_csv(tmp_path / "out.csv")["predicted_cell_type"].value_counts()
    lines = said.partition("that they resemble most")[2].splitlines()[3:]
    told = {line.split()[0]: int(line.split()[1]) for line in lines[:3] if line.startswith("  ")}
    assert {label: n for label, n in told.items() if n} == found.to_dict()


def test_the_list_of_models_can_be_told_to_be_quiet():
    assert run("models", "-q").returncode == 0


def test_the_command_that_goes_on_can_be_copied(cells, checkpoint_folder, tmp_path):
    """Also where a folder has a space in its name."""
    done = run("tokenize", cells, "-o", "my cells", "-m", checkpoint_folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    words = shlex.split(done.stderr.splitlines()[-1])
    assert words[0] == "rankformer"
    again = run(*words[1:], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "my cells-embedded.h5ad").exists()


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_is_quiet(cells, checkpoint_folder, tmp_path, place):
    """On a terminal, where otherwise a bar is drawn."""
    words = ["embed", cells, "-o", tmp_path / "out.npy", "--model", checkpoint_folder]
    words = ["-q", *words] if place == "before" else [*words, "-q"]
    assert run_on_terminal(*words) == (0, "")
    assert (tmp_path / "out.npy").exists()


def test_progress_is_shown_on_a_terminal(cells, checkpoint_folder, tmp_path):
    words = ["embed", cells, "-o", tmp_path / "out.npy", "-m", checkpoint_folder]
    status, said = run_on_terminal(*words)
    assert status == 0, said
    assert "30/30" in said


def test_training_counts_its_steps_on_a_terminal(cells, checkpoint_folder, tmp_path):
    """Lines of the log stand above the bar, each from the first column on."""
    words = ["finetune", cells, "-o", tmp_path / "tuned", "-m", checkpoint_folder]
    words += ["--label", "cell_type", "--max-steps", "4", "--log-steps", "2"]
    status, said = run_on_terminal(*words, width=100)
    assert status == 0, said
    assert "4/4" in said
    assert "steps/s" in said
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert re.search(r"[\r\n]Step 2 of 4: loss", plain)


def test_completion_can_be_installed(tmp_path):
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    done = run("--show-completion", "bash", env=environment)
    assert done.returncode == 0, done.stderr
    assert "rankformer" in done.stdout
    assert run("--install-completion", "bash", env=environment).returncode == 0
    assert (
        list(tmp_path.rglob("*rankformer*")) or "rankformer" in (tmp_path / ".bashrc").read_text()
    )
