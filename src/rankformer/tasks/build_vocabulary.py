"""Cells in, a vocabulary out: one pass over any number of cells in bounded memory."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from rankformer.data.cells import CellSource, find_files, open_cells
from rankformer.data.expression_sketch import ExpressionSketch
from rankformer.data.gene_identities import identify_genes
from rankformer.errors import VocabularyError
from rankformer.tasks.progress import Progress, show_progress
from rankformer.vocabulary import CLS, EOS, MASK, PAD, Vocabulary

if TYPE_CHECKING:
    from anndata import AnnData

CHUNK_CELLS = 2048


def build_vocabulary(
    sources: "Sequence[AnnData | ExpressionSketch | str | os.PathLike[str]]",
    *,
    min_cells: int = 10,
    special_tokens: bool = True,
    input_length: int | None = None,
    name: str = "custom",
) -> Vocabulary:
    """Make a vocabulary of the cells of a corpus.

    Parameters
    ----------
    sources
        AnnData, files or folders of counts, sketches.
    min_cells
        Cells in which a gene must be non-zero to get a token.
    special_tokens
        Frame cells with ``<cls>`` and ``<eos>``, as V2 models do.
    input_length
        The most tokens of a cell; 4096 with special tokens, else 2048, unless given.
    name
        What the vocabulary is called.
    """
    sketch = sketch_expression(sources)
    return vocabulary_of(
        sketch,
        min_cells=min_cells,
        special_tokens=special_tokens,
        input_length=input_length,
        name=name,
    )


def sketch_expression(
    sources: "Sequence[AnnData | ExpressionSketch | str | os.PathLike[str]]",
) -> ExpressionSketch:
    """Sketch the expression of all cells of the sources, a chunk of cells at a time."""
    sketch = ExpressionSketch()
    for source in sources:
        if isinstance(source, ExpressionSketch):
            sketch.merge(source)
            continue
        files = find_files([source]) if isinstance(source, str | os.PathLike) else [source]
        for file in files:
            with (
                closing(open_cells(file)) as cells,
                show_progress(cells.n_cells, "Reading cells") as progress,
            ):
                sketch.add_cells(_read(cells, progress), identify_genes(cells.var))
    return sketch


def vocabulary_of(
    sketch: ExpressionSketch,
    *,
    min_cells: int = 10,
    special_tokens: bool = True,
    input_length: int | None = None,
    name: str = "custom",
) -> Vocabulary:
    """Make a vocabulary of a sketch: special tokens first, then genes by ascending Ensembl id."""
    kept = sketch.n_cells_of_genes() >= max(min_cells, 1)
    genes = [gene for gene, keep in zip(sketch.ensembl_ids, kept, strict=True) if keep]
    if not genes:
        raise VocabularyError(
            f"No gene is met in {min_cells:,} of {sketch.n_cells:,} cells.",
            "At least one gene for the vocabulary.",
            "Lower min_cells (--min-cells).",
        )
    special = (PAD, MASK, CLS, EOS) if special_tokens else (PAD, MASK)
    symbols, aliases = _names(sketch.symbols)
    return Vocabulary.from_tables(
        {key: token for token, key in enumerate((*special, *genes))},
        dict(zip(genes, sketch.medians()[kept].tolist(), strict=True)),
        symbols=symbols,
        aliases=aliases,
        input_length=input_length,
        name=name,
    )


def _read(cells: CellSource, progress: Progress) -> Iterator[csr_matrix]:
    for chunk in cells.chunks(CHUNK_CELLS):
        yield chunk.counts
        progress(chunk.stop - chunk.start)


def _names(
    symbols: Mapping[str, Mapping[str, int]],
) -> tuple[dict[str, str], dict[str, str]]:
    ranked = {
        gene: sorted(names, key=lambda name: (-names[name], name))  # noqa: B023
        for gene, names in sorted(symbols.items())
    }
    first = Counter(names[0] for names in ranked.values())
    main = {names[0]: gene for gene, names in ranked.items() if first[names[0]] == 1}
    further = {gene: names[1:] for gene, names in ranked.items()}
    times = Counter(name.upper() for names in ranked.values() for name in names)
    aliases = {
        name.upper(): gene
        for gene, names in further.items()
        for name in names
        if times[name.upper()] == 1
    }
    return main, aliases
