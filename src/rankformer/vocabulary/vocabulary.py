"""The vocabulary of a Geneformer model: genes, tokens, medians, and the names genes go by."""

import hashlib
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import VocabularyError
from rankformer.names import few_names
from rankformer.vocabulary.files import VOCABULARY_FILE, VocabularyTables, read_tables, write_tables

PAD, MASK, CLS, EOS = "<pad>", "<mask>", "<cls>", "<eos>"
# The published dictionaries do not state the input length; it goes with the special tokens.
_PUBLISHED_LENGTH = {False: 2048, True: 4096}


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Genes of a model, with their tokens, medians and other names.

    Attributes
    ----------
    ensembl_ids
        Gene ids, in ascending order of their tokens.
    tokens
        int32, one per gene, strictly ascending.
    medians
        float64, one per gene: the median over a corpus of the gene's non-zero expression, in counts
        per cell of `target_sum` counts. The rank value encoding divides by it.
    special_tokens
        ``<pad>`` and ``<mask>``; ``<cls>`` and ``<eos>`` where cells are framed by them.
    input_length
        The most tokens a cell may have, special tokens included.
    symbols
        Gene symbol → Ensembl id. Also holds genes that have no token.
    aliases
        Upper-cased alias, previous symbol or retired Ensembl id → Ensembl id.
    name
        Where it came from, for messages and provenance.
    """

    ensembl_ids: tuple[str, ...]
    tokens: NDArray[np.int32]
    medians: NDArray[np.float64]
    special_tokens: Mapping[str, int]
    input_length: int
    symbols: Mapping[str, str]
    aliases: Mapping[str, str]
    name: str

    def __post_init__(self) -> None:
        _verify(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: mappings that cannot be changed do not go there as they are."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        plain = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
        return _remake, (plain,)

    @classmethod
    def from_tables(
        cls,
        tokens: Mapping[str, int],
        medians: Mapping[str, float],
        *,
        symbols: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        input_length: int | None = None,
        name: str = "custom",
    ) -> "Vocabulary":
        """Make a vocabulary of plain tables, as the published dictionaries hold them.

        Parameters
        ----------
        tokens
            Gene or special token → id. Special tokens are those in angle brackets.
        medians
            Gene → median; genes without a token are left aside.
        symbols, aliases
            Other names → Ensembl id; aliases are looked up in upper case.
        input_length
            The most tokens a cell may have; 4096 with ``<cls>``, else 2048, unless given.

        Raises
        ------
        VocabularyError
            If tokens are not unique whole numbers from 0 on, or a gene has no positive median.
        """
        tokens = _whole_numbers(tokens, name)
        special = {key: token for key, token in tokens.items() if key.startswith("<")}
        genes = sorted((token, key) for key, token in tokens.items() if key not in special)
        missing = [gene for _, gene in genes if gene not in medians]
        if missing:
            raise VocabularyError(
                f"{len(missing):,} genes of {name} have a token but no median, "
                f"{few_names(missing)} among them.",
                "Every gene of the token dictionary needs a median.",
                "Take the token and median dictionaries of one release together.",
            )
        return cls(
            ensembl_ids=tuple(gene for _, gene in genes),
            tokens=np.array([token for token, _ in genes], dtype=np.int32),
            medians=_as_floats([medians[gene] for _, gene in genes], name),
            special_tokens=MappingProxyType(special),
            input_length=input_length or _PUBLISHED_LENGTH[CLS in special],
            symbols=MappingProxyType(dict(symbols or {})),
            aliases=MappingProxyType({key.upper(): gene for key, gene in (aliases or {}).items()}),
            name=name,
        )

    @property
    def size(self) -> int:
        """Rows that the model's token embedding needs: the largest token plus one."""
        return max(int(self.tokens[-1]), *self.special_tokens.values()) + 1

    @property
    def pad_token(self) -> int:
        return self.special_tokens[PAD]

    @property
    def mask_token(self) -> int:
        return self.special_tokens[MASK]

    @property
    def cls_token(self) -> int | None:
        """The token put before each cell, or None (V1)."""
        return self.special_tokens.get(CLS)

    @property
    def eos_token(self) -> int | None:
        """The token put behind each cell, or None (V1)."""
        return self.special_tokens.get(EOS)

    @property
    def n_frame_tokens(self) -> int:
        """How many special tokens frame each cell: 2 with ``<cls>`` and ``<eos>``, 0 without."""
        return (self.cls_token is not None) + (self.eos_token is not None)

    @cached_property
    def token_of(self) -> Mapping[str, int]:
        """Ensembl id → token, genes only."""
        return MappingProxyType(dict(zip(self.ensembl_ids, self.tokens.tolist(), strict=True)))

    @cached_property
    def ensembl_id_of(self) -> NDArray[np.object_]:
        """Token → Ensembl id, or the special token's own name; shape (size,)."""
        names = np.full(self.size, None, dtype=object)
        names[self.tokens] = self.ensembl_ids
        for key, token in self.special_tokens.items():
            names[token] = key
        return names

    @cached_property
    def symbol_of(self) -> Mapping[str, str]:
        """Ensembl id → symbol, where one is known; the first one listed where there are several."""
        found: dict[str, str] = {}
        for symbol, ensembl_id in self.symbols.items():
            if symbol != ensembl_id:
                found.setdefault(ensembl_id, symbol)
        return MappingProxyType(found)

    @cached_property
    def median_of_token(self) -> NDArray[np.float64]:
        """Token → median; NaN for special tokens. Shape (size,)."""
        medians = np.full(self.size, np.nan)
        medians[self.tokens] = self.medians
        return medians

    @cached_property
    def sha256(self) -> str:
        """Hash of what decides the meaning of a token: ids, tokens, medians, special tokens.

        Equal for the same tables however they were stored; names and aliases do not enter.
        """
        digest = hashlib.sha256()
        for key, token in sorted(self.special_tokens.items()):
            digest.update(f"{key}\t{token}\n".encode())
        for gene, token, median in zip(
            self.ensembl_ids, self.tokens.tolist(), self.medians.tolist(), strict=True
        ):
            digest.update(f"{gene}\t{token}\t{median.hex()}\n".encode())
        return digest.hexdigest()

    def grow(self, other: "Vocabulary") -> "Vocabulary":
        """Append the genes of another vocabulary, to go on training with more genes.

        All that is here stays as it is: tokens, medians, and what each name means. New genes get
        the next tokens, in the order that `other` has them, and the medians of `other`. Of its
        names those are added that mean nothing else here. A gene that is here under another id,
        by an alias, is not new.

        Raises
        ------
        VocabularyError
            If the special tokens differ.
        """
        if dict(self.special_tokens) != dict(other.special_tokens):
            raise VocabularyError(
                f"{other.name} has the special tokens {dict(other.special_tokens)}.",
                f"Those of {self.name}: {dict(self.special_tokens)}.",
                "Build it again with the same special tokens (--special-tokens).",
            )
        new = [gene for gene in other.ensembl_ids if self._resolves_to(gene) not in self.token_of]
        if not new:
            return self
        mine = zip(self.ensembl_ids, self.medians.tolist(), strict=True)
        theirs = zip(other.ensembl_ids, other.medians.tolist(), strict=True)
        tokens = {gene: token for token, gene in enumerate(new, self.size)}
        return Vocabulary.from_tables(
            {**self.special_tokens, **self.token_of, **tokens},
            {**dict(theirs), **dict(mine)},
            symbols={**self.symbols, **self._free(other.symbols)},
            aliases={**self._free(other.aliases), **self._aliases_but_for(tokens)},
            input_length=self.input_length,
            name=f"{self.name} + {other.name}",
        )

    def _resolves_to(self, ensembl_id: str) -> str:
        return self.aliases.get(ensembl_id, ensembl_id)

    def _free(self, names: Mapping[str, str]) -> dict[str, str]:
        """Those of `names` that mean nothing here, or the same."""
        known = {**self.aliases, **{name.upper(): gene for name, gene in self.symbols.items()}}
        known |= {gene.upper(): gene for gene in self.ensembl_ids}
        return {name: gene for name, gene in names.items() if known.get(name.upper(), gene) == gene}

    def _aliases_but_for(self, genes: Container[str]) -> dict[str, str]:
        return {
            name: gene for name, gene in self.aliases.items() if name not in genes or name == gene
        }

    def __repr__(self) -> str:
        return (
            f"Vocabulary({self.name!r}: {len(self.ensembl_ids):,} genes, "
            f"special tokens {' '.join(self.special_tokens)}, input length {self.input_length}, "
            f"sha256 {self.sha256[:8]})"
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, size: int | None = None) -> "Vocabulary":
        """Read a vocabulary from a file of ours, or from a folder in any known layout.

        Parameters
        ----------
        path
            ``vocabulary.parquet``, or a folder with that file, with the published pickles
            (``token_dictionary_gc95M.pkl`` and its siblings) or with the same tables as JSON.
        size
            Where a folder holds several releases, the number of tokens of the one wanted.

        Raises
        ------
        VocabularyError
            If there is none, it is damaged, or a pickle asks for more than plain tables.
        """
        tables = read_tables(Path(path))
        found = [cls._of_file(each, Path(path)) for each in tables]
        fitting = [each for each in found if size is None or each.size == size]
        # A file of ours is of one model, and has to fit it; of releases the fitting one is chosen.
        if tables[0].sha256 is not None:
            return found[0]
        if len({each.sha256 for each in fitting}) != 1:
            _refuse_releases(found, size, Path(path))
        return fitting[0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained Parquet file: a row a gene, settings in the metadata.

        Parameters
        ----------
        path
            The file, or a folder in which it is named ``vocabulary.parquet``.

        Returns
        -------
        The file written, in the place of one that was there. It appears whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        path = Path(path)
        tables = VocabularyTables(
            {**self.special_tokens, **self.token_of},
            dict(zip(self.ensembl_ids, self.medians.tolist(), strict=True)),
            self.symbols, self.aliases, self.name, self.input_length, self.sha256,
        )  # fmt: skip
        return write_tables(tables, path / VOCABULARY_FILE if path.is_dir() else path)

    @classmethod
    def _of_file(cls, tables: VocabularyTables, path: Path) -> "Vocabulary":
        vocabulary = cls.from_tables(
            tables.tokens, tables.medians, symbols=tables.symbols, aliases=tables.aliases,
            input_length=tables.input_length, name=tables.name,
        )  # fmt: skip
        if tables.sha256 not in (None, vocabulary.sha256):
            raise VocabularyError(
                f"The content of {path} has the hash {vocabulary.sha256[:8]}.",
                f"It was written with the hash {str(tables.sha256)[:8]}.",
                "The file was changed or damaged: take it from where the checkpoint came from.",
            )
        return vocabulary


def _remake(values: Mapping[str, Any]) -> Vocabulary:
    own: dict[str, Any] = {
        k: MappingProxyType(v) if isinstance(v, dict) else v for k, v in values.items()
    }
    return Vocabulary(**own)


def _whole_numbers(tokens: Mapping[str, int], name: str) -> dict[str, int]:
    try:
        whole = {key: int(token) for key, token in tokens.items()}
        odd = [key for key, token in whole.items() if token != tokens[key] or token >> 31]
    except (TypeError, ValueError, OverflowError) as error:
        odd = [str(error)]
    if odd:
        raise VocabularyError(
            f"{len(odd):,} tokens of {name} are not whole numbers from 0 on: {few_names(odd)}.",
            "One whole number, below 2 to the power of 31, for each gene and special token.",
            "Take the token dictionary from the model's release again.",
        )
    return whole


def _as_floats(medians: Iterable[float], name: str) -> NDArray[np.float64]:
    try:
        return np.array([float(median) for median in medians], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise VocabularyError(
            f"The medians of {name} are not all numbers: {error}.",
            "A positive, finite median for every gene: the encoding divides by it.",
            "Take the median dictionary from the model's release again.",
        ) from error


def _verify(vocabulary: Vocabulary) -> None:
    tokens = np.concatenate(
        [vocabulary.tokens, np.array(list(vocabulary.special_tokens.values()), dtype=np.int32)]
    )
    if not len(vocabulary.tokens) or len(np.unique(tokens)) != len(tokens) or tokens.min() < 0:
        raise VocabularyError(
            f"The tokens of {vocabulary.name} are not unique whole numbers from 0 on.",
            "One token for each gene and special token.",
            "Take the token dictionary from the model's release again.",
        )
    if PAD not in vocabulary.special_tokens or MASK not in vocabulary.special_tokens:
        raise VocabularyError(
            f"{vocabulary.name} has the special tokens {few_names(vocabulary.special_tokens)}.",
            f"At least {PAD} and {MASK}.",
            "Take the token dictionary from the model's release again.",
        )
    bad = ~(np.isfinite(vocabulary.medians) & (vocabulary.medians > 0))
    if bad.any():
        genes = [vocabulary.ensembl_ids[index] for index in np.flatnonzero(bad)]
        raise VocabularyError(
            f"{len(genes):,} genes of {vocabulary.name} have no positive median: "
            f"{few_names(genes)}.",
            "A positive, finite median for every gene: the encoding divides by it.",
            "Take the median dictionary from the model's release again.",
        )


def _refuse_releases(found: Sequence[Vocabulary], size: int | None, folder: Path) -> NoReturn:
    sizes = ", ".join(f"{each.name}: {each.size:,} tokens" for each in found)
    one = f"One of {size:,} tokens, as the model has." if size else "One, or the size of one."
    raise VocabularyError(
        f"{folder} holds {len(found)} release(s) of the dictionaries ({sizes}).",
        one,
        "Put the dictionaries of the model's own release into the folder.",
    )
