"""Shards as a manifest names them."""

import json

import numpy as np
import pytest

from rankformer.errors import OutputError
from rankformer.runs.plans import note_shards, noted_shards
from rankformer.runs.shards import Share, cut_where_chosen


def test_shards_of_chosen_cells_are_read_as_they_were_noted():
    rng = np.random.default_rng(0)
    rows = [np.sort(rng.choice(9_000, n, replace=False)) for n in (500, 0, 7_000, 1)]
    shards = [
        shard
        for step in (0, 1) for index, own in enumerate(rows)
        for shard in cut_where_chosen(index, own[step:], 64, step=step)
    ]  # fmt: skip
    read = noted_shards(json.loads(json.dumps(note_shards(shards))))
    assert read == shards
    assert list(map(len, read)) == list(map(len, shards))
    for shard in read:
        own = rows[shard.input][shard.step :]
        assert ((own >= shard.start) & (own < shard.stop)).sum() == len(shard)
    # What each cell is in, whatever the shares.
    assert sum(map(len, read)) == 2 * 7_501 - 3


def test_a_hundred_thousand_shards_take_little_room():
    shards = cut_where_chosen(0, np.arange(6_400_000), 64)
    assert len(shards) == 100_000
    text = json.dumps(note_shards(shards))
    assert len(text) < 2_000_000
    assert noted_shards(json.loads(text)) == shards


@pytest.mark.parametrize("n_shares", [1, 2, 3, 7, 50])
def test_shares_take_each_shard_once_by_their_chosen_cells(n_shares):
    """Cells lie densely in one input, and far apart in the other."""
    steps = [
        [
            *cut_where_chosen(0, np.arange(640), 64, step=step),
            *cut_where_chosen(1, np.arange(640) * 100, 64, step=step),
        ]
        for step in (0, 1)
    ]
    shares = [Share(i + 1, n_shares).among([*steps[0], *steps[1]]) for i in range(n_shares)]
    assert sorted(shard for own in shares for shard in own) == [*steps[0], *steps[1]]
    of_step = [[sum(len(s) for s in own if s.step == step) for own in shares] for step in (0, 1)]
    assert of_step[0] == of_step[1]
    assert max(of_step[0]) - min(of_step[0]) <= 64


@pytest.mark.parametrize("line", [{}, {"step": 0, "input": 0, "rows": "12"}, {"rows": 3}, "0-64"])
def test_damaged_notes_are_refused(line):
    with pytest.raises(OutputError, match="--restart"):
        noted_shards({"shards": [line]})
