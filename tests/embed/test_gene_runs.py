"""`rankformer embed --mode gene` stopped and gone on with, and shared out."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.killed import killed_at


@pytest.fixture
def words(small_adata, checkpoint_folder, tmp_path):
    """Genes of 30 cells in two files, in shards of four, to an output of some name."""
    counts = small_adata.X.toarray()
    counts[13] = 0
    small_adata.X = counts
    files = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    small_adata[:12].write_h5ad(files[0])
    small_adata[12:].write_h5ad(files[1])

    def of(output, *more):
        return (
            "embed", *files, "-o", tmp_path / output, "-m", checkpoint_folder, "--mode", "gene",
            "--device", "cpu", "--dtype", "float32", "--shard-cells", "4", *more,
        )  # fmt: skip

    return of


@pytest.fixture
def succeed(command):
    def run(*words):
        status, _, said = command(*words)
        assert status == 0, said
        return said

    return run


def expect_same(file, whole):
    found, expected = (pd.read_parquet(each) for each in (file, whole))
    vectors = [np.stack(each.pop("vector")) for each in (found, expected)]
    pd.testing.assert_frame_equal(found, expected)
    np.testing.assert_allclose(*vectors, atol=1e-6)
    first, second = (pq.read_schema(each).metadata for each in (file, whole))
    assert first == second


def test_killed_it_goes_on_with_the_next_shard(words, succeed, tmp_path):
    assert "1 of 30 cells have no embedding: no counts" in succeed(*words("whole.parquet"))
    assert pd.read_parquet(tmp_path / "whole.parquet")["cell"].nunique() == 29
    killed_at(4, *words("out.parquet"))
    assert not (tmp_path / "out.parquet").exists()
    assert len(list((tmp_path / "out.parquet.parts" / "shards").glob("*.parquet"))) == 3
    said = succeed(*words("out.parquet"))
    assert "3 of 8 shards were done before" in said
    assert "1 of 30 cells have no embedding: no counts" in said
    expect_same(tmp_path / "out.parquet", tmp_path / "whole.parquet")


def test_shares_are_merged_to_the_whole(words, succeed, command, tmp_path):
    succeed(*words("whole.parquet"))
    merge = ("merge", tmp_path / "shares", "-o", tmp_path / "merged.parquet")
    for share in ("1/3", "3/3"):
        succeed(*words("shares", "--shard", share))
    status, _, said = command(*merge)
    assert status == 2
    assert "of 8 shards are missing" in said
    succeed(*words("shares", "--shard", "2/3"))
    status, _, said = command("merge", tmp_path / "shares", "-o", tmp_path / "merged.h5ad")
    assert status == 2
    assert ".parquet" in said
    succeed(*merge)
    expect_same(tmp_path / "merged.parquet", tmp_path / "whole.parquet")


def test_a_summary_is_no_work_for_shares(words, command, tmp_path):
    status, _, said = command(*words("out.parquet", "--summary", "mean"))
    assert status == 2
    assert "one piece" in said
    assert not (tmp_path / "out.parquet").exists()
