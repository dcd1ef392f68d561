"""TokenizedCells: Arrow inside, a Hugging Face dataset outside."""

import json
import shutil
import signal
from contextlib import suppress
from itertools import pairwise

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import small_vocabulary

from rankformer.errors import OutputError, TokensError
from rankformer.tokens import arrow_streams
from rankformer.tokens.arrow_streams import check_streams
from rankformer.tokens.tokenized_cells import TokenizedCells, save_tokens

cells_lists = st.lists(st.lists(st.integers(4, 203), max_size=9), min_size=1, max_size=12)


def tokenized(cells, **more):
    values = np.array([token for cell in cells for token in cell], np.int32)
    offsets = np.cumsum([0, *map(len, cells)])
    return TokenizedCells.from_ragged((values, offsets), **more)


def as_lists(cells):
    return [cells.cell(i).tolist() for i in range(len(cells))]


CELLS = [[2, 9, 7, 3], [2, 3], [2, 5, 3], [2, 11, 5, 7, 3]]


def test_dataset_shares_the_memory_of_the_tokens():
    values, offsets = np.arange(10, dtype=np.int32), np.array([0, 4, 10])
    dataset = TokenizedCells.from_ragged((values, offsets)).to_dataset()
    column = dataset.data.column("input_ids").chunk(0)
    assert column.values.buffers()[1].address == values.ctypes.data
    assert dataset.column_names == ["input_ids", "length"]
    assert dataset[1] == {"input_ids": [4, 5, 6, 7, 8, 9], "length": 6}


@settings(deadline=None)
@given(cells_lists, st.integers(1, 5))
def test_slices_and_chunks_give_the_cells_back(cells, n_parts):
    cuts = np.linspace(0, len(cells), n_parts + 1).astype(int)
    parts = [tokenized(cells[a:b]) for a, b in pairwise(cuts)]
    joined = TokenizedCells.concatenate(parts)
    assert as_lists(joined) == cells
    assert joined.lengths.tolist() == [len(cell) for cell in cells]
    for start in range(len(cells)):
        values, offsets = joined.ragged(start, len(cells))
        assert offsets[0] == 0
        assert [part.tolist() for part in np.split(values, offsets[1:-1])] == cells[start:]
    assert [ragged[0].tolist() for _, ragged in joined.blocks(1)] == cells


def test_saved_and_loaded_with_everything(tmp_path):
    cells = tokenized(
        CELLS,
        attributes={"cell_type": ["B", "T", None, "B"], "age": [1.5, 2, 3, 4]},
        cell_names=["a", "b", "c", "c"],
        vocabulary_sha256="ab" * 32,
    )
    parts = [cells.take(np.array([0])), cells.take(np.array([1, 2, 3]))]
    path = save_tokens(parts, tmp_path / "cells")
    loaded = TokenizedCells.load(path)
    assert as_lists(loaded) == CELLS
    assert loaded.cell_names.to_pylist() == ["a", "b", "c", "c"]
    assert loaded.vocabulary_sha256 == "ab" * 32
    dataset = datasets.load_from_disk(str(path))
    assert dataset["cell_type"][:] == ["B", "T", None, "B"]
    assert dataset["length"][:] == [4, 2, 3, 5]


def test_dataset_of_the_published_tokenizer_loads(tmp_path):
    """It writes int64 lists, without our description."""
    made = datasets.Dataset.from_dict(
        {"input_ids": CELLS, "length": [4, 2, 3, 5], "donor": [*"xxyy"]}
    )
    made.save_to_disk(str(tmp_path / "published.dataset"))
    cells = TokenizedCells.load(tmp_path / "published.dataset")
    assert as_lists(cells) == CELLS
    assert cells.vocabulary_sha256 is None
    assert cells.table["donor"].to_pylist() == [*"xxyy"]


def test_selected_shuffled_and_filtered_datasets_keep_their_order():
    dataset = tokenized(CELLS, vocabulary_sha256="ab" * 32).to_dataset()
    cells = TokenizedCells.from_dataset(dataset.select([3, 0, 3]))
    assert as_lists(cells) == [CELLS[3], CELLS[0], CELLS[3]]
    assert cells.vocabulary_sha256 == "ab" * 32


def test_existing_output_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        tokenized(CELLS).save(tmp_path / "mine")
    assert (tmp_path / "mine" / "file").read_text() == "precious"


CELL_NAMES = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"vocabulary_sha256": "ab" * 32}, {"vocabulary_sha256": "cd" * 32}, "cdcdcdcd and abab"),
        ({"vocabulary_sha256": "ab" * 32}, {}, "unknown and abab"),
        ({"attributes": {"age": [1] * 4}}, {}, "the first has input_ids, length, age"),
        ({}, {"attributes": {"age": [1] * 4}}, "has the columns input_ids, length, age"),
        ({"cell_names": CELL_NAMES}, {}, "names of cells"),
        ({}, {"cell_names": CELL_NAMES}, "names of cells"),
    ],
    ids=str,
)
def test_parts_that_do_not_go_together_are_refused(tmp_path, first, second, message):
    parts = [tokenized(CELLS, **first), tokenized(CELLS, **second)]
    with pytest.raises(TokensError, match=message):
        save_tokens(parts, tmp_path / "cells")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_save_is_refused(tmp_path):
    with pytest.raises(TokensError, match="not one part"):
        save_tokens([], tmp_path / "cells")


def test_saving_draws_no_progress_bar_and_leaves_those_of_others(tmp_path, capfd):
    assert datasets.is_progress_bar_enabled()
    tokenized(CELLS).save(tmp_path / "cells")
    assert datasets.is_progress_bar_enabled()
    assert capfd.readouterr().err == ""


def test_failure_half_way_leaves_nothing(tmp_path):
    def parts():
        yield tokenized(CELLS)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        save_tokens(parts(), tmp_path / "cells")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["remove", "truncate", "empty"])
def test_damaged_datasets_are_refused(tmp_path, damage):
    path = tokenized(CELLS * 500).save(tmp_path / "cells")
    (data,) = path.glob("data*.arrow")
    if damage == "remove":
        data.unlink()
    else:
        content = data.read_bytes()
        data.write_bytes(content[: len(content) // 2] if damage == "truncate" else b"")
    with pytest.raises(TokensError, match="could not be read"):
        TokenizedCells.load(path)


def zero_offsets(content: bytes) -> bytes:
    """Every name begins and ends at 0, and the length that Arrow looks up is gone."""
    middle = len(content) // 2
    return content[:middle] + bytes(len(content) - middle)


@pytest.mark.parametrize("damage", [zero_offsets, lambda _: b"", lambda content: content[:100]])
@pytest.mark.parametrize("name", ["cell_names.arrows", "data-00000-of-00001.arrow"])
def test_damaged_streams_are_refused_by_name(tmp_path, name, damage):
    names = [f"cell {i}" for i in range(len(CELLS))]
    file = tokenized(CELLS, cell_names=names).save(tmp_path / "cells") / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(TokensError, match=f"could not be read.*{name} is damaged"):
        TokenizedCells.load(tmp_path / "cells")


DEADLY = """
import os, pyarrow
sound = pyarrow.memory_map
pyarrow.memory_map = lambda path: os.kill(os.getpid(), {}) if "deadly" in path else sound(path)
"""


@pytest.mark.parametrize(
    ("ended_by", "told"),
    [
        (signal.SIGSEGV, "deadly.arrow is damaged: reading it crashes Arrow"),
        (signal.SIGKILL, "deadly.arrow: the process that reads it was killed, as where memory"),
    ],
)
def test_a_stream_that_ends_its_reader_is_refused(tmp_path, monkeypatch, ended_by, told):
    """A process that ends itself stands for what this release of Arrow does not withstand."""
    [sound] = tokenized(CELLS).save(tmp_path / "cells").glob("*.arrow")
    deadly = shutil.copy(sound, tmp_path / "deadly.arrow")
    monkeypatch.setattr(
        arrow_streams, "_CHECK", DEADLY.format(int(ended_by)) + arrow_streams._CHECK
    )
    check_streams([sound])
    with pytest.raises(ValueError, match=told):
        check_streams([sound, deadly])


def test_streams_that_were_all_read_are_sound_however_their_reader_ends(tmp_path, monkeypatch):
    streams = list(tokenized(CELLS).save(tmp_path / "cells").glob("*.arrow"))
    monkeypatch.setattr(arrow_streams, "_CHECK", arrow_streams._CHECK + "\nimport os; os.abort()")
    check_streams(streams)


def test_names_of_other_cells_are_refused(tmp_path):
    tokenized(CELLS, cell_names="abcd").save(tmp_path / "cells")
    tokenized(CELLS[:2], cell_names="ab").save(tmp_path / "others")
    shutil.copy(tmp_path / "others" / "cell_names.arrows", tmp_path / "cells")
    with pytest.raises(TokensError, match="does not hold the names of its 4 cells"):
        TokenizedCells.load(tmp_path / "cells")


@pytest.mark.parametrize("value", [17, ["x"]], ids=str)
@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("state.json", "_data_files"), ("state.json", "_fingerprint"), ("state.json", "_split"),
        ("state.json", "_format_columns"), ("state.json", "_format_type"),
        ("dataset_info.json", "description"), ("dataset_info.json", "features"),
    ],
)  # fmt: skip
def test_odd_values_beside_the_tokens_lose_no_cell(tmp_path, file, key, value):
    path = tokenized(CELLS).save(tmp_path / "cells")
    content = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps({**content, key: value}))
    with suppress(TokensError):
        assert as_lists(TokenizedCells.load(path)) == CELLS


def test_a_dataset_does_not_lead_out_of_its_folder(tmp_path):
    tokenized(CELLS[:1]).save(tmp_path / "others")
    path = tokenized(CELLS).save(tmp_path / "cells")
    state = json.loads((path / "state.json").read_text())
    state["_data_files"] = [{"filename": "../others/data-00000-of-00001.arrow"}]
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(TokensError, match="which is not in the folder"):
        TokenizedCells.load(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tokens": [[1]]}, "columns tokens"),
        ({"input_ids": [["a"]]}, "holds"),
        ({"input_ids": [[2**40]]}, "holds"),
        ({"input_ids": [[1, None]]}, "missing values"),
        ({"input_ids": [[1], None]}, "missing values"),
        ({"input_ids": [1, 2]}, "holds"),
    ],
)
def test_datasets_without_tokens_are_refused(columns, message):
    with pytest.raises(TokensError, match=message):
        TokenizedCells.from_dataset(datasets.Dataset(pa.table(columns)))


def test_tokens_of_another_vocabulary_are_refused():
    v1, v2 = small_vocabulary(special=False), small_vocabulary(special=True)
    framed = tokenized([[2, 9, 3], [2, 7, 11, 3]])
    bare = tokenized([[9, 5], [7, 11]])
    framed.check_fits(v2)
    bare.check_fits(v1)
    with pytest.raises(TokensError, match="not framed"):
        bare.check_fits(v2)
    with pytest.raises(TokensError, match="as special tokens do"):
        framed.check_fits(v1)
    with pytest.raises(TokensError, match="range from"):
        tokenized([[9, 999]]).check_fits(v1)
    with pytest.raises(TokensError, match="up to 70 a cell"):
        tokenized([[9] * 70, [8]]).check_fits(v1)
    with pytest.raises(TokensError, match="made with the vocabulary"):
        tokenized([[9], [7]], vocabulary_sha256="ab" * 32).check_fits(v1)


def test_cells_alike_are_no_frame_where_the_vocabulary_is_known():
    """Two equal cells, and a panel of two genes."""
    v1 = small_vocabulary(special=False)
    for cells in ([[9, 5, 7], [9, 5, 7]], [[9, 5], [9, 5], [9, 5]]):
        tokenized(cells, vocabulary_sha256=v1.sha256).check_fits(v1)


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize(
    ("special", "cells", "message"),
    [
        (True, [[2, 9, 1, 3], [2, 5, 3]], "1 of 2 cells hold <mask> among"),
        (True, [[2, 9, 3, 2, 5, 3], [2, 5, 3]], "1 of 2 cells hold <cls>, <eos> among"),
        (True, [[2, 9, 0, 7, 3], [2, 5, 3]], "1 of 2 cells are padded"),
        (True, [[2, 9, 7, 3], [2, 5, 3, 0]], "1 of 2 cells are padded"),
        (False, [[9, 1, 7], [5]], "1 of 2 cells hold <mask> among"),
        (False, [[9, 7, 0, 0], [5, 0, 0, 0], [5, 7, 9, 11]], "2 of 3 cells are padded"),
    ],
)
def test_special_tokens_in_the_place_of_genes_are_refused(special, cells, message, known):
    vocabulary = small_vocabulary(special=special)
    sha256 = vocabulary.sha256 if known else None
    with pytest.raises(TokensError, match=message):
        tokenized(cells, vocabulary_sha256=sha256).check_fits(vocabulary)


def test_joining_cells_of_two_vocabularies_is_refused():
    parts = [tokenized(CELLS, vocabulary_sha256=each * 32) for each in ("ab", "cd")]
    with pytest.raises(TokensError, match="of the vocabularies"):
        TokenizedCells.concatenate(parts)
    with pytest.raises(TokensError, match="not one part"):
        TokenizedCells.concatenate([])
