"""The stages of a run: reading, encoding, the model and writing, side by side."""

import threading
import time
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from tests.runs.engines.tasks import tokens_of

from rankformer import datasets
from rankformer.embed.embedder import Embedder
from rankformer.embed.vector_shards import ShardedVectors, VectorShards
from rankformer.errors import CheckpointError, CountsError, OutputError, TokensError
from rankformer.runs.compute import STAGES, compute_shards
from rankformer.runs.manifest import Work
from rankformer.runs.run import open_run
from rankformer.runs.settings import RunSettings
from rankformer.runs.shards import Shard
from rankformer.runs.sources import RunInputs
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import TokenStream, open_tokens

CELLS = 40


@pytest.fixture(scope="module")
def embedder():
    return Embedder("rankformer-mini", device="cpu", dtype="float32", emb_layer=1)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Two files of real cells, of which the first has some that are left out."""
    folder = tmp_path_factory.mktemp("desk")
    adata = datasets.blood_cells()
    for name, cells in (("a", adata[:150]), ("b", adata[150:230])):
        own = cells.copy()
        if name == "a":
            own.obs["filter_pass"] = (np.arange(150) % 7 > 0) & (np.arange(150) // CELLS != 1)
        own.write_h5ad(folder / f"{name}.h5ad")
    return folder


def threads() -> list[str]:
    names = (each.name for each in threading.enumerate())
    return [name for name in names if name.startswith("rankformer")]


@dataclass
class Done:
    """What came of a run."""

    folder: object
    run: object = None
    failures: dict = field(default_factory=dict)
    stages: object = None
    written: list[Shard] = field(default_factory=list)
    cells: int = 0

    @property
    def shards(self) -> list[str]:
        return sorted(each.name for each in (self.folder / "shards").iterdir())

    @property
    def whole(self) -> list[str]:
        return [f"{each.name}.parquet" for each in self.run.shards()]


def compute(desk, folder, embedder, task, *, progress=None, fail_fast=False) -> Done:
    """Compute all shards of both files, as `do_shards` does."""
    done = Done(folder)
    options = ReadingOptions(chunk_cells=16, undo_log1p=False)
    paths = [desk / "a.h5ad", desk / "b.h5ad"]

    def told(n_cells):
        done.cells += n_cells
        if progress is not None:
            progress(n_cells)

    with closing(RunInputs(paths, embedder.checkpoint.vocabulary, options)) as inputs:

        def describe(manifest):
            return Work("test", {}, {}, CELLS), inputs.survey(manifest), {}

        with open_run(folder, RunSettings(), describe) as done.run:
            try:
                done.stages = compute_shards(
                    done.run, done.run.shards(), inputs, task, told,
                    fail_fast=fail_fast, done=done.written.append,
                )  # fmt: skip
            finally:
                done.failures = inputs.failures
                assert threads() == []
                assert not list((folder / "shards").glob("*.part"))
    return done


class Planted(VectorShards):
    """Embeds, with something planted in the model or in writing."""

    def __init__(self, embedder, *, in_model=None, in_writing=None):
        super().__init__(embedder, "cell")
        object.__setattr__(self, "in_model", in_model)
        object.__setattr__(self, "in_writing", in_writing)

    def compute(self, parts, n_cells, progress):
        for result in super().compute(parts, n_cells, progress):
            if self.in_model is not None and result.value is not None:
                self.in_model(result.shard)
            yield result

    def write(self, source, shard, values, out):
        super().write(source, shard, values, out)
        if self.in_writing is not None:
            self.in_writing(shard)


def at(index, start, error):
    """Fails at one shard."""

    def fail(shard):
        if (shard.input, shard.start) == (index, start):
            raise error

    return fail


def plain_vectors(desk, embedder):
    """Cells read, encoded and embedded one part after the other, without anything beside it."""
    found = []
    options = ReadingOptions(chunk_cells=16)
    for name in "ab":
        with closing(
            open_tokens(desk / f"{name}.h5ad", embedder.checkpoint.vocabulary, options)
        ) as stream:
            vectors = np.full((len(stream), embedder.d_model), np.nan, np.float32)
            for start in range(0, len(stream), CELLS):
                for part in stream.parts(start, min(start + CELLS, len(stream))):
                    vectors[part.rows] = embedder.cells(part.cells.ragged(0, len(part.rows)))
            found.append(vectors)
    return np.concatenate(found)


def test_vectors_are_to_the_bit_those_of_one_part_after_the_other(desk, embedder, tmp_path):
    done = compute(desk, tmp_path / "run", embedder, VectorShards(embedder, "cell"))
    assert done.shards == done.whole
    assert done.written == done.run.shards()
    assert done.failures == {}
    vectors = ShardedVectors(done.run, done.run.shards(), embedder.d_model)[0:230]
    expected = plain_vectors(desk, embedder)
    assert np.array_equal(vectors, expected, equal_nan=True)
    is_left_out = np.isnan(expected[:, 0])
    assert is_left_out[CELLS : 2 * CELLS].all(), "a shard without any cell is written too"
    assert not is_left_out[150:].any()
    assert done.cells == int((~is_left_out).sum())


def test_shards_follow_each_other_without_a_pause_of_the_model(desk, embedder, tmp_path):
    """The first shard is not written yet, and waits to be, while the model goes on to the last."""
    has_all = threading.Event()

    def note_last(shard):
        if (shard.input, shard.start) == (1, CELLS):
            has_all.set()

    def wait(shard):
        assert has_all.wait(60), "the model waited for a shard to be written"

    task = Planted(embedder, in_model=note_last, in_writing=wait)
    done = compute(desk, tmp_path / "run", embedder, task)
    assert done.shards == done.whole


def test_no_more_is_held_than_there_is_room_for_while_writing_is_slow(desk, embedder, tmp_path):
    n_computed, n_at_most = 0, []

    class Large(VectorShards):
        """Each result holds, or says that it does, a third of what may wait."""

        def compute(self, parts, n_cells, progress):
            nonlocal n_computed
            for result in super().compute(parts, n_cells, progress):
                n_computed += 1
                yield replace(result, n_bytes=25 << 20)

        def write(self, source, shard, values, out):
            time.sleep(0.5)
            before = n_computed
            super().write(source, shard, values, out)
            n_at_most.append(before)

    compute(desk, tmp_path / "run", embedder, Large(embedder, "cell"))
    # One is in use, two wait, and one is ready to.
    assert n_at_most[0] <= 4 < n_computed


@pytest.mark.parametrize("stage", ["read", "encode"])
def test_an_input_that_fails_is_set_aside_and_the_other_is_whole(
    desk, embedder, tmp_path, monkeypatch, stage
):
    break_first_input(monkeypatch, stage)
    done = compute(desk, tmp_path / "run", embedder, VectorShards(embedder, "cell"))
    assert list(done.failures) == [0]
    assert "row 100" in done.failures[0].found
    first = f"0-000000-{0:010d}-{CELLS:010d}.parquet"
    assert first in done.shards, "what was read before stays"
    assert f"0-000000-{2 * CELLS:010d}-{3 * CELLS:010d}.parquet" not in done.shards
    assert f"0-000000-{3 * CELLS:010d}-{150:010d}.parquet" not in done.shards
    assert [name for name in done.shards if name.startswith("0-000001")] == done.whole[-2:]


@pytest.mark.parametrize("stage", ["read", "encode"])
def test_the_error_of_an_input_comes_out_where_one_is_to_end_the_run(
    desk, embedder, tmp_path, monkeypatch, stage
):
    break_first_input(monkeypatch, stage)
    with pytest.raises(CountsError if stage == "read" else TokensError, match="row 100"):
        compute(desk, tmp_path / "run", embedder, VectorShards(embedder, "cell"), fail_fast=True)


def break_first_input(monkeypatch, stage):
    """Row 100, in the second chunk of a shard of the first file, can not be read or encoded."""
    plain_read, plain_encode = TokenStream.read, TokenStream.encode

    def read(stream, start, stop):
        for rows, counts in plain_read(stream, start, stop):
            if stream.path.stem == "a" and 100 in rows:
                raise CountsError("row 100 is odd", "None.", "None.")
            yield rows, counts

    def encode(stream, found):
        if stream.path.stem == "a" and 100 in found[0]:
            raise TokensError("row 100 is odd", "None.", "None.")
        return plain_encode(stream, found)

    monkeypatch.setattr(TokenStream, stage, {"read": read, "encode": encode}[stage])


@pytest.mark.parametrize("where", ["in_model", "in_writing"])
def test_an_error_of_the_model_or_of_writing_ends_the_run(desk, embedder, tmp_path, where):
    kind = CheckpointError if where == "in_model" else OutputError
    error = kind("It is odd.", "None.", "None.")
    task = Planted(embedder, **{where: at(0, 3 * CELLS, error)})
    folder = tmp_path / "run"
    with pytest.raises(kind) as caught:
        compute(desk, folder, embedder, task)
    assert caught.value is error
    starts = [int(each.name.split("-")[2]) for each in (folder / "shards").iterdir()]
    assert sorted(starts) == [0, CELLS, 2 * CELLS], "what was computed before is written"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_a_run_that_is_stopped_leaves_nothing_half_written(desk, embedder, tmp_path, stop):
    n_done = 0

    def progress(n_cells):
        nonlocal n_done
        n_done += n_cells
        if n_done > 50:
            raise stop

    folder = tmp_path / "run"
    with pytest.raises(stop):
        compute(desk, folder, embedder, VectorShards(embedder, "cell"), progress=progress)
    assert tokens_of(folder).keys() <= {f"0-000000-{i:010d}-{i + CELLS:010d}" for i in (0, CELLS)}


@pytest.mark.parametrize("slow", STAGES)
def test_a_planted_slow_stage_is_named(desk, embedder, tmp_path, monkeypatch, slow):
    # Kernels are compiled before.
    plain_vectors(desk, embedder)
    plain_read, plain_encode = TokenStream.read, TokenStream.encode

    def wait(_=None):
        time.sleep(0.4)

    def read(stream, start, stop):
        for found in plain_read(stream, start, stop):
            wait()
            yield found

    def encode(stream, found):
        wait()
        return plain_encode(stream, found)

    if slow == "reading":
        monkeypatch.setattr(TokenStream, "read", read)
    if slow == "encoding":
        monkeypatch.setattr(TokenStream, "encode", encode)
    task = Planted(
        embedder,
        in_model=wait if slow == "the model" else None,
        in_writing=wait if slow == "writing" else None,
    )
    done = compute(desk, tmp_path / "run", embedder, task)
    assert done.stages.slowest == slow
    assert done.stages.figures()["seconds_of_stages"][slow]["worked"] >= 6 * 0.4
