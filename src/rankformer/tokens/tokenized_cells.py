"""Tokenized cells: ragged int32 tokens in Arrow, with one row of metadata a cell."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rankformer.errors import TokensError
from rankformer.own_files import expect_own_files
from rankformer.ragged import Ragged, join_ragged
from rankformer.scratch import check_free, whole_or_nothing
from rankformer.tokens.arrow_streams import check_streams, without_progress_bars
from rankformer.tokens.token_checks import check_tokens, foreign_tokens
from rankformer.tokens.token_tables import (
    INPUT_IDS,
    LENGTH,
    as_attribute,
    cast_table,
    normalize_table,
    ragged_of,
)
from rankformer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from datasets import Dataset

_CELL_NAMES_FILE = "cell_names.arrows"
_CELL_NAMES_SCHEMA = pa.schema([("cell_name", pa.string())])
# A dataset that was saved and loaded keeps its description but not the schema's metadata.
_DESCRIPTION = "Tokenized by rankformer with the vocabulary sha256:"


@dataclass(frozen=True, eq=False)
class TokenizedCells:
    """Cells as tokens.

    Attributes
    ----------
    table
        A row a cell, in the input's order: ``input_ids`` (list of int32), ``length`` (int32: tokens
        of the cell, special tokens included), then the custom attributes.
    cell_names
        Names of the cells, or None where the source had none.
    vocabulary_sha256
        Hash of the vocabulary that encoded them, or None where that is not known.
    """

    table: pa.Table
    cell_names: pa.ChunkedArray | None = None
    vocabulary_sha256: str | None = None

    @classmethod
    def from_ragged(
        cls,
        ragged: Ragged,
        *,
        attributes: Mapping[str, Any] | None = None,
        cell_names: Iterable[str] | None = None,
        vocabulary_sha256: str | None = None,
    ) -> "TokenizedCells":
        """Wrap tokens and offsets, as `encode_rank_values` gives them, without copying the tokens.

        Parameters
        ----------
        ragged
            ``values`` (n_tokens,) int32 and ``offsets`` (n_cells + 1,) int64.
        attributes
            Further columns, each of n_cells values.
        cell_names
            n_cells names.
        vocabulary_sha256
            Hash of the vocabulary that encoded them.
        """
        values, offsets = ragged
        if offsets[-1] > np.iinfo(np.int32).max:
            raise TokensError(
                f"One chunk of {len(offsets) - 1:,} cells holds {offsets[-1]:,} tokens.",
                "At most 2,147,483,647 tokens in a chunk.",
                "Encode in smaller chunks and join them with TokenizedCells.concatenate.",
            )
        columns: dict[str, Any] = {
            INPUT_IDS: pa.ListArray.from_arrays(offsets.astype(np.int32), values),
            LENGTH: np.diff(offsets).astype(np.int32),
        }
        columns.update({key: as_attribute(key, each) for key, each in (attributes or {}).items()})
        names = (
            None if cell_names is None else pa.chunked_array([pa.array(cell_names, pa.string())])
        )
        return cls(pa.table(columns), names, vocabulary_sha256)

    @classmethod
    def concatenate(cls, parts: Iterable["TokenizedCells"]) -> "TokenizedCells":
        """Join cells end to end without copying; attributes must agree.

        Raises
        ------
        TokensError
            If there is nothing to join, or the parts differ in vocabulary or attributes.
        """
        parts = list(parts)
        for part in parts:
            _expect_alike(part, parts[0])
        if not parts:
            raise _no_parts()
        named = [part.cell_names for part in parts if part.cell_names is not None]
        names = None
        if len(named) == len(parts):
            names = pa.chunked_array([chunk for each in named for chunk in each.chunks])
        table = pa.concat_tables([part.table for part in parts], promote_options="permissive")
        return cls(table, names, parts[0].vocabulary_sha256)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        return (
            f"TokenizedCells({len(self):,} cells, {int(self.lengths.sum()):,} tokens, "
            f"columns {', '.join(self.table.column_names)})"
        )

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each cell, special tokens included; (n_cells,) int32."""
        lengths = pc.list_value_length(self.table[INPUT_IDS])
        return np.asarray(lengths, dtype=np.int32)

    def cell(self, index: int) -> NDArray[np.int32]:
        """The tokens of one cell; (length,) int32, not to be written to."""
        return np.asarray(self.table[INPUT_IDS][index].values, dtype=np.int32)

    def ragged(self, start: int, stop: int) -> Ragged:
        """Tokens of the cells start … stop - 1 as values and offsets that begin at 0.

        Copies nothing where the cells lie in one chunk.
        """
        rows = self.table[INPUT_IDS].slice(start, stop - start)
        chunks = [chunk for chunk in rows.chunks if len(chunk)]
        if len(chunks) == 1:
            return ragged_of(chunks[0])
        return join_ragged([ragged_of(chunk) for chunk in chunks])

    def blocks(
        self, n_cells: int = 2048, *, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[int, Ragged]]:
        """Consecutive cells, at most `n_cells` at a time: index of the first, and their tokens.

        Those from `start` to the one before `stop`, all by default.
        """
        last = len(self) if stop is None else min(stop, len(self))
        for first in range(start, last, n_cells):
            yield first, self.ragged(first, min(first + n_cells, last))

    def ragged_chunks(self) -> Iterator[Ragged]:
        """Tokens in the chunks in which they lie, without copying."""
        return (ragged_of(chunk) for chunk in self.table[INPUT_IDS].chunks)

    def take(self, indices: NDArray[np.int64]) -> "TokenizedCells":
        """The cells at `indices`, in that order."""
        names = None if self.cell_names is None else self.cell_names.take(indices)
        return TokenizedCells(self.table.take(indices), names, self.vocabulary_sha256)

    def to_dataset(self) -> "Dataset":
        """A Hugging Face `Dataset` over the same memory: ``input_ids``, ``length``, attributes."""
        from datasets import Dataset, DatasetInfo
        from datasets.table import InMemoryTable

        info = None
        if self.vocabulary_sha256:
            info = DatasetInfo(description=_DESCRIPTION + self.vocabulary_sha256)
        table = self.table.replace_schema_metadata(None)
        # Given, because datasets would otherwise serialize all tokens to make a fingerprint.
        return Dataset(InMemoryTable(table), info=info, fingerprint=os.urandom(8).hex())

    @classmethod
    def from_dataset(cls, dataset: "Dataset") -> "TokenizedCells":
        """Take a Hugging Face `Dataset`, also one made by the published tokenizer.

        Copies nothing where the tokens are int32 and the dataset was not filtered or shuffled.

        Raises
        ------
        TokensError
            If it is no dataset, or has no ``input_ids`` column of whole numbers.
        """
        from datasets import Dataset

        if not isinstance(dataset, Dataset):
            raise _no_dataset(dataset)
        table = dataset.with_format("arrow")[:]
        if INPUT_IDS not in table.column_names:
            raise TokensError(
                f"The dataset has the columns {', '.join(table.column_names) or '(none)'}.",
                f"A column {INPUT_IDS} with the tokens of each cell.",
                "Make it with process_data, `rankformer tokenize`, or the published tokenizer.",
            )
        description = str(dataset.info.description or "")
        known = description.startswith(_DESCRIPTION)
        sha256 = description.removeprefix(_DESCRIPTION) if known else None
        return cls(normalize_table(table), None, sha256)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as a folder that `datasets.load_from_disk` reads; see `save_tokens`."""
        return save_tokens([self], path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "TokenizedCells":
        """Read a folder that we or the published tokenizer saved (`Dataset.save_to_disk`).

        The tokens are mapped from the disk, not read into memory.

        Raises
        ------
        TokensError
            If there is no such dataset, or it is damaged.
        """
        from datasets import Dataset

        path = Path(path)
        expect_own_files(path, TokensError)
        with _reading(path):
            check_streams(_stream_files(path))
            cells = cls.from_dataset(Dataset.load_from_disk(str(path)))
            names = _read_names(path / _CELL_NAMES_FILE, len(cells))
        return cls(cells.table, names, cells.vocabulary_sha256)

    def check_fits(self, vocabulary: Vocabulary) -> None:
        """Refuse tokens that were not made with `vocabulary`.

        Raises
        ------
        TokensError
            If the hashes differ, a token is outside the vocabulary, a cell is longer than its input
            length, or special tokens are missing or in the place of genes; where the hash is not
            known, also if all cells are framed as by special tokens that the vocabulary has not.
        """
        if self.vocabulary_sha256 not in (None, vocabulary.sha256):
            raise foreign_tokens(
                f"were made with the vocabulary {self.vocabulary_sha256[:8]}",
                vocabulary,
            )
        for values, offsets in self.ragged_chunks():
            if len(values):
                is_known = self.vocabulary_sha256 is not None
                check_tokens(values, offsets, vocabulary, is_known=is_known)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged dataset makes its readers raise into a `TokensError`."""
    try:
        yield
    except (TokensError, MemoryError):
        raise
    # What datasets raises depends on which value of its JSON is odd.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise TokensError(
            f"{path} could not be read as a tokenized dataset: {reason[:300]}.",
            "A folder written by `rankformer tokenize` or by datasets.Dataset.save_to_disk.",
            "Check the path, or tokenize the cells again.",
        ) from error


def _stream_files(folder: Path) -> list[Path]:
    """The files of Arrow that a saved dataset is made of; those that it names lie in its folder."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    named = [folder / str(each["filename"]) for each in state["_data_files"]]
    for file in named:
        if file.parent != folder or not file.is_file():
            raise ValueError(f"state.json names {file.name}, which is not in the folder")
    return [*named, *folder.glob(_CELL_NAMES_FILE)]


def _read_names(file: Path, n_cells: int) -> pa.ChunkedArray | None:
    if not file.is_file():
        return None
    with pa.ipc.open_stream(pa.memory_map(str(file))) as stream:
        names = stream.read_all()
    if names.schema != _CELL_NAMES_SCHEMA or len(names) != n_cells:
        raise ValueError(f"{file.name} does not hold the names of its {n_cells:,} cells")
    return names[0]


def is_saved_tokens(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a folder that `datasets.Dataset.save_to_disk` made."""
    return all((Path(path) / name).is_file() for name in ("state.json", "dataset_info.json"))


def save_tokens(parts: Iterable[TokenizedCells], path: str | os.PathLike[str]) -> Path:
    """Write tokenized cells, part after part, as one Hugging Face dataset on disk.

    Only one part is held at a time. The folder appears whole or not at all.

    Parameters
    ----------
    parts
        At least one; all of one vocabulary and with the same attributes.
    path
        A folder that is not there yet.

    Raises
    ------
    TokensError
        If there is no part, or they differ in vocabulary, attributes, or whether cells have names.
    OutputError
        If something is already there, or the disk is full or not writable.

    Examples
    --------
    >>> import rankformer
    >>> stream = rankformer.open_tokens("pbmc.h5ad", "gf-12L-95M-i4096")
    >>> folder = rankformer.save_tokens((part.cells for part in stream.parts()), "tokens")
    """
    path = check_free(path)
    with whole_or_nothing(path, overwrite=False) as part_folder:
        _write_parts(iter(parts), part_folder)
    return path


def _write_parts(parts: Iterator[TokenizedCells], folder: Path) -> None:
    first = next(parts, None)
    if first is None:
        raise _no_parts()
    # The library writes its own metadata, for no rows; the rows are then streamed into its file.
    with without_progress_bars():
        first.take(np.empty(0, np.int64)).to_dataset().save_to_disk(str(folder), num_shards=1)
    (data_file,) = folder.glob("*.arrow")
    with pa.ipc.open_stream(str(data_file)) as empty:
        schema = empty.schema
    with ExitStack() as stack:
        rows = stack.enter_context(pa.ipc.new_stream(str(data_file), schema))
        names = None
        if first.cell_names is not None:
            names = stack.enter_context(
                pa.ipc.new_stream(str(folder / _CELL_NAMES_FILE), _CELL_NAMES_SCHEMA)
            )
        for part in chain([first], parts):
            _expect_alike(part, first)
            if (part.cell_names is None) != (first.cell_names is None):
                raise _names_of_some()
            rows.write_table(cast_table(part.table, schema))
            if names is not None:
                names.write_table(pa.table([part.cell_names], schema=_CELL_NAMES_SCHEMA))


def _no_parts() -> TokensError:
    return TokensError(
        "There are no tokenized cells: not one part was given.",
        "At least one part.",
        "Check the source that the parts come from.",
    )


def _expect_alike(part: TokenizedCells, first: TokenizedCells) -> None:
    hashes = part.vocabulary_sha256, first.vocabulary_sha256
    if hashes[0] != hashes[1]:
        found = " and ".join(each[:8] if each else "unknown" for each in hashes)
        raise TokensError(
            f"The parts are of the vocabularies {found}.",
            "One vocabulary in all parts.",
            "Tokenize all parts with one model.",
        )
    if part.table.column_names != first.table.column_names:
        raise TokensError(
            f"One part has the columns {', '.join(part.table.column_names)}, the first has "
            f"{', '.join(first.table.column_names)}.",
            "The same attributes in all parts.",
            "Tokenize all parts with one custom_attr_name_dict (--attribute).",
        )


def _no_dataset(given: object) -> TokensError:
    fix = "Make it with process_data, `rankformer tokenize`, or the published tokenizer."
    if isinstance(given, Mapping):
        fix = f"Take one of its parts: dataset[{next(iter(given), 'train')!r}]."
    return TokensError(
        f"The tokenized cells are given as {type(given).__name__}.",
        "A Dataset of Hugging Face, with a row a cell.",
        fix,
    )


def _names_of_some() -> TokensError:
    return TokensError(
        "Some parts have names of cells, and others have none.",
        "Names in all parts or in none.",
        "Pass cell_names for all parts, or leave them out.",
    )
