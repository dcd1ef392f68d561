"""Whether what was read of a damaged file is right: as before, or as the file now says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tests.fuzz.content import Content, is_same
from tests.fuzz.readers import (
    cells_by_others,
    checkpoint_by_others,
    names_by_others,
    tenx_by_others,
    tenx_folder_by_others,
    tokens_by_others,
    vocabulary_by_others,
)

OTHER_VALUES, WRONG, LOST = "read, as the file says", "wrong result", "cells lost"


def judge_cells(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    said = [_said(damaged)]
    if damaged.suffix == ".h5ad":
        # Where X has become whole numbers, it is taken before raw.X.
        said.append(cells_by_others(damaged, of_raw=False))
    if not any(is_same({key: found.get(key) for key in each}, each) for each in said):
        return WRONG
    return LOST if _lost(sound, damaged, right["counts"], found["counts"]) else OTHER_VALUES


def judge_embedding(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    """Vectors may be others only where counts or genes are; none may be gone without a word."""
    before, after = _said(sound), _said(damaged)
    if len(found["vectors"]) != len(after["cells"]):
        return LOST
    # A cell has the label and the name that it has, whatever its embedding is.
    same = [is_same(before[name], after[name]) for name in ("counts", "genes")]
    if all(same) and len(before["cells"]) == len(after["cells"]):
        return WRONG
    return LOST if _lost(sound, damaged, before["counts"], after["counts"]) else OTHER_VALUES


def _said(path: Path) -> Content:
    if path.is_dir() and path.suffix != ".zarr":
        return tenx_folder_by_others(path)
    return tenx_by_others(path) if path.suffix == ".h5" else cells_by_others(path)


def _lost(sound: Path, damaged: Path, before: Any, after: Any) -> bool:
    """Whether cells that had counts have none, though places of values are what was changed.

    Where values are what was changed, a file holds other counts than it did: no reader can tell.
    """
    if before.shape[0] > after.shape[0]:
        return _is_cut(damaged)
    rows = before.shape[0]
    empty = ~after[:rows].any(axis=1) & before.any(axis=1)
    return bool(empty.any()) and not _same_places(sound, damaged)


def _is_cut(damaged: Path) -> bool:
    """Tables of a file that disagree must be refused; a file that is shorter throughout is not."""
    said = _said(damaged)
    return len(said["cells"]) != len(said["counts"])


def _same_places(sound: Path, damaged: Path) -> bool:
    import h5py

    if sound.is_dir():
        return True
    with h5py.File(sound) as one, h5py.File(damaged) as other:
        names: list[str] = []
        one.visit(names.append)
        places = [name for name in names if name.endswith(("X/indptr", "X/indices"))]
        return all(np.array_equal(one[each][()], other[each][()]) for each in places)


def judge_tokens(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    said = tokens_by_others(damaged)
    return OTHER_VALUES if is_same({key: found.get(key) for key in said}, said) else WRONG


def judge_vocabulary(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    if list(damaged.glob("*.parquet")):
        # A hash binds tokens and medians, and checksums of pages the other names.
        bound = ("tokens", "medians", "input_length", "hash")
        before, after = ({name: each[name] for name in bound} for each in (right, found))
        if not is_same(before, after):
            return WRONG
        said = names_by_others(damaged)
        return OTHER_VALUES if is_same(said, {name: found[name] for name in said}) else WRONG
    said = vocabulary_by_others(damaged)
    same = is_same({key: found[key] for key in said}, said)
    return OTHER_VALUES if same else WRONG


def judge_checkpoint(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    """Weights are those of the file, and others than before only where no hash binds them."""
    is_bound = (damaged / "model.safetensors.sha256").is_file()
    if is_bound and not is_same(right["weights"], found["weights"]):
        return WRONG
    if right["vocabulary"] != found["vocabulary"]:
        return WRONG
    before, after = checkpoint_by_others(sound), checkpoint_by_others(damaged)
    if is_same(before, after):
        return WRONG
    config = found["config"]
    if any(config[key] != after["config"][key] for key in config if key in after["config"]):
        return WRONG
    name = "bert.embeddings.word_embeddings.weight"
    table = after["tensors"].get(name, after["tensors"].get(name.removeprefix("bert.")))
    same = is_same(table.astype(np.float32), found["weights"]["embeddings.token.weight"])
    return OTHER_VALUES if same else WRONG


def judge_finetuned(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    """As checkpoints; heads may be others only where heads.json says so."""
    parts = ("weights", "config", "vocabulary")
    if not is_same({name: right[name] for name in parts}, {name: found[name] for name in parts}):
        return judge_checkpoint(sound, damaged, right, found)
    before, after = (json.loads((each / "heads.json").read_bytes()) for each in (sound, damaged))
    return WRONG if before == after else OTHER_VALUES


def judge_reference(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    import pyarrow.parquet as pq

    if not is_same(np.load(damaged / "vectors.npy"), found["vectors"]):
        return WRONG
    one, other = (json.loads((each / "reference.json").read_bytes()) for each in (sound, damaged))
    tables = [pq.read_table(each / "labels.parquet").to_pydict() for each in (sound, damaged)]
    same_labels = tables[0] == tables[1] and one.get("classes") == other.get("classes")
    if same_labels and not is_same(right["codes"], found["codes"]):
        return WRONG
    if same_labels and is_same(right["vectors"], found["vectors"]):
        return WRONG
    return OTHER_VALUES


def never_other(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    """Of what is bound to its hash in whole."""
    return WRONG


def any_other(sound: Path, damaged: Path, right: Content, found: Content) -> str:
    """Of what nothing binds, and no other library reads."""
    return WRONG if _bytes_of(sound) == _bytes_of(damaged) else OTHER_VALUES


def _bytes_of(path: Path) -> bytes:
    return path.read_bytes()
