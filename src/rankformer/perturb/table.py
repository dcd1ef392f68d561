"""Results of perturbation as tidy tables: a row an edited cell, or a row an affected gene."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.perturb.perturber import PerturbedCells, Perturber
from rankformer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

Columns = dict[str, Any]
"""Name → (n_rows,) numpy array, or pandas' where values may be missing."""
TABLE_COLUMNS = (
    "ensembl_id", "symbol", "type", "method", "rank", "n_genes", "cosine", "gene_cosine",
)  # fmt: skip
JOINED_BY = "+"


class PerturbationTable:
    """Makes rows of what was perturbed.

    Columns: ``cell``; ``source`` where there are several; ``ensembl_id`` and ``symbol`` of the gene
    perturbed, those of a group joined by ``+``; ``type``; ``method``, ``exact`` or ``screen``
    (after a screen, what is run exactly has a row of each); ``rank``, from 1, of a single gene that
    the cell expresses, else missing; ``n_genes`` of the unperturbed cell; ``cosine`` of the
    perturbed cell's embedding and the unperturbed one's; ``gene_cosine``, the mean of the other
    genes' own cosines (not with the read-out ``"cls"``, nor of a screen); and ``shift_to_STATE``
    for each state.

    Parameters
    ----------
    perturber
        What perturbs them.
    names
        Column → (n_cells of all sources,) texts that tell cells apart.
    """

    def __init__(self, perturber: Perturber, names: Mapping[str, NDArray[np.object_]]) -> None:
        self.perturber, self.names = perturber, names
        vocabulary = perturber.embedder.checkpoint.vocabulary
        self.ids, self.symbols = _name_tokens(vocabulary)

    def columns(self, part: PerturbedCells) -> Columns:
        """The rows of some edits."""
        edits, own = part.edits, slice(part.start, part.stop)
        rows = part.rows[edits.cells[own]]
        ids, symbols = self._name_edits(part)
        n_tokens = np.diff(part.ragged[1])[edits.cells[own]]
        responses = part.responses
        columns: Columns = {
            **{name: column[rows] for name, column in self.names.items()},
            "ensembl_id": ids,
            "symbol": symbols,
            "type": np.full(len(rows), self.perturber.perturbation.kind, object),
            "method": np.full(len(rows), part.method, object),
            "rank": self._ranks(part),
            "n_genes": (n_tokens - self.perturber.exact.frame.n_tokens).astype(np.int32),
            "cosine": responses.cosines,
        }
        if responses.gene_cosines is not None and self.perturber.screen is None:
            columns["gene_cosine"] = responses.gene_cosines
        for name, shifts in zip(self.perturber.state_names, responses.shifts.T, strict=True):
            columns[f"shift_to_{name}"] = shifts
        return columns

    def affected(self, part: PerturbedCells, n_most: int | None) -> Columns:
        """The genes that moved most with each edit: a row each, the one that moved most first.

        Columns: those that tell cells apart, ``ensembl_id``, ``symbol``, ``affected_ensembl_id``,
        ``affected_symbol`` and ``cosine``, float32.

        Parameters
        ----------
        part
            Of a run with the read-out ``"gene"``.
        n_most
            The most genes for each edit; all unless given.
        """
        genes = part.responses.affected
        assert genes is not None  # noqa: S101  # of this read-out
        n_edits = part.stop - part.start
        edit_of = np.repeat(np.arange(n_edits), np.diff(genes.offsets))
        order = np.lexsort((genes.cosines, edit_of))
        if n_most is not None:
            place = np.arange(len(order)) - genes.offsets[edit_of]
            order = order[place < n_most]
        ids, symbols = self._name_edits(part)
        edit = edit_of[order]
        rows = part.rows[part.edits.cells[part.start : part.stop]][edit]
        return {
            **{name: column[rows] for name, column in self.names.items()},
            "ensembl_id": ids[edit],
            "symbol": symbols[edit],
            "affected_ensembl_id": self.ids[genes.tokens[order]],
            "affected_symbol": self.symbols[genes.tokens[order]],
            "cosine": genes.cosines[order],
        }

    def _name_edits(self, part: PerturbedCells) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        names = part.name_edits()
        if part.asked.anchor is not None:
            names = [(*each, part.asked.anchor) for each in names]
        if all(len(each) == 1 for each in names):
            tokens = np.array([each[0] for each in names], np.int64)
            return self.ids[tokens], self.symbols[tokens]
        joined = [
            np.array([JOINED_BY.join(table[list(each)]) for each in names], object)
            for table in (self.ids, self.symbols)
        ]
        return joined[0], joined[1]

    def _ranks(self, part: PerturbedCells) -> Any:
        """From 1; missing where there is no one rank."""
        edits, own = part.edits, slice(part.start, part.stop)
        first, sizes = edits.offsets[:-1][own], np.diff(edits.offsets)[own]
        ranks = edits.ranks[first]
        return pd.arrays.IntegerArray(ranks + 1, (sizes > 1) | (ranks < 0))


def gather(collected: Sequence[Columns]) -> pd.DataFrame:
    """All rows in memory, as a data frame: texts are categories."""
    names = list(collected[0]) if collected else []
    columns = {
        name: pd.concat([pd.Series(each[name]) for each in collected], ignore_index=True)
        for name in names
    }
    return pd.DataFrame(
        {
            name: column.astype("category") if column.dtype == object else column
            for name, column in columns.items()
        }
    )


def as_table(columns: Columns) -> "pa.Table":
    """Rows as a table of Arrow: each column has its type, also where all values are missing."""
    import pyarrow as pa

    return pa.table({
        name: pa.array(values, pa.string() if values.dtype == object else None)
        for name, values in columns.items()
    })  # fmt: skip


def _name_tokens(vocabulary: Vocabulary) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Token → Ensembl id, and token → symbol or, where there is none, the id."""
    ids = vocabulary.ensembl_id_of
    symbols = ids.copy()
    for ensembl_id, token in vocabulary.token_of.items():
        symbols[token] = vocabulary.symbol_of.get(ensembl_id, ensembl_id)
    return ids, symbols
