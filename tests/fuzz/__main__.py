"""Damaged files of every kind that is read: ``python -m tests.fuzz --help``.

Each case is a sound file or folder that was damaged in a way drawn by its number, and is read in a
process that can be killed. Ends with status 1 where one crashed, hung, ended in a traceback, took
memory without bound, ran code, read another file, or gave a wrong result without a word.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from tests.fuzz.bench import Bench, Outcome, share_out
from tests.fuzz.cases import BAD, OUTCOMES
from tests.fuzz.loaders import LOADERS


def table_of(outcomes: Iterable[Outcome]) -> str:
    """Cases by loader and outcome, as markdown."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for each in outcomes:
        counted[each.case.rpartition(":")[0]][each.answer.outcome] += 1
    counted["all"] = sum(counted.values(), Counter())
    lines = ["| read | cases | " + " | ".join(OUTCOMES) + " |",
             "|---|---|" + "---|" * len(OUTCOMES)]  # fmt: skip
    for name, of_loader in counted.items():
        cells = " | ".join(f"{of_loader[each]:,}" for each in OUTCOMES)
        lines.append(f"| {name} | {of_loader.total():,} | {cells} |")
    return "\n".join(lines)


def main() -> int:
    """Damage and read, print the bad ones as they come and the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.fuzz")
    names = [each.name for each in LOADERS]
    parser.add_argument("--cases", type=int, default=5000, help="of all loaders together")
    parser.add_argument("--loaders", nargs="+", choices=names, default=names)
    parser.add_argument("--again", nargs="+", metavar="LOADER:NUMBER", help="only these cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5, help="what one read may take")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="an empty folder for sound and damaged files")
    parser.add_argument("--output", type=Path, help="a JSON file with every outcome")
    given = parser.parse_args()
    cases = share_out(given.cases, tuple(each for each in LOADERS if each.name in given.loaders))
    if given.again:
        cases = [(name, int(number)) for name, _, number in
                 (each.rpartition(":") for each in given.again)]  # fmt: skip
    loaders = tuple(dict.fromkeys(name for name, _ in cases))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder)
        bench = Bench(
            root.resolve(), loaders, seed=given.seed, seconds=given.seconds, n_workers=given.workers
        )
        for each in bench.run(cases):
            found.append(each)
            if each.answer.outcome in BAD or given.again:
                print(json.dumps(each.as_document()), flush=True)
        bench.close()
    print(table_of(found))
    if given.output:
        documents = [each.as_document() for each in found]
        given.output.write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    return int(any(each.answer.outcome in BAD for each in found))


if __name__ == "__main__":
    sys.exit(main())
