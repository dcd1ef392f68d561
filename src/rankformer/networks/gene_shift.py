"""Which genes' contextual embeddings differ most between two states of cells.

A gene's embedding depends on the cell that it stands in. Between two states the means of a gene's
embeddings lie apart by some angle in any case, and the more so the fewer cells have the gene; so
the angle is compared with those of cells whose states were permuted.
"""

import logging
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import read_class_names, require_column
from rankformer.embed.cells import check_fits, describe_run
from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_summary import next_places
from rankformer.errors import SettingsError
from rankformer.networks.settings import ShiftSettings
from rankformer.perturb.chosen_cells import count_cells_with_genes, draw_cells, read_blocks
from rankformer.progress import show_progress
from rankformer.scratch import release_pages, scratch_array
from rankformer.tokens.token_sources import TokenSource

logger = logging.getLogger(__name__)
# Of permuted means that are in memory at once.
_BYTES_AT_ONCE = 256 * 2**20
_ROUNDING = 1e-6


def compare_states(
    stream: TokenSource, embedder: Embedder, settings: ShiftSettings
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Measure how far the contextual embedding of each gene differs between two states.

    Parameters
    ----------
    stream
        The cells.
    embedder
        The model.
    settings
        See `ShiftSettings`.

    Returns
    -------
    A row a gene, the most certain first: ``ensembl_id``, ``symbol``, ``n_start`` and ``n_goal``
    cells that have it, ``shift``, 1 - cosine of its mean embeddings in the two states,
    ``expected``, the mean shift with permuted states, ``excess``, what is beyond it, ``z_score``,
    the excess by their standard deviation, ``p_value``, the share of permutations, itself included,
    with a shift as large, and ``q_value`` (Benjamini-Hochberg). Of equally certain genes that of
    larger excess is first. And model, settings and source, as plain values.

    Raises
    ------
    SettingsError
        If a column or state is missing, or no gene has cells enough.
    OutputError
        If the temporary file of 4 * d_model bytes a token does not fit on the disk.
    """
    check_fits(stream, embedder)
    rows, is_goal, strata = _choose(stream, settings)
    ranks = np.full(len(stream), -1)
    ranks[rows] = np.arange(len(rows))
    with tempfile.TemporaryDirectory(prefix="rankformer-") as folder:
        genes = _VectorsByGene.gather(stream, rows, embedder, Path(folder))
        table = genes.compare(ranks, is_goal, strata, settings)
    vocabulary = embedder.checkpoint.vocabulary
    ids = vocabulary.ensembl_id_of[table["token"]]
    symbols = [vocabulary.symbol_of.get(each, each) for each in ids]
    named = pd.DataFrame({"ensembl_id": ids, "symbol": symbols})
    provenance = {
        **describe_run(embedder, "cell", [stream]), "n_cells": len(rows),
        "gene_shift": {k: v for k, v in asdict(settings).items() if v is not None},
    }  # fmt: skip
    return _test(pd.concat([named, table.drop(columns="token")], axis=1)), provenance


def _choose(
    stream: TokenSource, settings: ShiftSettings
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Rows of the cells, ascending; which are of the goal; and the stratum of each."""
    require_column(stream.obs, settings.state, "state", f"obs of {stream.name}")
    names = read_class_names(stream.obs[settings.state], f"obs[{settings.state!r}]")
    chosen = []
    for state in (settings.start, settings.goal):
        own = (names == state) & stream.kept
        if not own.any():
            known = pd.Series(names).dropna().unique()
            raise SettingsError(
                f"No cell has the state {state} in obs[{settings.state!r}].",
                f"One of {', '.join(map(str, known[:20]))}.",
                "Correct start or goal.",
            )
        chosen.append(draw_cells([own], settings.n_cells, settings.seed)[0])
    rows = np.sort(np.concatenate(chosen))
    strata = np.zeros(len(rows), np.int64)
    if settings.within is not None:
        require_column(stream.obs, settings.within, "within", f"obs of {stream.name}")
        strata = pd.factorize(stream.obs[settings.within].astype(str).to_numpy()[rows])[0]
    is_goal = np.asarray(names[rows] == settings.goal, bool)
    shared = np.intersect1d(strata[is_goal], strata[~is_goal])
    if settings.within is not None:
        logger.info(
            "States are permuted among %s of %s cells, whose %s has cells of both.",
            f"{np.isin(strata, shared).sum():,}", f"{len(rows):,}", settings.within,
        )  # fmt: skip
    if not len(shared):
        raise SettingsError(
            f"No value of obs[{settings.within!r}] has cells of both states.",
            "Some with cells of both, among which states are permuted.",
            "Name another column (within), or none.",
        )
    return rows, is_goal, strata


def _permute(
    is_goal: NDArray[np.bool_],
    strata: NDArray[np.int64],
    n_permutations: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """(n_permutations, n_cells): which cells are the goal's, permuted within each stratum."""
    permuted = np.tile(is_goal, (n_permutations, 1))
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        permuted[:, own] = rng.permuted(permuted[:, own], axis=1)
    return permuted


@dataclass(frozen=True, eq=False)
class _VectorsByGene:
    """Vectors of all genes of some cells, laid out by gene.

    Attributes
    ----------
    tokens
        (n_genes,) the genes that occur.
    offsets
        (n_genes + 1,) where each begins.
    cells
        (n_vectors,) the cell of each vector, as it was counted in `gather`.
    vectors
        (n_vectors, d_model) float32, mapped from a file.
    """

    tokens: NDArray[np.int64]
    offsets: NDArray[np.int64]
    cells: NDArray[np.int64]
    vectors: NDArray[np.float32]

    @classmethod
    def gather(
        cls, stream: TokenSource, rows: NDArray[np.int64], embedder: Embedder, folder: Path
    ) -> "_VectorsByGene":
        n_cells = count_cells_with_genes([stream], [rows], embedder)
        starts = np.concatenate([[0], np.cumsum(n_cells)])
        vectors = scratch_array(folder / "vectors", (int(starts[-1]), embedder.d_model))
        cells, at = np.empty(starts[-1], np.int64), starts[:-1].copy()
        with show_progress(len(rows), "Embedding genes") as progress:
            for own, ragged in read_blocks([stream], [rows], embedder):
                for batch in embedder.genes(ragged):
                    of_batch = own[batch.start : batch.start + len(batch.offsets) - 1]
                    places = next_places(batch.tokens, at)
                    cells[places] = np.repeat(of_batch, np.diff(batch.offsets))
                    vectors[places] = batch.vectors
                    release_pages(vectors)
                    progress(len(of_batch))
        tokens = np.flatnonzero(n_cells)
        return cls(tokens, np.append(starts[tokens], starts[-1]), cells, vectors)

    def compare(
        self,
        place_of_row: NDArray[np.int64],
        is_goal: NDArray[np.bool_],
        strata: NDArray[np.int64],
        settings: ShiftSettings,
    ) -> pd.DataFrame:
        """Shifts of the genes that enough cells of both states have, beside permuted ones.

        States are permuted among the cells that have the gene: a mean of few cells is noisier, and
        each state keeps as many.
        """
        rng = np.random.default_rng(settings.seed)
        found = []
        for token, start, stop in zip(
            self.tokens, self.offsets[:-1], self.offsets[1:], strict=True
        ):
            places = place_of_row[self.cells[start:stop]]
            own = is_goal[places]
            n_goal = int(own.sum())
            if min(n_goal, len(own) - n_goal) < settings.min_cells:
                continue
            vectors = self.vectors[start:stop]
            shift = float(_shifts(vectors, own[None])[0])
            permuted = _permute(own, strata[places], settings.n_permutations, rng)
            null = _shifts(vectors, permuted)
            # Where a permutation gives back the states as they are, sums may differ by rounding.
            n_as_large = (null >= shift - _ROUNDING).sum()
            p_value = (1 + n_as_large) / (1 + len(null))
            spread = null.std()
            found.append((
                int(token), len(own) - n_goal, n_goal, shift, null.mean(), shift - null.mean(),
                (shift - null.mean()) / spread if spread > _ROUNDING else np.nan, p_value,
            ))  # fmt: skip
        if not found:
            raise SettingsError(
                f"No gene of the vocabulary is in {settings.min_cells:,} cells of each state.",
                "At least one gene.",
                "Take more cells, or lower min_cells.",
            )
        names = ["token", "n_start", "n_goal", "shift", "expected"]
        names += ["excess", "z_score", "p_value"]
        return pd.DataFrame(found, columns=names)


def _shifts(vectors: NDArray[np.float32], is_goal: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 - cosine of the means of two groups, of which none is empty, for each row of `is_goal`."""
    shifts = np.empty(len(is_goal))
    total = vectors.sum(axis=0, dtype=np.float64)
    n_at_once = max(_BYTES_AT_ONCE // (16 * (vectors.shape[1] + len(vectors))), 1)
    for start in range(0, len(is_goal), n_at_once):
        goal = (is_goal[start : start + n_at_once].astype(np.float32) @ vectors).astype(np.float64)
        rest = total - goal
        lengths = np.linalg.norm(goal, axis=1) * np.linalg.norm(rest, axis=1)
        shifts[start : start + n_at_once] = 1 - (goal * rest).sum(axis=1) / lengths
    return shifts


def _test(table: pd.DataFrame) -> pd.DataFrame:
    from scipy.stats import false_discovery_control

    table["q_value"] = false_discovery_control(table["p_value"])
    order = np.lexsort((-table["excess"].to_numpy(), table["p_value"].to_numpy()))
    return table.iloc[order].reset_index(drop=True)
