"""Perturbation: genes, states, tables and settings that do not go together."""

import os
import pickle
from pathlib import Path

import pandas as pd
from tests.damage import Payload
from tests.faults.bad_input import BadInput
from tests.faults.cells import adata_of, counts

PERTURB = "perturb cells.h5ad -o out.parquet -m model"
STATES = f"{PERTURB} --state cell_type"


def cells(folder: Path) -> None:
    adata_of(counts(20)).write_h5ad(folder / "cells.h5ad")


def empty_list(folder: Path) -> None:
    cells(folder)
    (folder / "genes.txt").write_text("# to be written\n\n")


def some_groups(folder: Path) -> None:
    cells(folder)
    (folder / "genes.txt").write_text("G3 G5\nG4\n")


def other_table(folder: Path) -> None:
    pd.DataFrame({"cell": ["a"], "score": [1.0]}).to_parquet(folder / "table.parquet")


def table_of_few_genes(folder: Path) -> None:
    pd.DataFrame({
        "cell": ["a", "b"], "ensembl_id": "ENSG00000000003", "symbol": "G3", "rank": [4, 9],
        "cosine": [0.9, 0.8],
    }).to_parquet(folder / "table.parquet")  # fmt: skip


def cut_table(folder: Path) -> None:
    table_of_few_genes(folder)
    file = folder / "table.parquet"
    file.write_bytes(file.read_bytes()[:300])


def pickle_with_code(folder: Path) -> None:
    content = {(3, "cell_emb"): Payload(os.system, f"touch {folder / 'ran'}")}
    (folder / "old_raw.pickle").write_bytes(pickle.dumps(content))


CASES = (
    BadInput(
        "`perturb --genes` with names that no gene has",
        cells,
        ("2 of 3 genes cannot be perturbed", "NOGENE", "Correct the names"),
        f"{PERTURB} --genes G3,NOGENE,OTHER",
    ),
    BadInput(
        "`perturb --genes @FILE` that is not there",
        cells,
        ("none.txt does not exist", "one gene a line", "Check the path"),
        f"{PERTURB} --genes @none.txt",
    ),
    BadInput(
        "`perturb --genes @FILE` without a name in it",
        empty_list,
        ("genes.txt names no gene", "one gene a line", "Name genes in it"),
        f"{PERTURB} --genes @genes.txt",
    ),
    BadInput(
        "`perturb` of genes that no cell expresses",
        cells,
        ("None of the 20 cells", "express the genes named", "overexpress also puts in"),
        f"{PERTURB} --genes G190",
    ),
    BadInput(
        "`perturb` with both `--genes` and `--groups`",
        some_groups,
        ("Both --genes and --groups", "One of the two", "Leave one out"),
        f"{PERTURB} --genes G3 --groups genes.txt",
    ),
    BadInput(
        "`perturb --state` without start and goal",
        cells,
        ("--start and --goal", "the one they should turn into", "(--state, --start, --goal)"),
        STATES,
    ),
    BadInput(
        "`perturb --goal` that no cell has",
        cells,
        ("No cell has the state NK", "One of", "Correct the state"),
        f"{STATES} --start B --goal NK",
    ),
    BadInput(
        "`perturb --state` of a column that is not there",
        cells,
        ("no column 'stage'", "cell_type", "Correct --state"),
        f"{PERTURB} --state stage --start B --goal T",
    ),
    BadInput(
        "`perturb --top` without a screen",
        cells,
        ("without a screen", 'The method "screen"', "--method screen"),
        f"{PERTURB} --top 5",
    ),
    BadInput(
        "`perturb --share 0`",
        cells,
        ("share of ranks is 0", "above 0 and up to 1", "(--share)"),
        f"{PERTURB} --type inhibit --share 0",
    ),
    BadInput(
        "`perturb --affected` below 0",
        cells,
        ("n_affected is -3", "At least 1", "0 keeps all"),
        f"{PERTURB} --read-out gene --affected -3",
    ),
    BadInput(
        "`perturb -o` of a format that it does not write",
        cells,
        ("the ending .csv", ".parquet", "out.parquet"),
        "perturb cells.h5ad -o out.csv -m model",
    ),
    BadInput(
        "`perturb-test` of a table of something else",
        other_table,
        ("no column ensembl_id or", "`rankformer perturb` wrote", "Name such a table"),
        "perturb-test table.parquet -o out.csv",
    ),
    BadInput(
        "`perturb-test` of a table that was cut short",
        cut_table,
        ("could not be read", "`rankformer perturb` wrote", "Make it anew"),
        "perturb-test table.parquet -o out.csv",
        varies=r"(?<=could not be read: ).*?(?= Expected)",
    ),
    BadInput(
        "`perturb-test` against genes of like rank, of which there are few",
        table_of_few_genes,
        ("1 ranked genes a cell", "At least 30", "--against random"),
        "perturb-test table.parquet -o out.csv",
    ),
    BadInput(
        "`perturb-test` of a pickle that asks for code",
        pickle_with_code,
        ("asks for", "nothing else is unpickled", "published package wrote"),
        "perturb-test old_raw.pickle -o out.csv -m model",
    ),
)
