"""The vocabulary of a Geneformer model: genes, tokens, medians, and the names genes go by.

A vocabulary comes from one of three places: the published dictionaries (pickles, read through an
allow-list), the same tables as JSON (as Helical caches them), or our own `vocabulary.parquet`.
"""

import hashlib
import json
import os
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import VocabularyError

VOCABULARY_FILE = "vocabulary.parquet"
PAD, MASK, CLS, EOS = "<pad>", "<mask>", "<cls>", "<eos>"
_FORMAT = 1
_SETTINGS = b"rankformer_vocabulary"
_SETTINGS_SHA256 = b"rankformer_vocabulary_sha256"
_TOKENS = "token_dictionary"
_MEDIANS = "gene_median_dictionary"
_MAPPING = "ensembl_mapping_dict"
_SYMBOLS = "gene_name_id_dict"
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
                f"{_few(missing)} among them.",
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
        path = Path(path)
        own = path / VOCABULARY_FILE if path.is_dir() else path
        if own.is_file():
            return _read_parquet(own)
        if not path.is_dir():
            raise VocabularyError(
                f"There is no vocabulary at {path}.",
                f"A {VOCABULARY_FILE}, or a folder with one or with the published dictionaries.",
                "Check the path.",
            )
        releases = find_releases(path)
        if not releases:
            raise VocabularyError(
                f"The folder {path} holds no vocabulary.",
                f"{VOCABULARY_FILE}, or {_TOKENS}*.pkl (or .json) with {_MEDIANS}* beside it.",
                "Copy the dictionaries of the model's release into this folder.",
            )
        return _choose_release(releases, size, path)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained Parquet file: a row a gene, settings in the metadata.

        Parameters
        ----------
        path
            The file, or a folder in which it is named ``vocabulary.parquet``.

        Returns
        -------
        The file written. It appears whole or not at all.
        """
        path = Path(path)
        return _write_parquet(self, path / VOCABULARY_FILE if path.is_dir() else path)


def find_releases(folder: Path) -> dict[str, dict[str, Path]]:
    """Dictionaries in `folder`, by release: suffix such as ``gc95M`` → table name → file."""
    pattern = re.compile(rf"({_TOKENS}|{_MEDIANS}|{_MAPPING}|{_SYMBOLS})(?:_(\w+))?\.(?:pkl|json)")
    releases: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = pattern.fullmatch(file.name)
        if match:
            releases.setdefault(match[2] or "", {})[match[1]] = file
    return {name: files for name, files in releases.items() if {_TOKENS, _MEDIANS} <= files.keys()}


def _choose_release(
    releases: Mapping[str, Mapping[str, Path]], size: int | None, folder: Path
) -> Vocabulary:
    found = [_read_release(files, name or folder.name) for name, files in releases.items()]
    fitting = [each for each in found if size is None or each.size == size]
    if len({each.sha256 for each in fitting}) == 1:
        return fitting[0]
    sizes = ", ".join(f"{each.name}: {each.size:,} tokens" for each in found)
    raise VocabularyError(
        f"{folder} holds {len(found)} release(s) of the dictionaries ({sizes}).",
        f"One of {size:,} tokens." if size else "One release, or the number of tokens wanted.",
        "Put the dictionaries of the model's own release into the folder.",
    )


def _read_release(files: Mapping[str, Path], name: str) -> Vocabulary:
    tables = {key: _read_table(file) for key, file in files.items()}
    _expect_values(tables[_TOKENS], (int, np.integer), files[_TOKENS])
    _expect_values(tables[_MEDIANS], (int, float, np.integer, np.floating), files[_MEDIANS])
    for key in (_MAPPING, _SYMBOLS):
        _expect_values(tables.get(key, {}), (str,), files.get(key))
    return Vocabulary.from_tables(
        tables[_TOKENS],
        tables[_MEDIANS],
        symbols=tables.get(_SYMBOLS),
        aliases=tables.get(_MAPPING),
        name=name,
    )


def _expect_values(table: object, types: tuple[type, ...], file: Path | None) -> None:
    if isinstance(table, dict) and all(
        isinstance(key, str) and isinstance(value, types) for key, value in table.items()
    ):
        return
    raise VocabularyError(
        f"{file} does not hold a plain table.",
        f"A dictionary from gene names to {' or '.join(each.__name__ for each in types)}.",
        "Take the file from the model's release again.",
    )


class _TableUnpickler(pickle.Unpickler):
    """Reads dicts of strings and numbers; refuses to look up anything that could run code."""

    _ALLOWED = frozenset(
        (module, name)
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("dtype", "scalar")
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self._ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def _read_table(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return _parse_table(stream, file.suffix)
    # A damaged pickle can raise nearly anything, depending on the bytes.
    except Exception as error:
        raise VocabularyError(
            f"{file} could not be read: {error}.",
            "A table of strings and numbers, as a pickle or JSON; nothing else is unpickled.",
            "Take the file from the model's release again. Git LFS pointers must be resolved.",
        ) from error


def _parse_table(stream: IO[bytes], suffix: str) -> dict[str, Any]:
    table = json.load(stream) if suffix == ".json" else _TableUnpickler(stream).load()
    if not isinstance(table, dict):
        raise TypeError(f"holds a {type(table).__name__}, not a dictionary")
    return table


def _whole_numbers(tokens: Mapping[str, int], name: str) -> dict[str, int]:
    try:
        whole = {key: int(token) for key, token in tokens.items()}
        odd = [key for key, token in whole.items() if token != tokens[key] or token >> 31]
    except (TypeError, ValueError, OverflowError) as error:
        odd = [str(error)]
    if odd:
        raise VocabularyError(
            f"{len(odd):,} tokens of {name} are not whole numbers from 0 on: {_few(odd)}.",
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
            f"{vocabulary.name} has the special tokens {_few(vocabulary.special_tokens)}.",
            f"At least {PAD} and {MASK}.",
            "Take the token dictionary from the model's release again.",
        )
    bad = ~(np.isfinite(vocabulary.medians) & (vocabulary.medians > 0))
    if bad.any():
        genes = [vocabulary.ensembl_ids[index] for index in np.flatnonzero(bad)]
        raise VocabularyError(
            f"{bad.sum():,} genes of {vocabulary.name} have no positive median: {_few(genes)}.",
            "A positive, finite median for every gene: the encoding divides by it.",
            "Take the median dictionary from the model's release again.",
        )


def _write_parquet(vocabulary: Vocabulary, path: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _names_by_gene(vocabulary)
    token_of = vocabulary.token_of
    median_of = dict(zip(vocabulary.ensembl_ids, vocabulary.medians.tolist(), strict=True))
    settings = {
        "format": _FORMAT,
        "name": vocabulary.name,
        "special_tokens": dict(vocabulary.special_tokens),
        "input_length": vocabulary.input_length,
        "sha256": vocabulary.sha256,
    }
    described = json.dumps(settings).encode()
    columns = {
        "ensembl_id": list(names),
        "token": [token_of.get(gene) for gene in names],
        "median": [median_of.get(gene) for gene in names],
        "symbols": [each[0] for each in names.values()],
        "aliases": [each[1] for each in names.values()],
    }
    metadata = {_SETTINGS: described, _SETTINGS_SHA256: hashlib.sha256(described).hexdigest()}
    table = pa.table(columns, schema=_schema().with_metadata(metadata))
    part = path.with_name(path.name + ".part")
    # Checksums, because the hash covers tokens and medians, but not the other names.
    pq.write_table(table, part, compression="zstd", write_page_checksum=True)
    part.replace(path)
    return path


def _names_by_gene(vocabulary: Vocabulary) -> dict[str, tuple[list[str], list[str]]]:
    names: dict[str, tuple[list[str], list[str]]] = {
        gene: ([], []) for gene in vocabulary.ensembl_ids
    }
    for column, mapping in enumerate((vocabulary.symbols, vocabulary.aliases)):
        for name, gene in mapping.items():
            names.setdefault(gene, ([], []))[column].append(name)
    return names


def _read_parquet(path: Path) -> Vocabulary:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
        settings = _read_settings(table.schema)
        vocabulary = _from_rows(table.to_pydict(), settings)
    except VocabularyError:
        raise
    # A damaged file can raise nearly anything, depending on the bytes.
    except Exception as error:
        raise VocabularyError(
            f"{path} is not a vocabulary of rankformer, or is damaged: {error}.",
            f"A Parquet file written by Vocabulary.save, format {_FORMAT}.",
            "Save it again, or take it from where the checkpoint came from.",
        ) from error
    if vocabulary.sha256 != settings["sha256"]:
        raise VocabularyError(
            f"The content of {path} has the hash {vocabulary.sha256[:8]}.",
            f"It was written with the hash {settings['sha256'][:8]}.",
            "The file was changed or damaged: take it from where the checkpoint came from.",
        )
    return vocabulary


def _schema() -> Any:
    """A row a gene; one without a token has names only."""
    import pyarrow as pa

    names = pa.list_(pa.string())
    return pa.schema(
        {
            "ensembl_id": pa.string(),
            "token": pa.int32(),
            "median": pa.float64(),
            "symbols": names,
            "aliases": names,
        }
    )


def _read_settings(schema: Any) -> dict[str, Any]:
    if not schema.equals(_schema()):
        raise ValueError(f"it has the columns {', '.join(schema.names)}")
    described = schema.metadata[_SETTINGS]
    if hashlib.sha256(described).hexdigest() != schema.metadata[_SETTINGS_SHA256].decode():
        raise ValueError("its settings were changed")
    settings: dict[str, Any] = json.loads(described)
    if settings["format"] != _FORMAT:
        raise ValueError(f"it has the format {settings['format']}")
    return settings


def _from_rows(rows: Mapping[str, list[Any]], settings: Mapping[str, Any]) -> Vocabulary:
    genes = rows["ensembl_id"]
    with_token = [index for index, token in enumerate(rows["token"]) if token is not None]
    return Vocabulary.from_tables(
        {**settings["special_tokens"], **{genes[i]: rows["token"][i] for i in with_token}},
        {genes[i]: rows["median"][i] for i in with_token},
        symbols=_invert(genes, rows["symbols"]),
        aliases=_invert(genes, rows["aliases"]),
        input_length=settings["input_length"],
        name=settings["name"],
    )


def _invert(genes: Iterable[str], names: Iterable[Iterable[str]]) -> dict[str, str]:
    return {name: gene for gene, each in zip(genes, names, strict=True) for name in each}


def _few(names: Iterable[str], most: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + ("…" if len(listed) > most else "")
