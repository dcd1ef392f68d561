"""Networks of genes: cells, genes and settings that do not go together."""

from pathlib import Path

from tests.faults.bad_input import BadInput
from tests.faults.cells import adata_of, counts

NETWORK = "network cells.h5ad -o out.graphml -m model"


def cells(folder: Path) -> None:
    adata_of(counts(20)).write_h5ad(folder / "cells.h5ad")


def pairs(text: str):
    def make(folder: Path) -> None:
        cells(folder)
        (folder / "pairs.tsv").write_text(text)

    return make


CASES = (
    BadInput(
        "`network --where` of a value that no cell has",
        cells,
        ("No cell has cell_type = NK", "Values that cells have", "Correct --where"),
        f"{NETWORK} --where cell_type=NK",
    ),
    BadInput(
        "`network --where` that is no COLUMN=VALUE",
        cells,
        ("--where is 'cell_type'", "COLUMN=VALUE", "Correct --where"),
        f"{NETWORK} --where cell_type",
    ),
    BadInput(
        "`network --min-cells` above what the cells have",
        cells,
        ("100 or more have 0 genes", "At least two genes", "lower min_cells"),
        f"{NETWORK} --min-cells 100",
    ),
    BadInput(
        "`network --head` of a network by similarity",
        cells,
        ("heads is (1,)", "a network by attention", "Leave heads (--head) out"),
        f"{NETWORK} --by similarity --head 1",
    ),
    BadInput(
        "`network --n-cells` below `--min-cells`",
        cells,
        ("A network of 5 cells", "As many cells", "lower min_cells"),
        f"{NETWORK} --n-cells 5",
    ),
    BadInput(
        "`network --genes` that none of the cells has",
        cells,
        ("None of the genes named", "these cells express", "--min-cells"),
        f"{NETWORK} --genes G190 --min-cells 2",
    ),
    BadInput(
        "`network --attention-layer 0`",
        cells,
        ("layers [0]", "layer 0 does not attend", "--attention-layer"),
        f"{NETWORK} --by attention --attention-layer 0",
    ),
    BadInput(
        "`network --head` that the model does not have",
        cells,
        ("heads [9]", "Heads from 0 to", "(--head)"),
        f"{NETWORK} --by attention --head 9",
    ),
    BadInput(
        "`network --known` with a line of one name",
        pairs("G1 G2\nG3\n"),
        ("has the line 'G3'", "two names on each line", "(--known)"),
        f"{NETWORK} --known pairs.tsv",
    ),
    BadInput(
        "`network --known` of genes that the cells do not express",
        pairs("G190 G191\n"),
        ("has both genes of none", "enough of the cells express", "name other pairs"),
        f"{NETWORK} --known pairs.tsv --min-cells 2",
    ),
    BadInput(
        "`network -o` of a format that it does not write",
        cells,
        ("the ending .csv", ".graphml", "out.graphml"),
        "network cells.h5ad -o out.csv -m model",
    ),
)
