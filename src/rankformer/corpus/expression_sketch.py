"""How strongly each gene is expressed over any number of cells, in bounded memory.

A sketch holds for each gene how many cells have it at which expression, in logarithmic buckets. It
gives detection counts and non-zero medians, and sketches of parts of a corpus add up to that of
the whole, to the bit.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.corpus.log_buckets import (
    NO_GENE,
    NO_ROW,
    bucket_ends,
    bucket_values,
    count_cells,
    middle_buckets,
)
from rankformer.corpus.sketch_files import GENES_AT_ONCE, Block, read_sketch, write_sketch
from rankformer.errors import CountsError, GeneError
from rankformer.genes.identities import GeneIdentities
from rankformer.genes.species import species_of_gene_id, species_of_genes

_MOST_CELLS = 2**32 - 1  # a bucket counts to that


class ExpressionSketch:
    """Expression of genes over cells, to which cells and other sketches can be added.

    The expression of a gene in a cell is its counts per 10,000 counts of the cell. Memory is 3.7 kB
    a gene, whatever the number of cells. The method is DDSketch (Masson et al., PVLDB 12, 2195,
    2019).

    Attributes
    ----------
    n_cells
        Cells added, those without counts included.
    species
        Of the genes; None where there are none yet.
    symbols, biotypes
        Ensembl id → symbol, or biotype → cells of the sources that have it so.
    """

    def __init__(self) -> None:
        self.n_cells = 0
        self.species: str | None = None
        self.symbols: dict[str, Counter[str]] = {}
        self.biotypes: dict[str, Counter[str]] = {}
        self._ends = bucket_ends()
        self._row_of: dict[str, int] = {}
        self._buckets = np.zeros((0, len(self._ends)), np.uint32)

    def add_cells(self, chunks: Iterable[csr_matrix], genes: GeneIdentities) -> None:
        """Add the cells of a source.

        Parameters
        ----------
        chunks
            (n_cells, n_vars) CSR each, non-negative: counts, or counts scaled per cell.
        genes
            Which gene each variable is. Variables of one gene are summed. A cell's counts are
            those of all variables that are genes, with an Ensembl id or without.

        Raises
        ------
        GeneError
            If the genes are of another species than those of the sketch, or of several.
        CountsError
            If more than 4,294,967,295 cells come together.
        """
        rows = self._rows_of_variables(genes)
        before = self.n_cells
        for counts in chunks:
            _check_room(self.n_cells + counts.shape[0])
            data = counts.data
            data = data if data.dtype == np.float32 else data.astype(np.float64, copy=False)
            indptr = counts.indptr.astype(np.int64, copy=False)
            indices = counts.indices.astype(np.int32, copy=False)
            count_cells(data, indices, indptr, rows, self._ends, self._buckets)
            self.n_cells += counts.shape[0]
        n_cells = self.n_cells - before
        _add_names(self.symbols, _with_cells(genes.symbols, n_cells))
        _add_names(self.biotypes, _with_cells(genes.biotypes, n_cells))

    def merge(self, other: "ExpressionSketch") -> None:
        """Add the cells of another sketch, which stays as it is.

        The order in which sketches are merged does not matter, to the bit.

        Raises
        ------
        GeneError
            If `other` is of another species.
        CountsError
            If more than 4,294,967,295 cells come together.
        """
        _check_room(self.n_cells + other.n_cells)
        self.add_block(tuple(other._row_of), other._buckets)
        self.n_cells += other.n_cells
        _add_names(self.symbols, other.symbols)
        _add_names(self.biotypes, other.biotypes)

    @property
    def ensembl_ids(self) -> tuple[str, ...]:
        """The genes met, ascending."""
        return tuple(sorted(self._row_of))

    @property
    def n_buckets(self) -> int:
        return len(self._ends)

    def n_cells_of_genes(self) -> NDArray[np.int64]:
        """(n_genes,) cells in which each gene is not zero, in the order of `ensembl_ids`."""
        n_cells: NDArray[np.int64] = self._buckets.sum(axis=1, dtype=np.int64)[self._order()]
        return n_cells

    def medians(self) -> NDArray[np.float64]:
        """(n_genes,) median expression over the cells where a gene is not zero, by `ensembl_ids`.

        Within 1 % of the exact median, relatively, from 1e-4 counts per 10,000 on; NaN for a gene
        that no cell has. Of an even number of cells it is the mean of the middle two.
        """
        low, high = np.empty((2, len(self._buckets)), np.int64)
        middle_buckets(self._buckets, low, high)
        values = np.append(bucket_values(self._ends), np.nan)
        medians: NDArray[np.float64] = ((values[low] + values[high]) / 2)[self._order()]
        return medians

    def blocks(self, n_genes: int) -> Iterator[tuple[tuple[str, ...], NDArray[np.uint32]]]:
        """Give `n_genes` at a time, ascending: their ids and (n, n_buckets) cells in buckets."""
        genes, order = self.ensembl_ids, self._order()
        for start in range(0, len(genes), n_genes):
            yield genes[start : start + n_genes], self._buckets[order[start : start + n_genes]]

    def add_block(self, ensembl_ids: Sequence[str], buckets: NDArray[np.uint32]) -> None:
        """Add to what `blocks` gives; the cells themselves are counted in `n_cells`."""
        rows = self._take_rows(ensembl_ids)  # which may put a larger array in place
        self._buckets[rows] += buckets

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained file, in the place of one that was there; whole or not at all.

        Equal sketches give equal files, in whatever order they were filled.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        return write_sketch(Path(path), self.n_cells, self.n_buckets, self._blocks)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ExpressionSketch":
        """Read a file that `save` wrote.

        Raises
        ------
        VocabularyError
            If it is none, or damaged.
        """
        sketch = cls()
        sketch.n_cells = read_sketch(Path(path), sketch.n_buckets, sketch._add)
        return sketch

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExpressionSketch):
            return NotImplemented
        return (
            (self.n_cells, self.ensembl_ids) == (other.n_cells, other.ensembl_ids)
            and (self.symbols, self.biotypes) == (other.symbols, other.biotypes)
            and np.array_equal(self._buckets[self._order()], other._buckets[other._order()])
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"ExpressionSketch({len(self._row_of):,} genes over {self.n_cells:,} cells)"

    def _blocks(self) -> Iterator[Block]:
        """What a file holds, some genes at a time; genes and their names in ascending order."""
        for genes, buckets in self.blocks(GENES_AT_ONCE):
            symbols = [sorted(self.symbols.get(gene, {}).items()) for gene in genes]
            biotypes = [sorted(self.biotypes.get(gene, {}).items()) for gene in genes]
            yield genes, buckets, symbols, biotypes

    def _add(self, block: Block) -> None:
        genes, buckets, symbols, biotypes = block
        self.add_block(genes, buckets)
        for known, names in ((self.symbols, symbols), (self.biotypes, biotypes)):
            found = zip(genes, names, strict=True)
            known.update({gene: Counter(dict(each)) for gene, each in found if each})

    def _order(self) -> list[int]:
        return [self._row_of[gene] for gene in self.ensembl_ids]

    def _rows_of_variables(self, genes: GeneIdentities) -> NDArray[np.int32]:
        """(n_vars,) the row of each variable's gene, `NO_ROW` or `NO_GENE`."""
        rows = np.where(genes.is_gene, NO_ROW, NO_GENE).astype(np.int32)
        has_id = np.array([each is not None for each in genes.ensembl_ids], bool) & genes.is_gene
        rows[has_id] = self._take_rows(genes.ensembl_ids[has_id].tolist())
        return rows

    def _take_rows(self, ensembl_ids: Sequence[str]) -> NDArray[np.int64]:
        self._expect_one_species(ensembl_ids)
        rows = [self._row_of.setdefault(gene, len(self._row_of)) for gene in ensembl_ids]
        more = np.zeros((len(self._row_of) - len(self._buckets), self.n_buckets), np.uint32)
        if len(more):
            self._buckets = np.concatenate([self._buckets, more])
        return np.array(rows, np.int64)

    def _expect_one_species(self, ensembl_ids: Sequence[str]) -> None:
        if not len(ensembl_ids):
            return
        own = self.species or species_of_genes(ensembl_ids)
        other = [gene for gene in ensembl_ids if species_of_gene_id(gene) not in (own, None)]
        if other:
            raise GeneError(
                f"{len(other):,} of {len(ensembl_ids):,} Ensembl ids are of "
                f"{species_of_genes(other)} ({other[0]}), but the vocabulary's genes are of {own}.",
                "Cells of one species.",
                "Leave the other files out, or keep only the variables of one species.",
            )
        self.species = own


def _check_room(n_cells: int) -> None:
    if n_cells > _MOST_CELLS:
        raise CountsError(
            f"{n_cells:,} cells were to be put into one sketch.",
            f"At most {_MOST_CELLS:,} cells.",
            "Leave some of them out: medians of that many cells do not change any more.",
        )


def _with_cells(
    names: Mapping[str, Iterable[str]], n_cells: int
) -> Mapping[str, Mapping[str, int]]:
    return {gene: dict.fromkeys(each, n_cells) for gene, each in names.items()}


def _add_names(known: dict[str, Counter[str]], names: Mapping[str, Mapping[str, int]]) -> None:
    for gene, each in names.items():
        known.setdefault(gene, Counter()).update(each)
