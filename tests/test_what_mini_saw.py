"""What docs/what-mini-saw.md says of the cells that the shipped model was trained on."""

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import rankformer
from rankformer import Checkpoint
from tests.conftest import shared_path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "what-mini-saw.md"
SEEN, NOT_SEEN = PAGE.read_text().split("## Not seen")


def training_record():
    folder = Checkpoint.open("rankformer-mini").folder
    return json.loads((folder / "training.json").read_text())


def test_the_page_lists_the_files_of_the_training():
    said = dict(re.findall(r"^\| `(\S+\.h5ad)` \| ([\d,]+) \|", SEEN, flags=re.MULTILINE))
    record = training_record()
    assert said == {each["source"]: f"{each['n_cells']:,}" for each in record["sources"]}
    assert f"{record['cells_held_out']:,} were held out" in SEEN
    assert "blood_cells()" in NOT_SEEN


def counts_of(adata, symbols):
    """Cells by genes named, whole numbers; of genes that come twice the first."""
    names = adata.var.get("gene_symbol", adata.var_names)
    places = {name: place for place, name in reversed(list(enumerate(names)))}
    counts = adata.X[:, [places[each] for each in symbols]]
    return np.asarray(counts.todense() if hasattr(counts, "todense") else counts).astype(np.int32)


def cells_in_both(some, others):
    """How many of some cells have a twin: the same counts of all genes that both files have."""
    symbols = sorted(set(some.var_names) & set(others.var.get("gene_symbol", others.var_names)))
    assert len(symbols) > 500
    known = {each.tobytes() for each in counts_of(others, symbols)}
    return sum(each.tobytes() in known for each in counts_of(some, symbols))


@pytest.mark.parametrize("source", [each["source"] for each in training_record()["sources"]])
def test_no_cell_of_the_example_was_trained_on(source):
    example = rankformer.datasets.blood_cells()
    seen = ad.read_h5ad(shared_path("cells", source))
    assert cells_in_both(example, seen) == 0
    # A cell that had been smuggled in would be found, in a file of other and more genes.
    smuggled = ad.concat([example[:3], example[3:5]])
    assert cells_in_both(example, smuggled[:, 10:].copy()) == 5
