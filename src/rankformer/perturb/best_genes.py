"""Which perturbations of a screen do most, over all cells."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
# A mean over fewer cells says little of a gene.
_LEAST_CELLS = 3


class MeanEffects(Generic[_Key]):
    """The mean effect of each perturbation over cells, as they come."""

    def __init__(self) -> None:
        self.sums: dict[_Key, float] = {}
        self.counts: Counter[_Key] = Counter()

    def add(self, keys: Sequence[_Key], effects: Iterable[float]) -> None:
        """Add effects, each of the perturbation of its key."""
        for key, effect in zip(keys, effects, strict=True):
            self.sums[key] = self.sums.get(key, 0.0) + effect
            self.counts[key] += 1

    def best(self, n_best: int) -> list[_Key]:
        """Those of largest mean, over at least some cells."""
        least = min(_LEAST_CELLS, max(self.counts.values()))
        keys = [key for key, n in self.counts.items() if n >= least]
        keys.sort(key=lambda key: -self.sums[key] / self.counts[key])
        return keys[:n_best]
