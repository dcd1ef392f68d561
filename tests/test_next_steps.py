"""What commands advise to do next: commands that work as they stand, on the column of labels."""

import shlex

import anndata as ad
import pytest


@pytest.fixture
def embedded(command, small_adata, checkpoint_folder, tmp_path, monkeypatch):
    """Embed cells with these columns of obs; the commands that are advised, by the first word."""
    monkeypatch.chdir(tmp_path)

    def embed(columns):
        adata = ad.concat([small_adata] * 2, index_unique="-")
        adata.obs = adata.obs[[]].assign(**columns)
        adata.write_h5ad("cells.h5ad")
        status, _, said = command(
            "embed", "cells.h5ad", "-o", "out.h5ad", "-m", checkpoint_folder, "--overwrite"
        )
        assert status == 0
        steps = [shlex.split(line) for line in said.splitlines() if line.startswith("  rankformer")]
        return {words[1]: words for words in steps}

    return embed


RARE = ["B"] * 40 + ["NK"] * 19 + ["pDC"]
PHASE = ["G1"] * 30 + ["S"] * 30


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"phase": PHASE, "cell_type": RARE}, "cell_type"),
        ({"phase": PHASE, "bulk_labels": RARE}, "bulk_labels"),
        ({"my_label": RARE, "Cell Type": RARE}, "Cell Type"),
        ({"phase": PHASE, "barcode": [f"c{i}" for i in range(60)]}, "phase"),
        ({"barcode": [f"c{i}" for i in range(60)]}, None),
    ],
)
def test_a_rare_cell_type_leaves_its_column_the_label(embedded, columns, label):
    steps = embedded(columns)
    if label is None:
        assert not steps
        return
    for name, option in (("report", "--labels"), ("evaluate", "--label")):
        words = steps[name]
        assert words[words.index(option) + 1] == label


@pytest.mark.slow
def test_what_is_advised_works_with_a_rare_cell_type(command, embedded):
    steps = embedded({"phase": PHASE, "cell_type": RARE})
    for words in steps.values():
        assert command(*words[1:])[0] == 0
