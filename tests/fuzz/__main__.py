"""Damaged files, read by inspect and embed: ``python -m tests.fuzz --help``.

Each file is a sound one that was damaged in a way drawn by its number, and is read by commands in a
process that can be killed. Ends with status 1 where one crashed, ended in a traceback, lost cells
without a word, or hung and did not end at SIGTERM.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tests.faults.bad_input import save_models
from tests.faults.cells import adata_of, counts
from tests.fuzz.mutations import Mutation, copy_sound, damage_dataset_folder, damage_h5ad
from tests.fuzz.workers import SECONDS_TO_END, Worker, read_vectors, stop_command

N_CELLS = 40
LAYOUTS = ("csr", "csc", "dense")
COMPRESSIONS = (None, "gzip")
BAD = ("crash", "traceback", "cells lost", "not stopped")
OUTCOMES = ("read", "read, other values", "refused", "slow", "stopped by SIGTERM", *BAD)


@dataclass(frozen=True)
class Outcome:
    """What one command made of one damaged file; `detail` is its last words."""

    number: int
    kind: str
    part: str
    source: str
    command: str
    outcome: str
    detail: str


def write_sound(folder: Path, worker: Worker) -> dict[str, Path]:
    """Sound files of every layout, and the dataset of their tokens."""
    files = {}
    for layout in LAYOUTS:
        for compression in COMPRESSIONS:
            adata = adata_of(counts(N_CELLS))
            adata.X = {"csr": adata.X, "csc": adata.X.tocsc(), "dense": adata.X.toarray()}[layout]
            file = folder / f"{layout}-{compression}.h5ad"
            adata.write_h5ad(file, compression=compression)
            files[file.name] = file
    words = ["tokenize", "csr-None.h5ad", "-o", "tokens.dataset", "-m", "model"]
    ended = worker.run(words, folder)
    assert ended.get("status") == 0, ended
    files["tokens.dataset"] = folder / "tokens.dataset"
    return files


class Bench:
    """A folder in which damaged files are laid, and read one after the other."""

    def __init__(self, folder: Path, seed: int, seconds: float) -> None:
        self.folder, self.seed, self.seconds = folder, seed, seconds
        self.worker = Worker(seconds)
        save_models(folder)
        self.sound = write_sound(folder, self.worker)
        self.right = {name: self._embed_sound(file) for name, file in self.sound.items()}

    def try_h5ad(self, number: int) -> Iterator[Outcome]:
        """Damage a file of counts and read it."""
        rng = np.random.default_rng([self.seed, 0, number])
        name = f"{rng.choice(LAYOUTS, p=[0.5, 0.3, 0.2])}-{rng.choice(COMPRESSIONS)}.h5ad"
        file = copy_sound(self.sound[name], self.folder / "bad.h5ad")
        yield from self._try(number, name, file, damage_h5ad(file, rng))
        file.unlink()

    def try_dataset(self, number: int) -> Iterator[Outcome]:
        """Damage a tokenized dataset and read it."""
        rng = np.random.default_rng([self.seed, 1, number])
        name = "tokens.dataset"
        folder = copy_sound(self.sound[name], self.folder / "bad.dataset")
        yield from self._try(number, name, folder, damage_dataset_folder(folder, rng))
        shutil.rmtree(folder)

    def _try(self, number: int, name: str, file: Path, mutation: Mutation) -> Iterator[Outcome]:
        for command, words in _commands(file.name).items():
            ended = self.worker.run(words, self.folder)
            vectors = read_vectors(self.folder / "out.npy") if command == "embed" else None
            outcome = self._judge(ended, words, vectors, name, file)
            detail = ended.get("message", ended.get("crash", ""))
            yield Outcome(number, mutation.kind, mutation.part, name, command, outcome, detail)

    def _judge(
        self, ended: dict[str, Any], words: list[str], vectors: Any, name: str, file: Path
    ) -> str:
        if "crash" in ended:
            return "crash"
        if "hangs" in ended:
            return self._stop(words)
        if ended["status"] == 2 and "Traceback" not in ended["message"]:
            return "refused"
        if ended["status"] != 0:
            return "traceback"
        return "read" if vectors is None else self._compare(vectors, name, file)

    def _stop(self, words: list[str]) -> str:
        seconds = stop_command(words, self.folder, self.seconds)
        if seconds is None:
            return "slow"
        # A margin over what is promised: the machine may be busy.
        return "stopped by SIGTERM" if seconds < 1.5 * SECONDS_TO_END else "not stopped"

    def _compare(self, vectors: Any, name: str, file: Path) -> str:
        right = self.right[name]
        if len(vectors) != len(right):
            return "cells lost"
        if np.array_equal(vectors, right, equal_nan=True):
            return "read"
        lost = np.isnan(vectors).any(axis=1) & ~np.isnan(right).any(axis=1)
        if lost.any() and not _says_so(self.sound[name], file):
            return "cells lost"
        return "read, other values"

    def _embed_sound(self, file: Path) -> Any:
        ended = self.worker.run(_commands(file.name)["embed"], self.folder)
        assert ended.get("status") == 0, ended
        return read_vectors(self.folder / "out.npy")


def _commands(name: str) -> dict[str, list[str]]:
    embed = ["embed", name, "-o", "out.npy", "-m", "model", "--dtype", "float32", "--overwrite"]
    if name.endswith(".dataset"):
        return {"embed": embed}
    return {"inspect": ["inspect", name, "-m", "model"], "embed": embed}


def _says_so(sound: Path, damaged: Path) -> bool:
    """Whether values or names of genes were changed, and nothing that says where the values lie.

    Then a file holds other counts, or other genes, than it did; no reader can tell.
    """
    if sound.is_dir():
        return False
    with suppress(OSError, KeyError), h5py.File(sound) as one, h5py.File(damaged) as other:
        places = [each for each in ("X/indptr", "X/indices") if each in one]
        return all(np.array_equal(one[each][()], other[each][()]) for each in places)
    return False


def table_of(outcomes: list[Outcome]) -> str:
    """Files by command and outcome, as markdown."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for each in outcomes:
        counted[f"{each.command} {Path(each.source).suffix}"][each.outcome] += 1
    lines = ["| read | files | " + " | ".join(OUTCOMES) + " |",
             "|---|---|" + "---|" * len(OUTCOMES)]  # fmt: skip
    for command, of_command in counted.items():
        cells = " | ".join(str(of_command[each]) for each in OUTCOMES)
        lines.append(f"| {command} | {of_command.total()} | {cells} |")
    return "\n".join(lines)


def told(outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
    """Print the bad ones as they come."""
    for each in outcomes:
        if each.outcome in BAD:
            print(json.dumps(asdict(each)), flush=True)
        yield each


def main() -> int:
    """Damage and read, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.fuzz")
    parser.add_argument("--files", type=int, default=1000, help="damaged .h5ad files")
    parser.add_argument("--datasets", type=int, default=300, help="damaged tokenized datasets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seconds", type=float, default=15, help="what one command may take")
    parser.add_argument("--output", type=Path, help="a JSON file with every outcome")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given.seed, given.seconds)
        attempts = ((bench.try_h5ad, given.files), (bench.try_dataset, given.datasets))
        found = [outcome for attempt, n_files in attempts
                 for number in range(given.first, given.first + n_files)
                 for outcome in told(attempt(number))]  # fmt: skip
        bench.worker.close()
    print(table_of(found))
    if given.output:
        given.output.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    return int(any(each.outcome in BAD for each in found))


if __name__ == "__main__":
    sys.exit(main())
