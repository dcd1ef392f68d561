"""From a source of counts to tokenized cells, a chunk of cells at a time."""

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.cells.cell_budget import CellBudget
from rankformer.cells.open_sources import expect_names_of_text, list_sources
from rankformer.cells.source import CellSource, CountChunk, each_once, find_files, open_cells
from rankformer.checkpoints.model_folder import AnyVocabulary, open_vocabulary
from rankformer.errors import SettingsError
from rankformer.genes.map_genes import map_genes
from rankformer.genes.mapping import GeneMapping
from rankformer.read_ahead import read_ahead
from rankformer.tokens.counts_kept import CountsKept, count_kept
from rankformer.tokens.filtered_cells import check_filter, kept_cells
from rankformer.tokens.rank_value import encode_rank_values
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import SavedTokens, StagedSource, TokenPart, TokenSource
from rankformer.tokens.token_tables import INPUT_IDS, LENGTH, as_attribute, mixed_attribute
from rankformer.tokens.tokenized_cells import TokenizedCells, is_saved_tokens
from rankformer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

Source: TypeAlias = AnnData | str | os.PathLike[str]
"""Cells: AnnData, or the path of a file or folder."""
Sources: TypeAlias = Source | Sequence[Source]
"""One source, or several."""
KeptCounts: TypeAlias = tuple[NDArray[np.int64], csr_matrix]
"""Rows of a source, and their counts."""

NO_GENES = "no counts in genes of the vocabulary"


@dataclass(frozen=True, eq=False)
class TokenStream:
    """A source whose counts and genes were found and checked, ready to be tokenized.

    Attributes
    ----------
    source, mapping, vocabulary, options
        What was opened, how its variables map, and what for.
    attributes
        The custom attributes, each of all cells: so they have one type in every part.
    counts_kept
        The shares of counts in genes whose orthologs were taken, where these were asked for.
    """

    source: CellSource
    mapping: GeneMapping
    vocabulary: Vocabulary
    options: ReadingOptions
    attributes: "Mapping[str, pa.Array | pa.ChunkedArray]" = field(default_factory=dict)
    counts_kept: CountsKept | None = None

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def path(self) -> Path | None:
        return self.source.path

    @property
    def obs(self) -> pd.DataFrame:
        return self.source.obs

    def __len__(self) -> int:
        return int(self.source.n_cells)

    def parts(self, start: int = 0, stop: int | None = None) -> Generator[TokenPart, None, None]:
        """Read and encode rows, all by default, a chunk after the other, in bounded memory."""
        with closing(read_kept(self.source, self.options, start, stop)) as kept:
            for read in kept:
                yield from self.encode(read)

    def read(self, start: int, stop: int) -> Generator[KeptCounts, None, None]:
        """Rows and counts, chunk after chunk, of the cells that are kept; for `encode`."""
        chunks = self.source.chunks(self.options.chunk_cells, start=start, stop=stop)
        yield from _keep(chunks, self.kept)

    def encode(self, read: KeptCounts) -> Iterator[TokenPart]:
        """The tokens of counts: in one part, or more where memory is short."""
        rows, counts = read
        yield from self._budget.run(partial(self._encode, rows, counts), 0, len(rows))

    @cached_property
    def _budget(self) -> CellBudget:
        return CellBudget(self.options.chunk_cells, f"encoded, of {self.name}")

    @cached_property
    def ranked_tokens(self) -> NDArray[np.int32]:
        """(n_vars,) the token of each variable that cells are ranked by, -1 for none."""
        only = self.options.only_genes
        if only is None:
            return self.mapping.tokens
        token_of = self.vocabulary.token_of
        wanted = [token_of[each] for each in only if each in token_of]
        kept = np.isin(self.mapping.tokens, np.array(wanted, np.int32))
        return np.where(kept, self.mapping.tokens, np.int32(-1)).astype(np.int32)

    def names(self, start: int, stop: int) -> NDArray[np.object_]:
        """The names of the cells start … stop - 1."""
        return np.asarray(self.source.obs.index[start:stop].astype(str), dtype=object)

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(n_cells,) False for cells that ``obs["filter_pass"]`` leaves out, where it is there."""
        return kept_cells(self.source)

    def provenance(self) -> dict[str, Any]:
        """What was read and how, for ``uns``."""
        kept = {} if self.counts_kept is None else self.counts_kept.plain()
        return {
            "source": self.source.name,
            "counts": self.source.location,
            "counts_kind": str(self.source.kind),
            "genes": {**self.mapping.summary(), **kept},
        }

    def close(self) -> None:
        """Close the file and remove temporary ones; AnnData stays open."""
        self.source.close()

    def _encode(
        self, rows: NDArray[np.int64], counts: csr_matrix, first: int, last: int
    ) -> TokenPart:
        if last - first < len(rows):
            rows, counts = rows[first:last], counts[first:last]
        ragged = encode_rank_values(
            counts, self.ranked_tokens, self.vocabulary, n_threads=self.options.threads
        )
        return TokenPart(rows, self._with_metadata(ragged, rows))

    def _with_metadata(self, ragged: Any, rows: NDArray[np.int64]) -> TokenizedCells:
        return TokenizedCells.from_ragged(
            ragged,
            attributes={name: column.take(rows) for name, column in self.attributes.items()},
            cell_names=self.source.obs.index[rows].astype(str),
            vocabulary_sha256=self.vocabulary.sha256,
        )


def open_tokens(
    source: Source,
    vocabulary: AnyVocabulary,
    options: ReadingOptions | None = None,
) -> TokenStream:
    """Open a source, find and check its counts, and map its genes; encode nothing yet.

    Parameters
    ----------
    source
        AnnData, or a file or folder that `open_cells` reads.
    vocabulary
        The vocabulary of the model that is to read the tokens; or the model's name or folder.
    options
        See `ReadingOptions`.

    Raises
    ------
    CountsError, GeneError, SettingsError
        If there are no counts, the genes do not match, or an attribute's column is missing.

    Examples
    --------
    >>> import rankformer
    >>> stream = rankformer.open_tokens("pbmc.h5ad", "gf-12L-95M-i4096")
    >>> sum(len(part.cells) for part in stream.parts())
    30
    >>> stream.close()
    """
    options, vocabulary = options or ReadingOptions(), open_vocabulary(vocabulary)
    cells = open_counts(source, options)
    try:
        attributes = _read_attributes(options.attributes, cells)
        mapping = map_genes(
            cells.var,
            vocabulary,
            gene_ids=options.gene_ids,
            gene_table=options.gene_table,
            pyensembl_genome=options.pyensembl_genome,
            min_recognised=options.min_recognised,
            orthologs=options.orthologs,
        )
        counts_kept = None if options.orthologs is None else count_kept(cells, mapping)
    except BaseException:
        cells.close()
        raise
    return TokenStream(cells, mapping, vocabulary, options, attributes, counts_kept)


@contextmanager
def opened_sources(
    sources: Sources,
    vocabulary: Vocabulary,
    options: ReadingOptions | None = None,
) -> Iterator[list[TokenSource]]:
    """Open sources of counts, those of a folder one by one, and tokens that were saved.

    All are opened and checked before any is read, and closed at the end.
    """
    with ExitStack() as stack:
        opened: list[TokenSource] = []
        for source in each_once(_expand(list_sources(sources))):
            stream = open_token_source(source, vocabulary, options)
            opened.append(stack.enter_context(closing(stream)))
        yield opened


def open_token_source(
    source: Source, vocabulary: Vocabulary, options: ReadingOptions | None = None
) -> StagedSource:
    """Open one source: of counts, see `open_tokens`, or of tokens that were saved."""
    if isinstance(source, Path) and is_saved_tokens(source):
        if options is not None and options.only_genes is not None:
            raise SettingsError(
                f"Cells are to be ranked among some genes only, and {source} holds tokens.",
                "Counts: genes that were cut off behind the model's input cannot be had back.",
                "Give the file of counts that the tokens were made from, or leave out only_genes.",
            )
        return SavedTokens.open(source, vocabulary)
    return open_tokens(source, vocabulary, options)


def expect_same_attributes(streams: Sequence[TokenSource]) -> None:
    """Refuse, before any work, attributes that are of another type in one input than in others.

    Raises
    ------
    TokensError
        If so.
    """
    import pyarrow as pa

    first: pa.Schema | None = None
    for stream in streams:
        if not isinstance(stream, TokenStream) or not stream.attributes:
            continue
        columns = {name: column.slice(0, 0) for name, column in stream.attributes.items()}
        table = pa.table(columns)
        if first is None:
            first = table.schema
        elif table.schema.names == first.names and table.schema.types != first.types:
            raise mixed_attribute([
                each.name for each in table.schema if each.type != first.field(each.name).type
            ])  # fmt: skip


def list_inputs(sources: Sequence[Path]) -> list[Path]:
    """Every source of counts or tokens that is named, or lies in a folder that is named.

    Those that are damaged are listed too: they fail when they are opened.

    Raises
    ------
    MissingFileError, CountsError, SettingsError
        If a path does not exist, a folder holds nothing that is named as cells are, or a name is no
        text.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        found += [source] if is_saved_tokens(source) else find_files(source, damaged=True)
    inputs = list(each_once(found))
    expect_names_of_text(inputs)
    return inputs


def _expand(sources: Sequence[Source]) -> Iterator[AnnData | Path]:
    for source in sources:
        if not isinstance(source, str | os.PathLike):
            yield source
        elif is_saved_tokens(source):
            yield Path(source)
        else:
            yield from find_files(source)


def open_counts(source: Source, options: ReadingOptions) -> CellSource:
    """Open a source where `options` say that its counts lie, and check ``obs["filter_pass"]``."""
    cells = open_cells(
        source,
        layer=options.layer,
        use_raw=options.use_raw,
        undo_log1p=options.undo_log1p,
        check=options.check,
        estimated_counts=options.estimated_counts,
        n_threads=options.threads,
    )
    try:
        check_filter(cells)
    except BaseException:
        cells.close()
        raise
    return cells


def read_kept(
    cells: CellSource, options: ReadingOptions, start: int = 0, stop: int | None = None
) -> Generator[KeptCounts, None, None]:
    """Read rows and counts, chunk after chunk, of the cells that ``filter_pass`` keeps.

    The next chunk is read while one is used.
    """
    with read_ahead(cells.chunks(options.chunk_cells, start=start, stop=stop)) as chunks:
        yield from _keep(chunks, kept_cells(cells))


def tokenize_cells(
    source: Source,
    vocabulary: AnyVocabulary,
    options: ReadingOptions | None = None,
) -> TokenizedCells:
    """Tokenize a source into memory; see `open_tokens`. Needs no torch.

    Examples
    --------
    >>> import rankformer
    >>> cells = rankformer.tokenize_cells("pbmc.h5ad", "gf-12L-95M-i4096")
    >>> dataset = cells.to_dataset()
    >>> dataset.column_names
    ['input_ids', 'length']
    """
    with (
        closing(open_tokens(source, vocabulary, options)) as stream,
        closing(stream.parts()) as parts,
    ):
        return TokenizedCells.concatenate(part.cells for part in parts)


def tell_full_inputs(n_full: int, n_cells: int, input_length: int) -> None:
    """Say how many cells have as many tokens as the model takes: their lowest ranks are cut off."""
    if n_full:
        logger.info(
            "%s of %s cells have as many genes as the model reads, %s tokens, or more: their genes "
            "of the lowest ranks are left out.",
            f"{n_full:,}", f"{n_cells:,}", f"{input_length:,}",
        )  # fmt: skip


def _keep(chunks: Iterable[CountChunk], kept: NDArray[np.bool_]) -> Iterator[KeptCounts]:
    for chunk in chunks:
        own = kept[chunk.start : chunk.stop]
        rows = np.arange(chunk.start, chunk.stop)[own]
        yield rows, chunk.counts if own.all() else chunk.counts[own]


def _read_attributes(
    attributes: Mapping[str, str], cells: CellSource
) -> "dict[str, pa.Array | pa.ChunkedArray]":
    reserved = [name for name in attributes if name in ("", INPUT_IDS, LENGTH)]
    if reserved:
        raise SettingsError(
            f"The dataset's column {reserved[0]!r} was asked for as a custom attribute.",
            f"A name of its own: {INPUT_IDS} and {LENGTH} hold the tokens.",
            "Choose another name in custom_attr_name_dict (--attribute NEW=NAME).",
        )
    missing = [column for column in attributes.values() if column not in cells.obs]
    if missing:
        raise SettingsError(
            f"obs of {cells.name} has no column {', '.join(missing)}.",
            f"Columns of obs: {', '.join(map(str, cells.obs.columns)) or '(none)'}.",
            "Correct custom_attr_name_dict (--attribute), which maps new names to columns of obs.",
        )
    return {name: as_attribute(name, cells.obs[column]) for name, column in attributes.items()}
