"""Cells that come as tokens: the form of any such source, and tokens that were saved."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import TokensError
from rankformer.tokens.token_tables import INPUT_IDS, LENGTH
from rankformer.tokens.tokenized_cells import TokenizedCells
from rankformer.vocabulary.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class TokenPart:
    """Some cells of a source, tokenized.

    Attributes
    ----------
    rows
        (n,) int64: where the cells stand in the source; ascending, without those filtered out.
    cells
        Their tokens.
    """

    rows: NDArray[np.int64]
    cells: TokenizedCells


class NamedCells(Protocol):
    """The cells of an input: their names and what is known of them."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path | None: ...

    @property
    def obs(self) -> pd.DataFrame: ...

    def __len__(self) -> int: ...


class TokenSource(NamedCells, Protocol):
    """Cells that come as tokens, a part after the other: counts on their way, or saved tokens."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def kept(self) -> NDArray[np.bool_]: ...

    def names(self, start: int, stop: int) -> NDArray[np.object_]: ...

    def parts(
        self, start: int = 0, stop: int | None = None
    ) -> Generator[TokenPart, None, None]: ...

    def provenance(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


class StagedSource(TokenSource, Protocol):
    """Cells that are read by one stage and become tokens in another, so that both work at once."""

    def read(self, start: int, stop: int) -> Generator[Any, None, None]:
        """Read the rows start … stop - 1, some at a time, each for `encode`."""

    def encode(self, read: Any) -> Iterator[TokenPart]:
        """The tokens of what was read."""


@dataclass(frozen=True, eq=False)
class SavedTokens:
    """Cells that were tokenized before, as a `TokenSource`.

    Attributes
    ----------
    path
        Folder of the dataset.
    cells
        Its content.
    vocabulary
        Of the model that is to read them; it was checked that they fit.
    """

    path: Path
    cells: TokenizedCells
    vocabulary: Vocabulary

    @classmethod
    def open(cls, path: Path, vocabulary: Vocabulary) -> "SavedTokens":
        """Open a dataset that `rankformer tokenize` or the published tokenizer saved.

        Raises
        ------
        TokensError
            If it is damaged, or was made for another vocabulary.
        """
        cells = TokenizedCells.load(path)
        if not len(cells):
            raise TokensError(
                f"The dataset {path} has 0 cells.",
                "At least one cell.",
                "Check how the cells were filtered before they were tokenized.",
            )
        cells.check_fits(vocabulary)
        return cls(path, cells, vocabulary)

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def obs(self) -> pd.DataFrame:
        """The custom attributes; the index holds the cells' names, or their numbers."""
        return obs_of_tokens(self.cells)

    @property
    def kept(self) -> NDArray[np.bool_]:
        return np.ones(len(self), bool)

    def __len__(self) -> int:
        return len(self.cells)

    def names(self, start: int, stop: int) -> NDArray[np.object_]:
        names = self.cells.cell_names
        if names is None:
            return np.array([str(row) for row in range(start, stop)], dtype=object)
        return np.asarray(names.slice(start, stop - start).to_numpy(), dtype=object)

    def read(self, start: int, stop: int) -> Generator[TokenPart, None, None]:
        yield from self.parts(start, stop)

    def encode(self, read: TokenPart) -> Iterator[TokenPart]:
        """They are tokens as they are read."""
        yield read

    def parts(self, start: int = 0, stop: int | None = None) -> Generator[TokenPart, None, None]:
        for first, ragged in self.cells.blocks(start=start, stop=stop):
            rows = np.arange(first, first + len(ragged[1]) - 1)
            yield TokenPart(rows, TokenizedCells.from_ragged(ragged))

    def provenance(self) -> dict[str, Any]:
        return {"source": self.name, "tokens": "saved"}

    def close(self) -> None:
        """Nothing: the dataset is mapped from the disk for as long as it is used."""


def obs_of_tokens(cells: TokenizedCells) -> pd.DataFrame:
    """The custom attributes of tokenized cells, as obs; the index holds their names or numbers."""
    attributes = [name for name in cells.table.column_names if name not in (INPUT_IDS, LENGTH)]
    obs: pd.DataFrame = cells.table.select(attributes).to_pandas()
    names = cells.cell_names
    obs.index = obs.index.astype(str) if names is None else names.to_pandas()
    return obs
