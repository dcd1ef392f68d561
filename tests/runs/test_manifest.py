"""What binds a run: anything else is refused, and named."""

import json
import os
import re
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankformer.errors import OutputError
from rankformer.runs.inputs import InputFile
from rankformer.runs.manifest import MANIFEST, Manifest, Work

WORK = Work("embed", {"weights_sha256": "aa"}, {"mode": "cell", "reading": {"layer": None}}, 100)


@pytest.fixture
def inputs(tmp_path):
    """Two files and a folder."""
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 200_000)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "within").write_bytes(b"c")
    return {
        each.path: each for each in (InputFile.of(tmp_path / name, n_cells=7) for name in "abc")
    }


@pytest.fixture
def manifest(inputs, tmp_path):
    """Written, and read again."""
    folder = tmp_path / "run"
    folder.mkdir()
    Manifest(WORK, tuple(inputs.values()), {"key": "X"}).write(folder / MANIFEST)
    return Manifest.read(folder)


def test_it_is_read_as_it_was_written(manifest, inputs, tmp_path):
    assert manifest == Manifest(WORK, tuple(inputs.values()), {"key": "X"})
    manifest.expect_same(WORK, inputs, tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shard_cells": 50}, "shard_cells (--shard-cells) is 50 now, and was 100"),
        ({"task": "tokenize"}, 'the command is "tokenize" now, and was "embed"'),
        (
            {"model": {"weights_sha256": "bb"}},
            "the hash of the weights of the model",
        ),
        (
            {"options": {"mode": "cell", "reading": {"layer": "counts"}}},
            'layer (--layer) is "counts" now, and was not given',
        ),
        (
            {"options": {**WORK.options, "dtype": "float32"}},
            'dtype (--dtype) is "float32" now, and was not given',
        ),
    ],
)
def test_another_work_is_refused(manifest, inputs, tmp_path, change, told):
    other = replace(WORK, **change)
    assert other.id != WORK.id
    with pytest.raises(OutputError) as refused:
        manifest.expect_same(other, inputs, tmp_path)
    assert told in str(refused.value)
    assert "--restart" in str(refused.value)


def test_changed_inputs_are_refused(manifest, inputs, tmp_path):
    def look():
        return {path: InputFile.of(tmp_path / path.rpartition("/")[2], 7) for path in inputs}

    (tmp_path / "a").write_bytes(b"a" * 200_001)
    with pytest.raises(OutputError, match=r"the size and time of change of .*/a is another"):
        manifest.expect_same(WORK, look(), tmp_path)
    before = (tmp_path / "b").stat()
    (tmp_path / "b").write_bytes(b"B" + b"b" * 199_999)
    os.utime(tmp_path / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(OutputError, match=r"the beginning of .*/b is another"):
        manifest.expect_same(WORK, look(), tmp_path)
    (tmp_path / "c" / "more").write_bytes(b"c")
    with pytest.raises(OutputError, match=r"of .*/c is another"):
        manifest.expect_same(WORK, look(), tmp_path)


def test_a_file_that_was_only_touched_is_refused_with_how_to_go_on(inputs, tmp_path):
    """With a quote in its name, as the command is to be copied."""
    file = tmp_path / "it's mine"
    file.write_bytes(b"m" * 200_000)
    os.utime(file, ns=(10**18, 1_234_567_890_123_456_789))
    known = InputFile.of(file, 7)
    os.utime(file)
    manifest = Manifest(WORK, (known,))
    with pytest.raises(OutputError, match="time of change") as refused:
        manifest.expect_same(WORK, {known.path: InputFile.of(file, 7)}, tmp_path)
    assert "seem unchanged" in refused.value.fix
    (command,) = re.findall("`(touch .*?)`", refused.value.fix)
    subprocess.run(["/bin/sh", "-c", command], check=True)
    manifest.expect_same(WORK, {known.path: InputFile.of(file, 7)}, tmp_path)
    # Another beginning, or a folder, of which nothing is known within: it is not said.
    file.write_bytes(b"n" * 200_000)
    assert known.advice_where_touched(InputFile.of(file, 7)) is None
    (folder,) = [each for path, each in inputs.items() if path.endswith("/c")]
    os.utime(tmp_path / "c" / "within", (1, 1))
    assert folder.advice_where_touched(InputFile.of(tmp_path / "c", 7)) is None


def test_more_or_fewer_inputs_are_refused(manifest, inputs, tmp_path):
    (tmp_path / "d").write_bytes(b"d")
    more = InputFile.of(tmp_path / "d", 7)
    with pytest.raises(OutputError, match="/d was no input and is one now"):
        manifest.expect_same(WORK, {**inputs, more.path: more}, tmp_path)
    fewer = dict(list(inputs.items())[1:])
    with pytest.raises(OutputError, match="/a was an input and is none now"):
        manifest.expect_same(WORK, fewer, tmp_path)


def test_an_input_that_could_not_be_read_may_change(inputs, tmp_path):
    path = str(tmp_path / "a")
    unread = {**inputs, path: replace(inputs[path], n_cells=0)}
    (tmp_path / "a").write_bytes(b"mended")
    now = {**inputs, path: InputFile.of(tmp_path / "a", 7)}
    Manifest(WORK, tuple(unread.values())).expect_same(WORK, now, tmp_path)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '{"format": "rankformer run"}', '{"format": "x", "version": 1}',
     '{"format": "rankformer run", "version": 1, "work": {}, "inputs": [], "notes": {}}',
     '{"format": "rankformer run", "version": 1, "work": [], "inputs": [], "notes": {}}'],
)  # fmt: skip
def test_a_damaged_manifest_is_an_error(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(OutputError, match=r"manifest.json"):
        Manifest.read(tmp_path)


@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_any_byte_may_be_damaged(tmp_path_factory, place, byte):
    folder = tmp_path_factory.mktemp("run")
    Manifest(WORK, (InputFile("/a", 1, "2026", "aa", 7),)).write(folder / MANIFEST)
    content = bytearray((folder / MANIFEST).read_bytes())
    content[int(place * len(content))] = byte
    (folder / MANIFEST).write_bytes(content)
    try:
        found = Manifest.read(folder)
    except OutputError:
        return
    assert found == Manifest(WORK, (InputFile("/a", 1, "2026", "aa", 7),))


def test_a_later_version_says_so(tmp_path):
    Manifest(WORK, ()).write(tmp_path / MANIFEST)
    document = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**document, "version": 2}))
    with pytest.raises(OutputError, match="is of version 2"):
        Manifest.read(tmp_path)


def test_a_changed_value_of_any_kind_is_found(manifest, tmp_path):
    """What merging needs of it would otherwise be missing, or lead to a wrong result."""
    file = tmp_path / MANIFEST
    manifest.write(file)
    text = file.read_text()
    for before, after in (('"key"', '"k"'), ('"X"', '"Y"'), ('"n_cells": 7', '"n_cells": 8')):
        assert before in text
        file.write_text(text.replace(before, after, 1))
        with pytest.raises(OutputError, match="not as it was written"):
            Manifest.read(tmp_path)
    file.write_text(text)
    assert Manifest.read(tmp_path) == manifest
