"""How a sound file or folder is damaged, drawn from a random generator alone."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.fuzz.mutations.documents import damage_json
from tests.fuzz.mutations.hdf5 import damage_hdf5
from tests.fuzz.mutations.pickles import damage_pickle, damage_torch
from tests.fuzz.mutations.raw import damage_bytes
from tests.fuzz.mutations.stores import damage_store
from tests.fuzz.mutations.tables import damage_table
from tests.fuzz.mutations.tensors import damage_safetensors
from tests.fuzz.mutations.texts import damage_text

_SHARE_OF_RAW = 0.4
_BY_ENDING: dict[str, Callable[[Path, np.random.Generator], str]] = {
    ".json": damage_json, ".zarray": damage_json, ".zattrs": damage_json, ".zgroup": damage_json,
    ".zmetadata": damage_json, ".h5ad": damage_hdf5, ".h5": damage_hdf5,
    ".safetensors": damage_safetensors, ".pkl": damage_pickle, ".pickle": damage_pickle,
    ".bin": damage_torch, ".pt": damage_torch, ".pth": damage_torch, ".parquet": damage_table,
    ".arrow": damage_table, ".arrows": damage_table, ".tsv": damage_text, ".csv": damage_text,
    ".mtx": damage_text, ".txt": damage_text, ".sha256": damage_text,
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """What was done to which file of a sound one."""

    kind: str
    part: str


def damage(path: Path, rng: np.random.Generator) -> Mutation:
    """Damage a file, or one file of a folder, by its bytes or by what its format holds."""
    if path.is_file():
        return Mutation(_damage_file(path, rng), path.name)
    if path.suffix == ".zarr" and rng.random() < 0.35:
        return Mutation(damage_store(path, rng), path.name)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    file = files[int(rng.integers(len(files)))]
    return Mutation(_damage_member(file, rng), str(file.relative_to(path)))


def _damage_member(file: Path, rng: np.random.Generator) -> str:
    kind = rng.random()
    if kind < 0.04:
        file.unlink()
        return "file deleted"
    if kind < 0.07:
        file.write_bytes(b"")
        return "file emptied"
    if kind < 0.09:
        file.unlink()
        file.mkdir()
        return "file made a folder"
    if kind < 0.11:
        others = sorted(each for each in file.parent.iterdir() if each.is_file() and each != file)
        if others:
            shutil.copyfile(others[int(rng.integers(len(others)))], file)
            return "file replaced by another"
    return _damage_file(file, rng)


def _damage_file(file: Path, rng: np.random.Generator) -> str:
    suffix = file.with_suffix("").suffix if file.suffix == ".gz" else file.suffix or file.name
    structured = _BY_ENDING.get(suffix)
    if structured is None or rng.random() < _SHARE_OF_RAW or not file.stat().st_size:
        return damage_bytes(file, rng)
    return structured(file, rng)
