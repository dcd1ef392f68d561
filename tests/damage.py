"""Files as they come from elsewhere, and what goes wrong with them; shared by several tests."""

import json
import os
import pickle
import re
import resource
import struct
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from rankformer.vocabulary.vocabulary import Vocabulary

TABLES = (
    "token_dictionary",
    "gene_median_dictionary",
    "gene_name_id_dict",
    "ensembl_mapping_dict",
)


def tables_of(vocabulary: Vocabulary) -> dict[str, dict]:
    """The four dictionaries as plain tables, restated from the vocabulary's public values."""
    genes = zip(vocabulary.ensembl_ids, vocabulary.tokens.tolist(), strict=True)
    medians = zip(vocabulary.ensembl_ids, vocabulary.medians.tolist(), strict=True)
    tables = ({**vocabulary.special_tokens, **dict(genes)}, dict(medians),
              dict(vocabulary.symbols), dict(vocabulary.aliases))  # fmt: skip
    return dict(zip(TABLES, tables, strict=True))


def write_tables(folder: Path, tables: dict[str, dict], suffix: str = "_gc30M.pkl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        path = folder / f"{name}{suffix}"
        as_json = suffix.endswith(".json")
        path.write_bytes(json.dumps(table).encode() if as_json else pickle.dumps(table))
    return folder


def flip_byte(sound: bytes, place: float, change: int) -> bytes:
    index = int(place * len(sound))
    return sound[:index] + bytes([sound[index] ^ change]) + sound[index + 1 :]


def without_heap(sound: bytes) -> bytes:
    """HDF5 with texts, whose heap has an object of no size: who looks for others finds no end."""
    damaged = bytearray(sound)
    heap = damaged.index(b"GCOL")
    damaged[heap + 16 : heap + 32] = bytes(16)
    return bytes(damaged)


def with_looped_index(file: Path, name: str = "X/data") -> Path:
    """An array of HDF5 whose index of chunks leads back to itself: the library crashes on it."""
    with h5py.File(file, "a") as group:
        values = group[name][:]
        del group[name]
        group.create_dataset(name, data=values, chunks=(4,))
    damaged = bytearray(file.read_bytes())
    # Nodes of kind 1 list chunks; those of level 1 list other nodes. A key here has 24 bytes.
    tops = [at.start() for at in re.finditer(b"TREE\x01\x01", damaged)]
    for top in tops:
        (n_below,) = struct.unpack_from("<H", damaged, top + 6)
        for number in range(n_below):
            struct.pack_into("<Q", damaged, top + 24 + 24 + number * 32, top)
    assert tops
    file.write_bytes(damaged)
    return file


@contextmanager
def little_memory(gigabytes: float = 2):
    """A damaged length must not make a reader take the machine's memory: it is refused here."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + int(gigabytes * 2**30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def largest_file(n_bytes: int):
    """What is written beyond fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Payload:
    """Unpickled by `pickle.load`, it calls `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(marker: Path) -> dict[str, bytes]:
    """Pickles that make a file `marker` where they are believed, each in another way."""
    import builtins
    import subprocess

    touch = f"open({str(marker)!r}, 'w').close()"
    name = str(marker).encode()
    return {
        "os.system": pickle.dumps({"A": Payload(os.system, f"touch {marker}")}),
        "exec": pickle.dumps({"A": Payload(builtins.exec, touch)}),
        "eval": pickle.dumps({"A": Payload(builtins.eval, touch)}),
        "open": pickle.dumps({"A": Payload(builtins.open, str(marker), "w")}),
        "subprocess": pickle.dumps({"A": Payload(subprocess.call, ["touch", str(marker)])}),
        "as a key": pickle.dumps({Payload(os.system, f"touch {marker}"): 1}, protocol=2),
        "nested": pickle.dumps({"A": Payload(np.dtype, Payload(os.system, f"touch {marker}"))}),
        "old opcodes": b"(dS'A'\ncos\nsystem\n(S'touch " + name + b"'\ntRs.",
        "INST": b"(dS'A'\n(S'touch " + name + b"'\nios\nsystem\ns.",
        "OBJ": b"(dS'A'\n(cos\nsystem\nS'touch " + name + b"'\nos.",
        "attribute of an allowed module": (
            b"\x80\x04}\x8c\x01A\x8c\x05numpy\x8c\x17compat.py3k.os.system\x93\x8c"
            + bytes([len(b"touch " + name)]) + b"touch " + name + b"\x85Rs."
        ),
        "numpy's own writer": pickle.dumps({"A": Payload(np.savetxt, str(marker), [1])}),
    }  # fmt: skip


PAYLOADS = sorted(payloads(Path("marker")))
