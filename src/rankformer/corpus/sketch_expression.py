"""Any number of cells in, one sketch of the expression of their genes out, in bounded memory."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

from anndata import AnnData
from scipy.sparse import csr_matrix

from rankformer.cells.open_sources import list_sources
from rankformer.cells.source import CellSource, find_files
from rankformer.checkpoints.model_folder import AnyVocabulary, open_vocabulary
from rankformer.corpus.expression_sketch import ExpressionSketch
from rankformer.corpus.gene_names import names_of_options
from rankformer.corpus.sketch_files import is_sketch
from rankformer.errors import GeneError, SettingsError
from rankformer.genes.identities import identify_genes
from rankformer.names import few_names
from rankformer.progress import Progress, show_progress
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_counts, read_kept
from rankformer.vocabulary.vocabulary import Vocabulary

Corpus: TypeAlias = AnnData | ExpressionSketch | str | os.PathLike[str]
"""Cells, or a sketch of them."""


def sketch_expression(
    sources: Corpus | Sequence[Corpus],
    options: ReadingOptions | None = None,
    *,
    symbols: str | None = None,
    names_from: AnyVocabulary | None = None,
) -> ExpressionSketch:
    """Sketch the expression of all cells of a corpus, in one pass.

    Parameters
    ----------
    sources
        AnnData, files or folders of counts, sketches, and files of sketches, in any order; one or
        a list of them. A file must hold Ensembl ids, unless names can be looked up.
    options
        Where counts and genes lie, the same in all sources; see `ReadingOptions`. With a gene
        table or a pyensembl database, names are looked up there.
    symbols
        "index" or the column of ``var`` with the symbols; found by looking unless given.
    names_from
        A vocabulary that names are looked up in, by the rules of `map_genes`; or the name or
        folder of the model that has it.

    Returns
    -------
    A new sketch. Cells that ``obs["filter_pass"]`` leaves out are not in it.

    Raises
    ------
    CountsError
        If a source holds no counts.
    GeneError
        If too few genes are recognised, or genes are of several species.
    VocabularyError
        If a file of a sketch is damaged.
    SettingsError
        If a file is named twice.

    Examples
    --------
    >>> import rankformer
    >>> sketch = rankformer.sketch_expression("pbmc.h5ad", names_from="gf-12L-95M-i4096")
    >>> sketch.n_cells
    30
    >>> file = sketch.save("part-1.sketch")
    """
    options = options or ReadingOptions()
    names = open_vocabulary(names_from) if names_from else names_of_options(options)
    sketch = ExpressionSketch()
    for source in _expand(list_sources(sources)):
        if isinstance(source, ExpressionSketch):
            sketch.merge(source)
        elif isinstance(source, Path) and is_sketch(source):
            with _naming(str(source)):
                sketch.merge(ExpressionSketch.load(source))
        else:
            _add_source(sketch, source, options, symbols, names)
    return sketch


def _expand(sources: Sequence[Corpus]) -> list[AnnData | ExpressionSketch | Path]:
    """Every file of the folders that are named; all must be there before the first is read."""
    found: list[AnnData | ExpressionSketch | Path] = []
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            found.append(source)
        elif is_sketch(Path(source)):
            found.append(Path(source))
        else:
            found.extend(find_files([source]))
    paths = [each.resolve() for each in found if isinstance(each, Path)]
    twice = sorted({str(path) for path in paths if paths.count(path) > 1})
    if twice:
        raise SettingsError(
            f"{few_names(twice)} would be counted twice.",
            "Each file once, by its name or by its folder.",
            "Name it once.",
        )
    return found


def _add_source(
    sketch: ExpressionSketch,
    source: AnnData | Path,
    options: ReadingOptions,
    symbols: str | None,
    names_from: Vocabulary | None,
) -> None:
    with closing(open_counts(source, options)) as cells, _naming(cells.name):
        genes = identify_genes(
            cells.var, gene_ids=options.gene_ids, symbols=symbols, names_from=names_from,
            gene_table=options.gene_table, pyensembl_genome=options.pyensembl_genome,
            min_recognised=options.min_recognised, orthologs=options.orthologs,
        )  # fmt: skip
        with show_progress(cells.n_cells, f"Reading {cells.name}") as progress:
            sketch.add_cells(_read(cells, options, progress), genes)


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Say in which of the sources the genes are not right."""
    try:
        yield
    except GeneError as error:
        raise GeneError(f"{source}: {error.found}", error.expected, error.fix) from error


def _read(cells: CellSource, options: ReadingOptions, progress: Progress) -> Iterator[csr_matrix]:
    for rows, counts in read_kept(cells, options):
        yield counts
        progress(len(rows))
