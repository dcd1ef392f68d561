"""`--json`: one strict document on stdout, which agrees with the files that were written."""

import inspect
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import rankformer
from rankformer.cli import wrapping
from rankformer.cli.catalogue import entries
from rankformer.show.summary_screen import as_plain, summary_text
from rankformer.summary import NextStep, Summary, Written
from tests.test_options import COMMANDS

KEYS = {
    "command", "written", "figures", "tables", "failures", "warnings", "next", "seconds",
    "versions",
}  # fmt: skip
PAGE = Path(__file__).resolve().parents[1] / "docs" / "json.md"


def strict(text):
    """JSON as its standard has it: Python also reads NaN."""

    def refuse(word):
        raise ValueError(word)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def document(command):
    """The document of a command that succeeds."""

    def run(*words):
        status, printed, said = command(*words, "--json")
        assert status == 0, said
        found = strict(printed)
        assert set(found) == KEYS
        assert found["command"] == ["rankformer", *map(str, words), "--json"]
        assert found["versions"]["rankformer"] == rankformer.__version__
        for each in found["written"]:
            path = Path(each["path"])
            files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
            assert each["bytes"] == sum(f.stat().st_size for f in files) > 0
        for each in found["next"]:
            assert bool(each["argv"]) != bool(each["python"])
        return found

    return run


@pytest.fixture
def holed(small_adata, tmp_path):
    """Cells of which one has no counts, and none a second name."""
    counts = small_adata.X.toarray()
    counts[3] = 0
    small_adata.X = counts
    path = tmp_path / "cells.h5ad"
    small_adata.write_h5ad(path)
    return path


def test_embed(document, holed, checkpoint_folder, tmp_path):
    out, report = tmp_path / "out.h5ad", tmp_path / "genes.csv"
    found = document("embed", holed, "-o", out, "-m", checkpoint_folder, "--gene-report", report)
    vectors = ad.read_h5ad(out).obsm["X_geneformer"]
    genes = pd.read_csv(report)
    stages = found["figures"].pop("seconds_of_stages")
    assert list(stages) == ["reading", "encoding", "the model", "writing"]
    assert found["figures"].pop("slowest_stage") in stages
    for seconds in stages.values():
        assert list(seconds) == ["worked", "waited_for_input", "waited_for_room"]
        assert 0 < sum(seconds.values()) <= found["seconds"]
    assert found["figures"] == {
        "n_cells": len(vectors), "d_model": vectors.shape[1], "mode": "cell", "model": "small",
        "key": "X_geneformer",
        "n_cells_without_embedding": int(np.isnan(vectors).all(1).sum()),
        "inputs": [{
            "source": str(holed), "n_cells": 30, "n_variables": len(genes),
            "n_variables_mapped": int((genes["token"] >= 0).sum()),
            "n_genes": genes.loc[genes["token"] >= 0, "token"].nunique(),
        }],
    }  # fmt: skip
    assert found["figures"]["n_cells_without_embedding"] == 1
    assert any("1 of 30 cells have no embedding" in each for each in found["warnings"])
    assert [each["path"] for each in found["written"]] == [str(out), str(report)]


def test_tokenize_and_the_command_that_it_advises(
    document, cells, checkpoint_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    found = document("tokenize", cells, "-o", "tokens", "-m", checkpoint_folder)
    assert found["figures"]["n_cells"] == 30
    (step,) = found["next"]
    after = document(*step["argv"][1:])
    (written,) = after["written"]
    assert ad.read_h5ad(written["path"]).obsm["X_geneformer"].shape[0] == 30


def test_annotate_counts_labels(document, cells, checkpoint_folder, tmp_path):
    found = document(
        "annotate", cells, "-r", cells, "--label", "cell_type", "-o", tmp_path / "out.csv",
        "-m", checkpoint_folder, "--n-neighbors", 3,
    )  # fmt: skip
    written = pd.read_csv(tmp_path / "out.csv")["predicted_cell_type"]
    told = found["figures"]["predicted_cell_type"]
    assert told["labels"] == written.value_counts().to_dict()
    assert told["n_without_label"] == written.isna().sum() == 0


def test_perturb_and_its_test(document, cells, checkpoint_folder, tmp_path):
    out = tmp_path / "out.parquet"
    words = ["perturb", cells, "-o", out, "-m", checkpoint_folder, "--n-cells", 4]
    estimated = document(*words, "--dry-run")
    assert not out.exists()
    assert estimated["written"] == []
    assert estimated["next"][0]["argv"][-1] == "--json"
    found = document(*words)
    n_rows = pq.read_metadata(out).num_rows
    assert found["figures"]["n_perturbations"] == n_rows
    assert found["figures"]["n_cells"] == estimated["figures"]["n_cells"] == 4
    assert estimated["figures"]["n_passes"] == n_rows + 4
    tested = document(*found["next"][0]["argv"][1:])
    table = pd.read_csv(tested["written"][0]["path"])
    assert tested["figures"]["n_perturbations"] == len(table)
    assert tested["figures"]["n_significant"] == (table["q_value"] < 0.05).sum()
    for row, expected in zip(tested["tables"]["first"], table.to_dict("records"), strict=False):
        assert row["symbol"] == expected["symbol"]
        assert row["q_value"] == pytest.approx(expected["q_value"], nan_ok=True)


def test_network(document, cells, checkpoint_folder, tmp_path):
    out = tmp_path / "out.parquet"
    found = document(
        "network", cells, "-o", out, "-m", checkpoint_folder, "--by", "similarity", "--top", 50,
        "--min-cells", 5,
    )  # fmt: skip
    table = pd.read_parquet(out)
    assert found["figures"]["n_pairs_written"] == len(table) == 50
    assert found["tables"]["first"][0]["source"] == table["source"][0]


def test_tables_of_commands_that_print(document, cells, checkpoint_folder, tmp_path):
    found = document("inspect", cells, "-m", checkpoint_folder)
    (match,) = found["tables"]["models"]
    assert (match["n_variables_mapped"], found["figures"]["n_cells"]) == (150, 30)
    assert found["next"][0]["argv"][:3] == ["rankformer", "embed", str(cells)]
    found = document("models")
    names = [each.name for each in rankformer.list_models()]
    assert [each["name"] for each in found["tables"]["models"]] == names
    found = document("vocabulary", "show", checkpoint_folder)
    vocabulary = rankformer.Checkpoint.open(checkpoint_folder).vocabulary
    assert found["figures"]["n_genes"] == len(vocabulary.ensembl_ids)
    assert found["figures"]["sha256"] == vocabulary.sha256


def test_a_vocabulary_is_built_of_the_sketch(document, cells, checkpoint_folder, tmp_path):
    sketched = document(
        "vocabulary", "sketch", cells, "-o", tmp_path / "part.sketch",
        "--names-from", checkpoint_folder,
    )  # fmt: skip
    assert sketched["figures"]["n_cells"] == 30
    built = document(*sketched["next"][0]["argv"][1:], "--min-cells", 1)
    shown = document(*built["next"][0]["argv"][1:])
    assert shown["figures"]["sha256"] == built["figures"]["sha256"]
    assert shown["figures"]["n_genes"] == built["figures"]["n_genes"] > 0


def test_evaluate_gives_its_table(document, small_adata, tmp_path):
    small_adata.obsm["X_a"] = np.random.default_rng(0).normal(size=(30, 4))
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    found = document(
        "evaluate", tmp_path / "cells.h5ad", "-o", tmp_path / "out", "--label", "cell_type",
        "--key", "X_a", "--seeds", 1, "--folds", 2,
    )  # fmt: skip
    written = json.loads((tmp_path / "out" / "figures.json").read_text())["figures"]
    rows = found["tables"]["figures"]
    assert {each["method"] for each in rows} == set(written)
    for row in rows:
        mean = written[row["method"]][row["figure"]]["mean"]
        assert row["mean"] == pytest.approx(mean, nan_ok=True) or row["mean"] is mean is None


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        ("embed nothing.h5ad -o out.h5ad -m rankformer-mini", "MissingFileError", "nothing.h5ad"),
        ("embed cells.h5ad -o out.txt -m rankformer-mini", "OutputError", "out.txt"),
        ("embed cells.h5ad", "UsageError", "--output"),
        ("embed cells.h5ad -o out.h5ad --modell x", "UsageError", "--modell"),
        ("nothing", "UsageError", "nothing"),
        ("embed cells.h5ad -o out.h5ad --mode no", "UsageError", "no"),
    ],
)
def test_errors_are_documents_too(command, cells, monkeypatch, words, kind, told):
    monkeypatch.chdir(cells.parent)
    status, printed, said = command(*words.split(), "--json")
    assert status == 2
    found = strict(printed)
    assert list(found) == ["error"]
    assert found["error"]["type"] == kind
    assert told in found["error"]["message"]
    assert found["error"]["message"].split()[0] in said, "stderr tells a person"


def test_what_was_not_foreseen_is_told_and_shown(command, cells, monkeypatch, capsys):
    from rankformer.tokens import inspection

    def fail(*_, **__):
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(inspection, "inspect_file", fail)
    with pytest.raises(ZeroDivisionError):
        command("inspect", cells, "--json")
    assert strict(capsys.readouterr().out) == {
        "error": {"type": "ZeroDivisionError", "message": "by nothing"}
    }


def test_stdout_holds_the_document_alone(cells, checkpoint_folder, tmp_path):
    """In a process of its own, where libraries may print and the log goes to stderr."""
    words = ["embed", cells, "-o", tmp_path / "out.npy", "-m", checkpoint_folder, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "rankformer", *map(str, words)], capture_output=True, text=True
    )
    assert strict(done.stdout)["figures"]["n_cells"] == 30
    assert "Counts are taken from X" in done.stderr
    assert "Wrote" not in done.stderr


@pytest.mark.parametrize("width", [80, 100])
def test_the_summary_fits_a_terminal(width, tmp_path, monkeypatch):
    """Commands and tables alone are never broken: they are to be copied."""
    stream = StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(wrapping, "_width", lambda _: width)
    monkeypatch.chdir(tmp_path)
    Path("out.csv").write_text("a")
    summary = Summary(
        (Written(Path("out.csv"), "a table"),), told=("The first:\n  " + "x" * 90,),
        next_steps=(NextStep("Look at it", ("rankformer", "inspect", "my file")),),
    )  # fmt: skip
    warnings = [f"Warning {i} says what needs care, at some {'length ' * 12}." for i in range(9)]
    text = wrapping.wrap(summary_text(summary, 130.0, warnings), stream)
    lines = text.splitlines()
    assert all(len(each) <= width for each in lines if not each.startswith("  x"))
    assert " ".join(lines).split().count("length") == 6 * 12
    assert "- 3 more warnings stand above." in lines
    assert "It took 2 min 10 s." in lines
    assert "  rankformer inspect 'my file'" in lines
    (place,) = (i for i, each in enumerate(lines) if each.startswith("- Warning 0"))
    assert lines[place + 1].startswith("  length")


def test_each_command_returns_a_summary():
    for name, each in COMMANDS.items():
        hints = inspect.get_annotations(inspect.unwrap(each.callback))
        assert hints["return"] is (None if name == "mcp" else Summary), name
        assert ("json" in {option.name for option in each.params}) == (name != "mcp"), name


def test_each_command_is_on_the_page():
    page = PAGE.read_text()
    rows = " ".join(line for line in page.splitlines() if line.startswith("| `"))
    for name in (*entries(), "models fetch", "vocabulary show"):
        assert f"`{name}" in rows, name


def test_numbers_that_are_none_are_null():
    given = {
        "a": np.float32("nan"), 1: [np.int64(3), pd.NA, pd.NaT, float("inf")],
        "path": Path("a"), "values": np.array([1.5, np.nan]), "flag": np.bool_(True),
    }  # fmt: skip
    assert as_plain(given) == {
        "a": None, "1": [3, None, None, None], "path": "a", "values": [1.5, None], "flag": True,
    }  # fmt: skip
