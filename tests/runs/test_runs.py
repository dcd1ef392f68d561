"""Runs as users give them: stopped, gone on with, shared out, merged; and inputs that fail."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from datasets import load_from_disk
from tests.faults.bad_input import snapshot
from tests.faults.cells import adata_of, counts
from tests.runs.commands import KEY, SIZES, embed, expect_whole, give, shards

from rankformer.results.output_checks import CELL_FORMATS, LABEL_FORMATS
from rankformer.runs.manifest import Manifest
from rankformer.tokens.tokenized_cells import TokenizedCells


def test_a_folder_of_shards_merges_into_every_format(folder, whole):
    give(folder, embed("run"))
    assert len(shards(folder, "run")) == 4 + 3 + 2
    for output in ("all.parquet", "all.h5ad", "all.zarr", "all.npy", "all.csv"):
        give(folder, f"merge run -o {output}")
    expect_whole(folder, "all.parquet", whole)
    right = np.stack(whole["vector"].to_list())
    for adata in (ad.read_h5ad(folder / "all.h5ad"), ad.read_zarr(folder / "all.zarr")):
        np.testing.assert_allclose(adata.obsm[KEY], right, atol=2e-6)
        assert adata.obs_names.tolist() == whole["cell"].tolist()
        assert adata.obs["source"].tolist() == whole["source"].tolist()
        assert set(adata.obs["cell_type"]) == {"B", "T"}
        assert adata.uns["rankformer"][KEY]["dtype"] == "float32"
    np.testing.assert_allclose(np.load(folder / "all.npy"), right, atol=2e-6)
    table = pd.read_csv(folder / "all.csv")
    np.testing.assert_allclose(table.iloc[:, 2:].to_numpy(), right, atol=2e-6)


def test_of_one_input_the_merged_file_is_a_copy(folder):
    give(folder, "embed cells/a.h5ad -o run -m model --dtype float32 --shard-cells 20")
    give(folder, "merge run -o all.h5ad --key X_mine")
    merged, before = ad.read_h5ad(folder / "all.h5ad"), ad.read_h5ad(folder / "cells" / "a.h5ad")
    assert (merged.X != before.X).nnz == 0
    assert merged.obsm["X_mine"].shape == (70, 32)


def test_a_run_goes_on_where_it_stopped(folder, whole):
    give(folder, embed("run"))
    kept = shards(folder, "run")
    for each in (kept[1], kept[5], kept[8]):
        each.unlink()
    # A shard of which half is left, as after a crash of the machine, and one that was half-written.
    os.truncate(kept[3], kept[3].stat().st_size // 2)
    (folder / "run" / "shards" / f"{kept[5].name}.99.part").write_bytes(b"half")
    times = {each: each.stat().st_mtime_ns for each in (kept[0], kept[4], kept[7])}
    said = give(folder, embed("run"))
    assert "5 of 9 shards were done before" in said
    assert {each: each.stat().st_mtime_ns for each in times} == times
    assert not list((folder / "run" / "shards").glob("*.part"))
    give(folder, "merge run -o all.parquet")
    expect_whole(folder, "all.parquet", whole)


def test_a_shard_under_the_name_of_another_is_none(folder, whole):
    give(folder, embed("run"))
    first, second = shards(folder, "run")[:2]
    shutil.copyfile(first, second)
    assert "1 of 9 shards are missing" in give(folder, "merge run -o all.parquet", 2)
    assert "8 of 9 shards were done before" in give(folder, embed("run"))
    give(folder, "merge run -o all.parquet")
    expect_whole(folder, "all.parquet", whole)


def test_a_file_resumes_from_its_parts(folder, whole):
    """A run that stopped before its output was whole, as the one beside it shows."""
    (folder / "later").mkdir()
    give(folder, embed("run"))
    (folder / "run").rename(folder / "out.parquet.parts")
    for each in shards(folder, "out.parquet.parts")[::2]:
        each.unlink()
    said = give(folder, embed("out.parquet"))
    assert "4 of 9 shards were done before" in said
    expect_whole(folder, "out.parquet", whole)
    assert not (folder / "out.parquet.parts").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--mode cls", 'mode (--mode) is "cls" now, and was "cell"'),
        ("--emb-layer -2", "emb_layer (--emb-layer) is 2 now, and was 3"),
        ("--dtype bfloat16", 'dtype (--dtype) is "bfloat16" now, and was "float32"'),
        ("--no-check", "check (--no-check) is false now, and was true"),
        ("--shard-cells 10", "shard_cells (--shard-cells) is 10 now, and was 20"),
    ],
)
def test_other_options_are_refused(folder, options, told):
    give(folder, embed("run"))
    before = snapshot(folder)
    name = options.split()[0]
    command = f"{re.sub(f'{name} [^ ]+', '', embed('run'))} {options}"
    said = give(folder, command, 2)
    assert told in said
    assert snapshot(folder) == before
    give(folder, f"{command} --restart")


def test_the_dtype_that_auto_took_stays(folder):
    """What auto takes is measured, and may be another the next time."""
    words = "embed cells -o run -m model --shard-cells 20"
    give(folder, f"{words} --dtype bfloat16")
    shards(folder, "run")[0].unlink()
    give(folder, words)
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    assert manifest["work"]["options"]["dtype"] == "bfloat16"


def test_changed_inputs_are_refused(folder):
    give(folder, embed("run"))
    adata_of(counts(45, mean=3)).write_h5ad(folder / "cells" / "b.h5ad")
    before = snapshot(folder)
    assert "of change" in give(folder, embed("run"), 2)
    assert "b.h5ad" in give(folder, "merge run -o all.h5ad", 2)
    assert snapshot(folder) == before


def test_shares_make_the_whole(folder, whole):
    for number in (3, 1, 2):
        give(folder, embed("run", f"--shard {number}/3"))
        if number != 2:
            said = give(folder, "merge run -o all.parquet", 2)
            assert "shards are missing" in said
    give(folder, "merge run -o all.parquet")
    expect_whole(folder, "all.parquet", whole)


def test_a_run_that_was_killed_at_its_very_end(folder, whole):
    give(folder, embed("run"))
    give(folder, embed("out.parquet"))
    (folder / "run").rename(folder / "out.parquet.parts")
    assert "delete out.parquet.parts" in give(folder, embed("out.parquet"), 2)
    expect_whole(folder, "out.parquet", whole)
    give(folder, embed("out.parquet", "--overwrite"))
    assert not (folder / "out.parquet.parts").exists()


def test_a_share_needs_a_folder(folder):
    said = give(folder, embed("out.h5ad", "--shard 1/2"), 2)
    assert "rankformer merge out -o out.h5ad" in said
    assert not (folder / "out.h5ad.parts").exists()


def test_merging_a_part(folder, whole):
    give(folder, embed("run", "--shard 2/3"))
    said = give(folder, "merge run -o part.h5ad --partial")
    adata = ad.read_h5ad(folder / "part.h5ad")
    own = whole[whole["cell"].isin(adata.obs_names)]
    assert 0 < len(own) < len(whole)
    assert adata.obs_names.tolist() == own["cell"].tolist()
    np.testing.assert_allclose(adata.obsm[KEY], np.stack(own["vector"].to_list()), atol=2e-6)
    # What is missing is told, and the form is that of all: with sources, of one file too.
    assert f"{len(whole) - len(own)} of {len(whole)} cells are missing" in said
    assert adata.obs["source"].tolist() == own["source"].tolist()
    assert adata.n_vars == 0
    assert "no names of cells" in give(folder, "merge run -o part.npy --partial", 2)


@pytest.mark.filterwarnings("error")
def test_names_that_come_twice_are_told_in_the_log(folder):
    """anndata would write a bare warning, with a line of its code."""
    shutil.copyfile(folder / "cells" / "c.h5ad", folder / "cells" / "d.h5ad")
    give(folder, "embed cells/c.h5ad cells/d.h5ad -o run -m model --dtype float32")
    said = give(folder, "merge run -o all.h5ad")
    assert "60 of 60 cells have a name that another cell has too" in said
    assert "UserWarning" not in said
    assert ad.io.read_elem(h5py.File(folder / "all.h5ad")["obs"])["source"].nunique() == 2


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("perturb cells/c.h5ad --genes G1,G2,G3 --n-cells 9", "out.parquet"),
        ("embed cells/c.h5ad --mode gene", "out.parquet"),
        ("annotate cells/c.h5ad -r cells/b.h5ad --label cell_type --n-neighbors 5", "out.csv"),
        ("tokenize cells/c.h5ad --shard 1/1", "out"),
    ],
)
def test_a_key_is_refused_where_the_result_has_none(folder, command, output):
    give(folder, f"{command} -o run -m model")
    before = snapshot(folder)
    said = give(folder, f"merge run -o {output} --key X_mine", 2)
    assert "key (--key) is given as 'X_mine'" in said
    assert f"`rankformer {command.split()[0]}`" in said
    assert snapshot(folder) == before
    give(folder, f"merge run -o {output}")


def test_the_help_of_merge_names_the_formats_of_each_command(folder):
    """As the checks of outputs have them."""
    done = subprocess.run(
        [sys.executable, "-m", "rankformer", "merge", "--help"],
        capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    text = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stdout).split())
    for commands, formats in (
        ("of `embed`", CELL_FORMATS), ("of `annotate` and `predict`", LABEL_FORMATS),
        ("of `perturb`", (".parquet",)), ("--mode gene", (".parquet",)),
    ):  # fmt: skip
        told = re.split("[;]|, with", text.partition(commands)[2])[0]
        assert set(re.findall(r"\.\w+", told)) == set(formats), commands
    assert "of `tokenize` a folder" in text


def test_tokens_are_merged_into_a_folder_alone(folder):
    give(folder, "tokenize cells/a.h5ad -o run -m model --shard 1/1")
    assert "tokens.dataset" in give(folder, "merge run -o all.h5ad", 2)
    give(folder, "merge run -o all.dataset")


@pytest.mark.parametrize("output", ["run", "out.parquet"])
def test_a_truncated_file_among_others(folder, whole, output):
    """It is told at the end, the others are done; mended, the same command does the rest."""
    sound = (folder / "cells" / "b.h5ad").read_bytes()
    (folder / "cells" / "b.h5ad").write_bytes(sound[: len(sound) // 2])
    said = give(folder, embed(output), 3)
    table = said[said.index("1 input could not be read") :]
    assert "b.h5ad" in table
    assert "what to do: Copy or download the file again" in table
    run = folder / (output if output == "run" else "out.parquet.parts")
    assert not (folder / "out.parquet").exists()
    assert len(shards(folder, run.name)) == 4 + 2
    assert "b.h5ad could not be read when" in give(folder, f"merge {run} -o x.parquet", 2)
    assert "b.h5ad" in give(folder, f"merge {run} -o part.parquet --partial", 3)
    assert pd.read_parquet(folder / "part.parquet")["cell"].str[0].value_counts().to_dict() == {
        "a": 70, "c": 30,
    }  # fmt: skip

    (folder / "cells" / "b.h5ad").write_bytes(sound)
    give(folder, embed(output))
    if output == "run":
        give(folder, "merge run -o out.parquet")
    expect_whole(folder, "out.parquet", whole)


def test_a_file_that_fails_in_its_middle(folder):
    """Its shards before are kept, and so are the other files'."""
    # More cells than the look at the beginning takes in.
    values = counts(5100, mean=0.05)
    values.data[values.indptr[5000]] = 0.5
    adata_of(values).write_h5ad(folder / "cells" / "b.h5ad")
    said = give(folder, embed("run").replace("--shard-cells 20", "--shard-cells 1000"), 3)
    assert "row 5,000" in said
    done = [each.stem.split("-")[1:] for each in shards(folder, "run")]
    of_b = [(int(start), int(stop)) for index, start, stop in done if index == "000001"]
    assert of_b == [(first, first + 1000) for first in range(0, 5000, 1000)]
    assert {index for index, _, _ in done} == {"000000", "000001", "000002"}


def test_a_reference_that_is_not_there(folder):
    before = snapshot(folder)
    words = "annotate cells/a.h5ad -r cells/x.h5ad --label cell_type -m model -o out.csv"
    assert "cells/x.h5ad does not exist" in give(folder, words, 2)
    assert snapshot(folder) == before


def test_fail_fast_ends_at_the_first(folder):
    (folder / "cells" / "b.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    before = snapshot(folder)
    assert "b.h5ad" in give(folder, embed("run", "--fail-fast"), 2)
    assert snapshot(folder) == before


def test_a_name_that_is_not_there_ends_it_at_once(folder):
    before = snapshot(folder)
    said = give(folder, "embed cells/a.h5ad cells/x.h5ad -o run -m model", 2)
    assert "x.h5ad does not exist" in said
    assert snapshot(folder) == before


def test_where_no_input_can_be_read_its_error_is_told(folder):
    for name in SIZES:
        (folder / "cells" / f"{name}.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    before = snapshot(folder)
    assert "could not be read" in give(folder, embed("run"), 2)
    assert snapshot(folder) == before


def test_json_tells_of_failures(folder):
    (folder / "cells" / "b.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n")
    command = [sys.executable, "-m", "rankformer", *embed("run").split(), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 3
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["path"] == "cells/b.h5ad"
    assert failure["fix"]


def test_a_folder_of_something_else_is_left_alone(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("mine")
    before = snapshot(folder)
    for options in ("", "--restart", "--overwrite"):
        assert "thesis.txt" in give(folder, embed("mine", options), 2)
    assert "no manifest.json" in give(folder, "merge mine -o all.h5ad", 2)
    assert snapshot(folder) == before


def test_tokens_in_shares_are_those_of_one_run(folder):
    give(folder, "tokenize cells -o whole -m model --attribute cell_type")
    for number in (1, 2):
        words = "--attribute cell_type --shard-cells 20"
        give(folder, f"tokenize cells -o run -m model {words} --shard {number}/2")
    give(folder, "merge run -o merged")
    whole, merged = (load_from_disk(str(folder / name)) for name in ("whole", "merged"))
    assert merged.to_dict() == whole.to_dict()
    names = [
        TokenizedCells.load(folder / name).cell_names.to_pylist() for name in ("whole", "merged")
    ]
    assert names[0] == names[1]
    assert len(names[0]) == sum(SIZES.values())
    give(folder, "embed merged -o from-tokens.npy -m model --dtype float32")
    assert np.isfinite(np.load(folder / "from-tokens.npy")).all()


def test_annotation_of_shards_is_that_of_one_run(folder):
    words = "annotate cells/a.h5ad cells/b.h5ad -r cells/c.h5ad --label cell_type --n-neighbors 5"
    words += " -m model --dtype float32"
    give(folder, f"{words} -o whole.csv")
    for number in (1, 2):
        give(folder, f"{words} -o run --shard-cells 20 --shard {number}/2")
    # The reference was kept: it need not be there any more.
    (folder / "cells" / "c.h5ad").unlink()
    give(folder, "merge run -o merged.csv")
    whole, merged = (pd.read_csv(folder / name) for name in ("whole.csv", "merged.csv"))
    assert merged["predicted_cell_type"].tolist() == whole["predicted_cell_type"].tolist()
    number = "predicted_cell_type_distance"
    np.testing.assert_allclose(merged[number], whole[number], atol=1e-5)


def test_filtered_cells_stay_in_their_places(folder):
    adata = ad.read_h5ad(folder / "cells" / "a.h5ad")
    adata.obs["filter_pass"] = [0] * 20 + [1, 0] * 25
    adata.write_h5ad(folder / "cells" / "a.h5ad")
    give(folder, "embed cells/a.h5ad -o run -m model --dtype float32 --shard-cells 20")
    give(folder, "merge run -o all.h5ad")
    merged = ad.read_h5ad(folder / "all.h5ad")
    none = np.isnan(merged.obsm[KEY]).any(axis=1)
    assert none.tolist() == (adata.obs["filter_pass"] == 0).tolist()
    assert (merged.obs[f"{KEY}_missing"].notna() == none).all()
    give(folder, "tokenize cells/a.h5ad -o tokens -m model --shard-cells 20")
    assert load_from_disk(str(folder / "tokens")).num_rows == 25


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names of any bytes")
def test_a_name_that_is_no_text_is_refused_before_anything_is_computed(folder):
    (folder / "cells" / "a.h5ad").rename(folder / "cells" / "odd\udcff.h5ad")
    said = give(folder, embed("run"), 2)
    assert "is no text in UTF-8" in said
    assert not (folder / "run").exists()


def test_a_run_of_an_earlier_version_that_lacked_an_option_is_gone_on_with(folder, whole):
    """What it did not know, and what is not given now, makes no other work of it."""
    give(folder, embed("run"))
    for each in shards(folder, "run"):
        each.unlink()
    manifest = Manifest.read(folder / "run")
    options = dict(manifest.work.options)
    options["reading"] = {k: v for k, v in options["reading"].items() if k != "layer"}
    earlier = replace(manifest, work=replace(manifest.work, options=options))
    assert earlier.work.id != manifest.work.id
    earlier.write(folder / "run" / "manifest.json")
    give(folder, embed("run"))
    give(folder, "merge run -o all.parquet")
    expect_whole(folder, "all.parquet", whole)
