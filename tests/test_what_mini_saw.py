"""What docs/what-mini-saw.md says of the cells that the shipped model was trained on."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import rankformer
from rankformer import Checkpoint
from tests.conftest import shared_path

ROOT = Path(__file__).resolve().parents[1]
SEEN, NOT_SEEN = (ROOT / "docs" / "what-mini-saw.md").read_text().split("## Not seen")
RECORD = json.loads((ROOT / "training" / "results" / "cells_seen.json").read_text())


def training_record():
    folder = Checkpoint.open("rankformer-mini").folder
    return json.loads((folder / "training.json").read_text())


@pytest.fixture(scope="module")
def cells_seen():
    """The script that made the record."""
    spec = importlib.util.spec_from_file_location("cells_seen", ROOT / "training" / "cells_seen.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / "training"))
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "training"))
    return module


def test_the_page_lists_the_files_of_the_training():
    said = dict(re.findall(r"^\| `(\S+\.h5ad)` \| ([\d,]+) \|", SEEN, flags=re.MULTILINE))
    record = training_record()
    assert said == {each["source"]: f"{each['n_cells']:,}" for each in record["sources"]}
    assert f"{record['cells_held_out']:,} were held out" in SEEN
    assert "blood_cells()" in NOT_SEEN


def test_no_cell_that_a_figure_is_of_was_trained_on(cells_seen):
    n_cells = {each["source"]: each["n_cells"] for each in training_record()["sources"]}
    assert {f"{name}.h5ad" for name in RECORD["trained"]} == set(n_cells)
    for name, text in RECORD["trained"].items():
        # A few shallow cells have none of the genes that all files share.
        assert len(cells_seen.unpack(text)) > 0.99 * n_cells[f"{name}.h5ad"]
    assert len(RECORD["genes"]) > 500
    assert cells_seen.on_both_sides(RECORD) == set()


def test_a_cell_that_had_been_smuggled_in_would_be_found(cells_seen):
    example = rankformer.datasets.blood_cells()
    judged = RECORD["judged"]["blood_cells"]
    smuggled = cells_seen.unpack(judged)[:3]
    record = {"trained": {"other": cells_seen.pack(smuggled)}, "judged": {"blood_cells": judged}}
    assert cells_seen.on_both_sides(record) == set(smuggled)
    # Also out of a file with other and more genes, in another order.
    order = np.random.default_rng(0).permutation(example.n_vars)
    more = ad.AnnData(np.ones((2, 3), np.float32), example.obs[:2].copy())
    more.var_names = ["ENSG00000000003", "ENSG00000000005", "no-gene"]
    other = ad.concat([example[:2, order], more], axis="var")
    counts = cells_seen.counts_by_gene(other)
    assert cells_seen.fingerprints(counts, RECORD["genes"]) == cells_seen.unpack(judged)[:2]


@pytest.mark.parametrize(
    ("side", "name"),
    [
        ("judged", "blood_cells"), ("judged", "pbmc3k"), ("judged", "ifnb"),
        ("judged", "sc_mixology"), ("trained", "pbmc_donor_a"), ("trained", "pbmc_1k_v2"),
        ("trained", "pbmc_1k_5prime"),
    ],
)  # fmt: skip
def test_the_fingerprints_are_those_of_the_files(cells_seen, side, name):
    if name == "blood_cells":
        adata = rankformer.datasets.blood_cells()
    else:
        adata = ad.read_h5ad(shared_path("cells", f"{name}.h5ad"))
    found = cells_seen.fingerprints(cells_seen.counts_by_gene(adata), RECORD["genes"])
    assert cells_seen.pack(found) == RECORD[side][name]
