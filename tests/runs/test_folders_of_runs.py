"""What lies in and beside the folder of a run, and what becomes of it."""

import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.io import mmwrite
from tests.faults.bad_input import snapshot
from tests.faults.cells import adata_of, counts
from tests.runs.commands import SIZES, embed, expect_whole, give, shards


def test_inputs_in_another_order_are_refused(folder):
    """Shards are numbered by their inputs: those of one would count as those of the other."""
    words = "-o run -m model --dtype float32 --shard-cells 20"
    give(folder, f"embed cells/a.h5ad cells/b.h5ad {words}")
    shards(folder, "run")[1].unlink()
    said = give(folder, f"embed cells/b.h5ad cells/a.h5ad {words}", 2)
    assert "in another order" in said


def test_a_share_that_succeeds_does_not_forget_where_another_failed(folder):
    values = counts(90)
    values.data[values.indptr[80]] = 0.5
    adata_of(values).write_h5ad(folder / "cells" / "b.h5ad")
    words = "embed cells/b.h5ad cells/c.h5ad -o run -m model --shard-cells 20 --no-check"
    give(folder, f"{words} --shard 1/2")
    kept = folder / "run" / "failures" / "000000.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps({
        "path": "cells/b.h5ad", "kind": "CountsError", "found": "f", "expected": "e", "fix": "x",
    }))  # fmt: skip
    give(folder, f"{words} --shard 1/2")
    assert "1 input could not be read" in give(folder, "merge run -o x.parquet --partial", 3)
    give(folder, f"{words} --shard 2/2")
    assert not kept.exists()


def test_a_file_that_failed_in_its_middle_is_mended(folder):
    """Its cells are done anew: those of before may not be in it any more."""
    sound = (folder / "cells" / "b.h5ad").read_bytes()
    values = counts(5100, mean=0.05)
    values.data[values.indptr[5000]] = 0.5
    adata_of(values).write_h5ad(folder / "cells" / "b.h5ad")
    words = "-m model --dtype float32 --shard-cells 1000"
    give(folder, f"embed cells -o run {words}", 3)
    assert len(shards(folder, "run")) == 1 + 5 + 1
    (folder / "cells" / "b.h5ad").write_bytes(sound)
    said = give(folder, f"embed cells -o run {words}")
    assert "2 of 3 shards were done before" in said
    assert len(shards(folder, "run")) == 3
    give(folder, "merge run -o all.npy")
    give(folder, f"embed cells -o right.npy {words}")
    np.testing.assert_allclose(
        np.load(folder / "all.npy"), np.load(folder / "right.npy"), atol=2e-6
    )


def test_a_failure_that_is_no_more_is_not_told(folder, whole):
    """A share noted it at its end, when another had done the mended file."""
    give(folder, embed("run"))
    (folder / "run" / "failures").mkdir()
    (folder / "run" / "failures" / "000000.json").write_text(json.dumps({
        "path": "cells/a.h5ad", "kind": "CountsError", "found": "f", "expected": "e", "fix": "x",
    }))  # fmt: skip
    give(folder, "merge run -o all.parquet")
    expect_whole(folder, "all.parquet", whole)


def test_a_file_of_which_nothing_can_be_read_is_one_of_the_failures(folder):
    """Its beginning is hashed before it is opened; of this one each byte is an error."""
    (folder / "cells" / "b.h5ad").unlink()
    (folder / "cells" / "b.h5ad").symlink_to("/proc/self/mem")
    said = give(folder, embed("run"), 3)
    assert "cells/b.h5ad could not be read" in said
    assert len(shards(folder, "run")) == 4 + 2


def test_an_input_is_not_merged_over(folder):
    give(folder, embed("run"))
    before = snapshot(folder)
    said = give(folder, "merge run -o cells/b.h5ad --overwrite", 2)
    assert "is one of the inputs" in said
    assert snapshot(folder) == before


def test_results_may_lie_in_a_10x_folder_that_is_the_input(folder):
    adata, tenx = ad.read_h5ad(folder / "cells" / "a.h5ad"), folder / "tenx"
    tenx.mkdir()
    mmwrite(tenx / "matrix.mtx", adata.X.T.tocsr().astype(int), field="integer")
    names = pd.DataFrame(
        {"id": adata.var_names, "name": adata.var_names, "type": "Gene Expression"}
    )
    names.to_csv(tenx / "features.tsv", sep="\t", header=False, index=False)
    (tenx / "barcodes.tsv").write_text("".join(f"{name}\n" for name in adata.obs_names))
    (tenx / "old").symlink_to("nowhere")
    for _ in range(2):
        give(folder, "embed tenx -o tenx/run -m model --shard-cells 40")
    give(folder, "merge tenx/run -o tenx/all.h5ad")
    assert ad.read_h5ad(tenx / "all.h5ad").obs_names.tolist() == adata.obs_names.tolist()
    names.iloc[::-1].to_csv(tenx / "features.tsv", sep="\t", header=False, index=False)
    assert "time of change" in give(folder, "embed tenx -o tenx/run -m model --shard-cells 40", 2)


def test_a_run_that_saves_its_reference_goes_on(folder):
    words = "annotate cells/a.h5ad -r cells/c.h5ad --label cell_type --n-neighbors 5 -m model"
    words += " --shard-cells 20 -o run --save-reference saved"
    for number in (1, 2):
        give(folder, f"{words} --shard {number}/2")
    shards(folder, "run")[0].unlink()
    give(folder, words)
    give(folder, "merge run -o labels.csv")
    give(folder, f"{words.replace('-o run', '-o other')}", 2)


def test_a_saved_reference_that_changed_decides_no_labels(folder):
    words = "--n-neighbors 5 -m model --dtype float32"
    make = f"annotate cells/a.h5ad --label cell_type {words} --overwrite -o x.csv"
    give(folder, f"{make} -r cells/c.h5ad --save-reference saved")
    give(folder, f"annotate cells/a.h5ad -r saved {words} -o run")
    (folder / "saved").rename(folder / "before")
    assert "saved is gone" in give(folder, "merge run -o labels.csv", 2)
    give(folder, f"{make} -r cells/b.h5ad --save-reference saved")
    assert "is another than" in give(folder, "merge run -o labels.csv", 2)
    shutil.rmtree(folder / "saved")
    (folder / "before").rename(folder / "saved")
    give(folder, "merge run -o labels.csv")


@pytest.mark.parametrize("manifest", ['{"name": "my site"}', '{"format": 3}', "", "name: my site"])
def test_manifests_of_something_else_are_left_alone(folder, manifest):
    """Many programs name a file so; with --restart, what lies beside it must not be deleted."""
    for name in ("thesis", "shards", "reference"):
        (folder / "mine" / name).mkdir(parents=True)
        (folder / "mine" / name / "a.txt").write_text("mine")
    (folder / "mine" / "manifest.json").write_text(manifest)
    before = snapshot(folder)
    for options in ("", "--restart"):
        assert "manifest.json" in give(folder, embed("mine", options), 2)
    assert snapshot(folder) == before


@pytest.mark.parametrize("damage", [None, "", "{"])
def test_restart_deletes_what_the_run_did_and_nothing_else(folder, damage):
    give(folder, embed("run"))
    for name in ("figures", "shards.old"):
        (folder / "run" / name).mkdir()
        (folder / "run" / name / "a.txt").write_text("mine")
    if damage is not None:
        (folder / "run" / "manifest.json").write_text(damage)
        assert "--restart" in give(folder, embed("run"), 2)
    give(folder, embed("run", "--restart").replace("cells 20", "cells 50"))
    assert len(shards(folder, "run")) == 2 + 1 + 1
    for name in ("figures", "shards.old"):
        assert (folder / "run" / name / "a.txt").read_text() == "mine"


def test_a_reference_that_a_killed_run_left_is_made_again(folder):
    """It is embedded before the manifest is written."""
    (folder / "run" / "reference").mkdir(parents=True)
    words = "-r cells/c.h5ad --label cell_type --n-neighbors 5 -m model --dtype float32"
    give(folder, f"annotate cells/a.h5ad {words} -o run")
    give(folder, "merge run -o labels.csv")
    assert len(pd.read_csv(folder / "labels.csv")) == SIZES["a"]
