"""Reports that cannot be made."""

from pathlib import Path

import pandas as pd
from tests.faults.bad_input import BadInput
from tests.faults.evaluate_cases import without_embeddings, write

REPORT = "report pbmc.h5ad -o page.html"


def with_table(folder: Path) -> None:
    write(folder)
    pd.DataFrame({"symbol": ["G1"], "effect": [0.1]}).to_csv(folder / "table.csv", index=False)


def with_old_page(folder: Path) -> None:
    write(folder)
    (folder / "page.html").write_text("mine")


CASES = (
    BadInput(
        "a column of labels that is not in `obs`", write,
        ("no column 'celltype'", "One of", "--labels"), f"{REPORT} --labels celltype",
    ),
    BadInput(
        "a column of batches that is not in `obs`", write,
        ("no column 'lab'", "One of", "--batch"), f"{REPORT} --batch lab",
    ),
    BadInput(
        "a gene that the file does not have", write,
        ("No gene of the file is named 'XYZ'", "--gene"), f"{REPORT} --gene XYZ",
    ),
    BadInput(
        "only cells without an embedding", without_embeddings,
        ("0 of 300 cells", "At least 10 cells"), REPORT,
    ),
    BadInput(
        "a table of perturbations without q values", with_table,
        ("no column q_value", "rankformer perturb-test", "Test the perturbations"),
        f"{REPORT} --perturbed table.csv",
    ),
    BadInput(
        "fewer cells than a page needs", write, ("max_cells is 5", "10 to 65,000 cells"),
        f"{REPORT} --max-cells 5",
    ),
    BadInput(
        "a page that is there already", with_old_page, ("exists already", "--overwrite"), REPORT,
    ),
    BadInput(
        "a page that is not named .html", write, ("ending .pdf", ".html"),
        "report pbmc.h5ad -o page.pdf",
    ),
    BadInput(
        "a report of an output without counts", write,
        ("the output out.npy", "--report"),
        "embed pbmc.h5ad -o out.npy -m model --report page.html",
    ),
)  # fmt: skip
