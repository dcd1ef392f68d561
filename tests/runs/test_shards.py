"""Shards: every cell in one of them, in one share; files whole or not there."""

import os

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankformer.errors import OutputError, SettingsError
from rankformer.runs.settings import RunSettings, parse_share
from rankformer.runs.shards import (
    Shard,
    Share,
    about_shard,
    cut_shards,
    cut_where_chosen,
    write_shard,
)


@given(st.integers(0, 5000), st.integers(1, 700))
def test_every_cell_is_in_one_shard(n_cells, cells_each):
    shards = cut_shards(3, n_cells, cells_each)
    rows = [row for shard in shards for row in range(shard.start, shard.stop)]
    assert rows == list(range(n_cells))
    assert all(0 < len(shard) <= cells_each for shard in shards)


@given(st.sets(st.integers(0, 10_000), max_size=300), st.integers(1, 50))
def test_every_chosen_cell_is_in_one_shard(chosen, cells_each):
    rows = np.array(sorted(chosen), np.int64)
    shards = cut_where_chosen(0, rows, cells_each)
    own = [rows[(rows >= shard.start) & (rows < shard.stop)] for shard in shards]
    assert np.concatenate([*own, np.empty(0, np.int64)]).tolist() == rows.tolist()
    assert all(0 < len(each) <= cells_each for each in own)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=6), st.integers(1, 90), st.integers(1, 12)
)
def test_every_shard_is_in_one_share_and_shares_are_alike(sizes, cells_each, of):
    shards = [each for i, n in enumerate(sizes) for each in cut_shards(i, n, cells_each)]
    shares = [Share(number, of).among(shards) for number in range(1, of + 1)]
    assert [shard for share in shares for shard in share] == shards
    n_cells = [sum(map(len, share)) for share in shares]
    # Shards are not cut further: a share has one more or less than its part.
    assert max(n_cells) <= sum(sizes) / of + 2 * cells_each


def test_names_come_in_the_order_of_the_cells():
    shards = [
        Shard(step, i, start, start + 1) for step in (0, 1) for i in (2, 10) for start in (9, 100)
    ]
    assert sorted(shard.name for shard in shards) == [shard.name for shard in shards]


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "3/", "/4", "a/b", "-1/4", "1/0"])
def test_odd_shares_are_refused(text):
    with pytest.raises(SettingsError, match="3/8"):
        parse_share(text)


def test_a_share_deletes_nothing_of_the_others():
    with pytest.raises(SettingsError, match="Delete the folder"):
        RunSettings(shard=Share(1, 2), restart=True)


def test_a_shard_appears_whole_or_not_at_all(tmp_path):
    file = tmp_path / "shard.parquet"

    def fail():
        with write_shard(file, {"run": "a"}) as out:
            out.add(pa.table({"cell": ["x"]}))
            out.add(pa.table({"cell": ["x"]}), "affected")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with write_shard(file, {"run": "a"}) as out:
        out.add(pa.table({"cell": ["x"]}))
        out.add(pa.table({"cell": ["y"]}), "affected")
        out.note(n=2)
        assert not file.exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "shard.affected.parquet", "shard.parquet",
    ]  # fmt: skip
    assert about_shard(file) == {"run": "a", "n": 2}


def test_a_shard_without_rows_is_a_shard(tmp_path):
    with write_shard(tmp_path / "empty.parquet", {"run": "a"}):
        pass
    assert about_shard(tmp_path / "empty.parquet") == {"run": "a"}


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_a_cut_shard_is_no_shard(tmp_path, share):
    file = tmp_path / "shard.parquet"
    with write_shard(file, {"run": "a"}) as out:
        out.add(pa.table({"cell": [str(i) for i in range(500)]}))
    os.truncate(file, int(share * file.stat().st_size))
    assert about_shard(file) is None


def test_a_folder_that_is_not_there(tmp_path):
    def write():
        with write_shard(tmp_path / "gone" / "a.parquet", {}) as out:
            out.add(pa.table({"cell": ["x"]}))

    with pytest.raises(OutputError, match="could not be written"):
        write()
