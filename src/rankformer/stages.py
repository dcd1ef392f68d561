"""The stages of a run that work side by side: how long each worked, and waited for the others."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Stage:
    """What one stage spends its time on. It is measured by one thread at a time.

    Attributes
    ----------
    worked
        Seconds of work.
    waited_for_input
        Seconds in which the stage before it had nothing for it yet.
    """

    def __init__(self) -> None:
        self.worked = self.waited_for_input = self._waited = 0.0
        self._ended: float | None = None

    @contextmanager
    def works(self) -> Iterator[None]:
        """Count the time of the block as work, but for what is waited within."""
        began, waited = time.perf_counter(), self._waited
        try:
            yield
        finally:
            self._ended = time.perf_counter()
            self.worked += self._ended - began - (self._waited - waited)

    @contextmanager
    def waits_for_input(self) -> Iterator[None]:
        """Count the time of the block as waiting for the stage before."""
        waited = self._waited
        try:
            with self.waits_for_room():
                yield
        finally:
            self.waited_for_input += self._waited - waited

    @contextmanager
    def waits_for_room(self) -> Iterator[None]:
        """Do not count the time of the block as work: the stage behind has yet to catch up."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - began

    def waited_for_room(self, began: float) -> float:
        """Seconds from `began` to its last work that were neither work nor waiting for input."""
        if self._ended is None:
            return 0.0
        return max(self._ended - began - self.worked - self.waited_for_input, 0.0)


class Stages:
    """The stages of a run, in the order in which its cells go through them.

    Parameters
    ----------
    names
        As they are told; each ends a sentence that begins with "The slowest stage was".

    Attributes
    ----------
    seconds
        From the beginning to `end`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._stages = {name: Stage() for name in names}
        self._began = time.perf_counter()
        self.seconds = 0.0

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def end(self) -> None:
        """All stages are through."""
        self.seconds = time.perf_counter() - self._began

    @property
    def slowest(self) -> str:
        """The stage that worked longest: the others waited for it."""
        return max(self._stages, key=lambda name: self._stages[name].worked)

    def figures(self) -> dict[str, Any]:
        """Plain values for a summary: of each stage the seconds of work and of waiting."""
        return {
            "slowest_stage": self.slowest,
            "seconds_of_stages": {
                name: {
                    "worked": round(each.worked, 3),
                    "waited_for_input": round(each.waited_for_input, 3),
                    "waited_for_room": round(each.waited_for_room(self._began), 3),
                }
                for name, each in self._stages.items()
            },
        }

    def __str__(self) -> str:
        """One sentence."""
        shares = {
            name: f"{each.worked / max(self.seconds, 1e-9):.0%}"
            for name, each in self._stages.items()
        }
        slowest = self.slowest
        others = [f"{name} for {share}" for name, share in shares.items() if name != slowest]
        return (
            f"The slowest stage was {slowest}, which worked for {shares[slowest]} of "
            f"{self.seconds:,.1f} s; {', '.join(others[:-1])} and {others[-1]}."
        )
