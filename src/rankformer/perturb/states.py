"""Cell states that perturbed cells are compared with: the embeddings of their cells, summed up."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import read_class_names, require_column
from rankformer.embed.embedder import Embedder
from rankformer.embed.settings import CellMode
from rankformer.errors import SettingsError
from rankformer.perturb.settings import States
from rankformer.progress import Progress
from rankformer.ragged import select_rows
from rankformer.read_ahead import read_ahead
from rankformer.tokens.token_sources import TokenSource

logger = logging.getLogger(__name__)


def read_states(streams: Sequence[TokenSource], states: States) -> list[NDArray[np.object_]]:
    """The state of each cell, source by source.

    Raises
    ------
    SettingsError
        If the column is missing, or a state has no cell.
    """
    found = []
    for stream in streams:
        require_column(stream.obs, states.state, "--state", f"obs of {stream.name}")
        names = read_class_names(stream.obs[states.state], f"obs[{states.state!r}]")
        names[~stream.kept] = None
        found.append(names)
    counts = pd.Series(np.concatenate(found)).value_counts()
    absent = [name for name in states.names if name not in counts]
    if absent:
        raise SettingsError(
            f"No cell has the state {' or '.join(absent)} in obs[{states.state!r}].",
            f"One of {', '.join(map(str, counts.index[:20]))}.",
            "Correct the state (--start, --goal, --alternative).",
        )
    for name in states.names:
        logger.info("State %s: %s cells.", name, f"{counts[name]:,}")
    return found


def embed_states(
    streams: Sequence[TokenSource],
    state_of_cells: Sequence[NDArray[np.object_]],
    states: States,
    embedder: Embedder,
    mode: CellMode,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """The embedding of each state: (n_states, d_model), in the order of `States.names`.

    Cells without genes of the vocabulary take no part. Of a mean only sums are kept in memory, of a
    median the embeddings of its cells.
    """
    sums: Mapping[str, _Sum | _Median] = {
        name: (_Sum if states.state_statistic == "mean" else _Median)() for name in states.names
    }
    for stream, names in zip(streams, state_of_cells, strict=True):
        wanted = pd.Series(names).isin(states.names).to_numpy()
        with read_ahead(stream.parts()) as parts:
            for part in parts:
                own = np.flatnonzero(wanted[part.rows])
                ragged = part.cells.ragged(0, len(part.rows))
                chosen = select_rows(ragged, own)
                for start, stop, vectors in embedder.cell_batches(chosen, mode):
                    own_names = names[part.rows[own[start:stop]]]
                    for name in states.names:
                        sums[name].add(vectors[own_names == name])
                    if progress:
                        progress(stop - start)
    empty = [name for name, each in sums.items() if not each.n_cells]
    if empty:
        raise SettingsError(
            f"No cell of the state {' or '.join(empty)} expresses a gene of the vocabulary.",
            "Cells with genes of the vocabulary in each state.",
            "Choose other states, or check the counts.",
        )
    return np.array([sums[name].result() for name in states.names])


class _Sum:
    def __init__(self) -> None:
        self.n_cells = 0
        self.total: Any = 0.0

    def add(self, vectors: NDArray[np.float32]) -> None:
        vectors = vectors[np.isfinite(vectors[:, 0])]
        self.n_cells += len(vectors)
        self.total = self.total + vectors.sum(axis=0, dtype=np.float64)

    def result(self) -> NDArray[np.float64]:
        return np.asarray(self.total / self.n_cells)


class _Median:
    def __init__(self) -> None:
        self.parts: list[NDArray[np.float32]] = []

    @property
    def n_cells(self) -> int:
        return sum(map(len, self.parts))

    def add(self, vectors: NDArray[np.float32]) -> None:
        self.parts.append(vectors[np.isfinite(vectors[:, 0])])

    def result(self) -> NDArray[np.float64]:
        return np.median(np.concatenate(self.parts), axis=0).astype(np.float64)
