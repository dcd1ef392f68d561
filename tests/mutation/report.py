"""What became of the mutants: ``python tests/mutation/report.py [--write]``, after ``mutmut run``.

Prints a table by module, and each mutant that no test noticed and ``survivors.toml`` does not name.
Ends with status 1 where there is one, or where fewer than nine in ten were noticed. ``--write``
puts the table into docs/developing.md.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

ROOT = Path(__file__).resolve().parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
PAGE = ROOT / "docs" / "developing.md"
BEGINNING, END = "<!-- mutants: written by tests/mutation/report.py -->\n", "<!-- /mutants -->\n"
HEAD = (
    "| module | mutants | tried | noticed | share | survivors | of these named |\n"
    "|---|---|---|---|---|---|---|\n"
)
LEAST_SHARE = 0.9
UNNOTICED = ("survived", "no tests", "suspicious")


@dataclass(frozen=True)
class Mutant:
    """One fault that mutmut planted, in a function of a module, and what became of it."""

    name: str
    path: Path
    module: str
    function: str
    status: str

    def change(self) -> str:
        """The lines that the mutant has in place of the function's own, as one line."""
        lines = get_diff_for_mutant(self.name, path=self.path).splitlines()[2:]
        new = [line[1:].strip() for line in lines if line.startswith("+")]
        old = [line[1:].strip() for line in lines if line.startswith("-")]
        return " ".join(new) or "without: " + " ".join(old)


def read_mutants() -> Iterator[Mutant]:
    """All mutants of the last run, by module."""
    for path in sorted(walk_mutatable_files()):
        found = SourceFileMutationData(path=path)
        found.load()
        module = ".".join(path.with_suffix("").parts[2:])
        for name, exit_code in found.exit_code_by_key.items():
            function, of_class = orig_function_and_class_names_from_key(name)
            place = ".".join(filter(None, (module, of_class, function)))
            yield Mutant(name, path, module, place, status_by_exit_code[exit_code])


def read_survivors() -> dict[tuple[str, str], str]:
    """Function and change → why the mutant may stay, from ``survivors.toml``."""
    entries = tomllib.loads(SURVIVORS.read_text())["survivors"]
    return {
        (function, change): entry["why"]
        for entry in entries
        for function, changes in entry["mutants"].items()
        for change in changes
    }


def sort_survivors(
    mutants: Iterable[Mutant], known: Mapping[tuple[str, str], str]
) -> tuple[list[Mutant], dict[Mutant, str], set[tuple[str, str]]]:
    """Survivors that are named, those that are not with their change, and names not needed."""
    named: list[Mutant] = []
    new: dict[Mutant, str] = {}
    met = set()
    mutants = list(mutants)
    untried = {each.function for each in mutants if each.status == "not checked"}
    for mutant in mutants:
        if mutant.status in UNNOTICED:
            change = mutant.change()
            if (mutant.function, change) in known:
                named.append(mutant)
                met.add((mutant.function, change))
            else:
                new[mutant] = change
    return named, new, {each for each in set(known) - met if each[0] not in untried}


def table(mutants: Iterable[Mutant], named: Iterable[Mutant]) -> str:
    """A row a module, and one for all, as Markdown; of a sample it says of how many."""
    all_of, run_of, alive_of = Counter[str](), Counter[str](), Counter[str]()
    for mutant in mutants:
        all_of[mutant.module] += 1
        run_of[mutant.module] += mutant.status != "not checked"
        alive_of[mutant.module] += mutant.status in UNNOTICED
    named_of = Counter(mutant.module for mutant in named)
    counters = all_of, run_of, alive_of, named_of
    rows = [(f"`{each}`", *(counter[each] for counter in counters)) for each in sorted(all_of)]
    rows.append(("**all**", *(counter.total() for counter in counters)))
    return HEAD + "".join(
        f"| {name} | {n:,} | {n_run:,} | {n_run - alive:,} | {(n_run - alive) / max(n_run, 1):.1%} "
        f"| {alive} | {why} |\n"
        for name, n, n_run, alive, why in rows
    )


def write_table(text: str) -> None:
    """Put the table where the page has the last one."""
    before, rest = PAGE.read_text().split(BEGINNING)
    PAGE.write_text(before + BEGINNING + text + END + rest.split(END)[1])


def main(arguments: list[str]) -> int:
    """Tell, write where asked to, and return the exit status."""
    mutants = list(read_mutants())
    named, new, not_needed = sort_survivors(mutants, read_survivors())
    found = table(mutants, named)
    print(found)
    for mutant, change in new.items():
        print(f"{mutant.status}, not named: {mutant.function}\n    {change}\n    {mutant.name}")
    for function, change in sorted(not_needed):
        print(f"named, but noticed or gone: {function}\n    {change}")
    if "--write" in arguments:
        write_table(found)
    n_checked = sum(mutant.status != "not checked" for mutant in mutants)
    share = 1 - (len(named) + len(new)) / max(n_checked, 1)
    return int(bool(new) or share < LEAST_SHARE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
