"""`rankformer inspect` and `rankformer models`: what stands on the screen."""

import os
import subprocess
import sys

import numpy as np
import pytest

import rankformer
from rankformer import Geneformer, GeneformerConfig
from rankformer.checkpoints.registry import MODELS
from rankformer.errors import GeneError
from tests.conftest import save_small_checkpoint, shared_path, small_vocabulary


def test_inspect_fits_a_screen_and_its_advice_works(
    command, cells, checkpoint_folder, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "100")
    status, screen, _ = command("inspect", cells, "-m", checkpoint_folder)
    assert status == 0
    assert len(screen.splitlines()) <= 24
    assert "highly_variable" not in screen
    assert "30 cells, 170 variables" in screen
    assert "symbols" in screen
    assert "150 of 170 (88%)" in screen
    advice = screen.strip().splitlines()[-1].split()
    assert advice[:3] == ["rankformer", "embed", str(cells)]
    monkeypatch.chdir(tmp_path)
    assert command(*advice[1:])[0] == 0
    assert (tmp_path / "cells.geneformer.h5ad").exists()


@pytest.fixture
def on_this_machine(tmp_path, monkeypatch):
    """An own folder of models, which `rankformer` finds by name."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("RANKFORMER_MODELS", str(folder))
    return folder


def test_inspect_goes_on_where_another_model_is_broken(command, cells, on_this_machine):
    save_small_checkpoint(on_this_machine / "gf-12L-95M-i4096", small_vocabulary())
    for name in ("gf-6L-30M-i2048", "gf-20L-95M-i4096"):
        folder = save_small_checkpoint(on_this_machine / name, small_vocabulary())
        (folder / "config.json").write_text("{")
    status, screen, _ = command("inspect", cells)
    assert status == 0
    assert "symbols" in screen
    for name in ("gf-6L-30M-i2048", "gf-20L-95M-i4096"):
        assert f"{name}: " in screen
    assert screen.strip().endswith("--model gf-12L-95M-i4096")
    assert command("inspect", cells, "-m", "gf-6L-30M-i2048")[0] == 2


@pytest.mark.usefixtures("on_this_machine")
def test_inspect_takes_the_model_that_ships_where_there_is_no_other(command, small_adata, tmp_path):
    genes = rankformer.Checkpoint.open("rankformer-mini").vocabulary.ensembl_ids
    small_adata.var_names = genes[: small_adata.n_vars]
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    status, screen, _ = command("inspect", tmp_path / "cells.h5ad")
    assert status == 0
    assert "--model rankformer-mini" in screen
    assert "rankformer-mini ships for trying out" in screen


@pytest.mark.usefixtures("on_this_machine")
def test_inspect_tells_what_it_can_where_no_model_knows_the_genes(command, cells, small_adata):
    status, screen, _ = command("inspect", cells)
    assert status == 0
    assert "symbols" in screen
    sizes = np.diff(small_adata.X.indptr)
    expected = f"{np.median(sizes):,.0f} ({sizes.min()} to {sizes.max()})"
    assert f"variables a cell: {expected}" in screen
    assert "is known as a human gene" in " ".join(screen.split())
    assert "rankformer embed" not in screen


@pytest.mark.parametrize("spoil", ["centre", "zeros", "no cells"])
def test_inspect_maps_genes_where_there_are_no_counts(
    command, small_adata, checkpoint_folder, tmp_path, spoil
):
    if spoil == "centre":
        small_adata.X = small_adata.X.toarray() - 0.5
    elif spoil == "zeros":
        small_adata.X = small_adata.X * 0
    else:
        small_adata = small_adata[:0].copy()
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    status, screen, _ = command("inspect", tmp_path / "cells.h5ad", "-m", checkpoint_folder)
    assert status == 0
    assert "symbols" in screen
    assert "150 of 170 (88%)" in screen
    assert "rankformer embed" not in screen


def test_inspect_says_all_that_embed_needs_for_logarithms_in_raw(
    command, small_adata, checkpoint_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    small_adata.X = small_adata.X.log1p()
    small_adata.raw = small_adata
    small_adata.X = small_adata.X.toarray() - 0.3
    small_adata.write_h5ad("cells.h5ad")
    _, screen, _ = command("inspect", "cells.h5ad", "-m", checkpoint_folder)
    advice = screen.strip().splitlines()[-1].split()
    assert advice[-2:] == ["--use-raw", "--undo-log1p"]
    assert command(*advice[1:])[0] == 0


def test_inspect_takes_what_its_advice_names(
    command, small_adata, checkpoint_folder, vocabulary, tmp_path, monkeypatch
):
    """Two thirds of the names in the index are unknown; a table knows those of a column."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    names = small_adata.var_names.to_numpy(copy=True)
    names[50:] = [f"clone{i}" for i in range(len(names) - 50)]
    small_adata.var_names = names
    small_adata.var["probe"] = [f"p{i}" for i in range(small_adata.n_vars)]
    small_adata.write_h5ad("cells.h5ad")
    (tmp_path / "names.csv").write_text(
        "probe,id\n"
        + "".join(f"p{i},{each}\n" for i, each in enumerate(vocabulary.ensembl_ids[:150]))
    )
    words = ("inspect", "cells.h5ad", "-m", checkpoint_folder)
    _, screen, _ = command(*words)
    told = " ".join(screen.split())
    assert "(--gene-ids)" in told
    assert "--min-recognised 0.29" in told
    for options, mapped in (
        (["--gene-ids", "index", "--min-recognised", "0.29"], "50 of 170"),
        (["--gene-table", "names.csv", "--identifier-column", "probe"], "150 of 170"),
    ):
        status, screen, _ = command(*words, *options)
        assert status == 0
        assert mapped in screen
        advice = screen.strip().splitlines()[-1].split()
        assert advice[-len(options) :] == options
        assert command(*advice[1:], "--overwrite")[0] == 0


def test_inspect_lists_text_only(command, small_adata, checkpoint_folder, tmp_path):
    """A flag of var becomes an object where raw has more variables."""
    whole = small_adata.copy()
    small_adata = small_adata[:, :100].copy()
    small_adata.raw = whole
    small_adata.X = small_adata.X.log1p()
    small_adata.var["highly_variable"] = np.arange(100) % 2 == 0
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    _, screen, _ = command("inspect", tmp_path / "cells.h5ad", "-m", checkpoint_folder)
    assert "raw.X" in screen
    assert "highly_variable" not in screen


def test_inspect_advises_the_model_whose_genes_are_there(command, cells, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    v1 = small_vocabulary(special=False, n_genes=160)
    v2 = small_vocabulary(n_genes=150)
    names = [str(save_small_checkpoint(tmp_path / v.name, v)) for v in (v1, v2)]
    _, screen, _ = command("inspect", cells, "-m", names[0], "-m", names[1])
    assert screen.strip().endswith(f"--model {names[1]}")
    more = str(save_small_checkpoint(tmp_path / "more", small_vocabulary(n_genes=190)))
    _, screen, _ = command("inspect", cells, "-m", names[0], "-m", more)
    assert screen.strip().endswith(f"--model {names[0]}")


@pytest.mark.parametrize("n_known", [160, 20, 3])
def test_inspect_says_where_process_data_takes_other_genes(
    command, small_adata, checkpoint_folder, vocabulary, tmp_path, n_known
):
    """A few symbols of the index are of other genes than the column of Ensembl ids, or of none."""
    small_adata = small_adata[:, :150].copy()
    small_adata.var["ensembl_id"] = vocabulary.ensembl_ids[:150]
    names = small_adata.var_names.to_numpy(copy=True)
    names[n_known:] = [f"clone{i}" for i in range(len(names) - n_known)]
    small_adata.var_names = names
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    _, screen, _ = command("inspect", tmp_path / "cells.h5ad", "-m", checkpoint_folder)
    screen = " ".join(screen.split())
    advice = "For the same tokens as embed, pass gene_names='ensembl_id'."
    lost = len(names[n_known:])
    assert (advice in screen) == bool(lost)
    geneformer = Geneformer(GeneformerConfig(model_name=checkpoint_folder))
    told = geneformer.process_data(small_adata, gene_names="ensembl_id")
    try:
        by_index = geneformer.process_data(small_adata)
    except GeneError:
        assert "and refuses that of this file" in screen
    else:
        assert (by_index["input_ids"] == told["input_ids"]) == (not lost)
        assert (f"by which {lost} variables get another gene or none" in screen) == bool(lost)


@pytest.mark.parametrize("columns", [None, "80"])
def test_screens_fit_80_columns_and_cut_nothing(cells, checkpoint_folder, on_this_machine, columns):
    """Piped too, where nothing tells the width."""
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    environment |= {"COLUMNS": columns} if columns else {}
    environment["RANKFORMER_MODELS"] = str(on_this_machine)
    environment["HOME"] = "/home"
    for words in (["models"], ["inspect", cells, "-m", checkpoint_folder]):
        done = subprocess.run(
            [sys.executable, "-m", "rankformer", *map(str, words)],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "…" not in done.stdout
        wide = [line for line in done.stdout.splitlines() if len(line) > 80]
        assert not [line for line in wide if str(on_this_machine.parent) not in line]
        if words == ["models"]:
            for model in MODELS:
                assert all(name in done.stdout for name in model.names)


@pytest.mark.parametrize("spoil", ["log", "centre", "names", "mouse"])
def test_inspect_never_fails_on_a_readable_file(
    command, small_adata, checkpoint_folder, tmp_path, spoil
):
    if spoil == "log":
        small_adata.X = small_adata.X.log1p()
    elif spoil == "centre":
        small_adata.X = small_adata.X.toarray() - 0.5
    elif spoil == "names":
        small_adata.var_names = [str(i) for i in range(170)]
    else:
        small_adata.var_names = [f"Gapdh{i}" for i in range(170)]
    small_adata.write_h5ad(tmp_path / "spoilt.h5ad")
    status, screen, _ = command("inspect", tmp_path / "spoilt.h5ad", "-m", checkpoint_folder)
    assert status == 0
    assert "X" in screen
    assert len(screen) > 200


def test_inspect_on_real_files(command, v2, tmp_path):
    v2.save(tmp_path)
    for name in ("ifnb", "pbmc3k"):
        status, screen, _ = command("inspect", shared_path("cells", f"{name}.h5ad"))
        assert status == 0
        assert "human" in screen
        assert "counts" in screen
