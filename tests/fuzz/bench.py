"""Many cases, by several processes beside one another."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.fuzz.loaders import LOADERS, Loader
from tests.fuzz.workers import Answer, Worker

MODULE = "tests.fuzz.cases"


@dataclass(frozen=True)
class Outcome:
    """Of which case what came."""

    case: str
    answer: Answer

    def as_document(self) -> dict[str, Any]:
        return {"case": self.case, **asdict(self.answer)}


class Bench:
    """A folder with sound ones, and processes that read damaged copies of them.

    Parameters
    ----------
    root
        An empty folder.
    loaders
        Names of those whose sound ones are made; all where none is given.
    seed
        Of all cases.
    seconds
        What one read may take.
    n_workers
        Processes beside one another.
    """

    def __init__(
        self, root: Path, loaders: tuple[str, ...] = (), *, seed: int = 0, seconds: float = 5.0,
        n_workers: int = 2, module: str = MODULE,
    ) -> None:  # fmt: skip
        self._seed = seed
        self._workers = [Worker(module, root, seconds) for _ in range(n_workers)]
        self._workers[0].prepare(loaders)

    def run(self, cases: Iterable[tuple[str, int]]) -> Iterator[Outcome]:
        """Outcomes in the order of the cases: a name of a loader and a number each."""
        free: SimpleQueue[Worker] = SimpleQueue()
        for worker in self._workers:
            free.put(worker)

        def run_one(case: tuple[str, int]) -> Outcome:
            worker = free.get()
            try:
                return self._run_one(worker, *case)
            finally:
                free.put(worker)

        with ThreadPoolExecutor(len(self._workers)) as pool:
            yield from pool.map(run_one, cases)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _run_one(self, worker: Worker, name: str, number: int) -> Outcome:
        answer = worker.run(name, self._seed, number)
        if answer.outcome == "crash":
            # What came before in the process may be the reason.
            again = worker.run(name, self._seed, number)
            if again.outcome != answer.outcome:
                answer = again
        return Outcome(f"{name}:{number}", answer)


def share_out(n_cases: int, loaders: tuple[Loader, ...] = LOADERS) -> list[tuple[str, int]]:
    """Cases of the loaders by their shares, those of one behind the other."""
    total = sum(each.share for each in loaders)
    return [(each.name, number) for each in loaders
            for number in range(max(1, round(n_cases * each.share / total)))]  # fmt: skip
