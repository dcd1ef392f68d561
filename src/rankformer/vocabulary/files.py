"""Vocabularies on disk.

They come from one of three places: the published dictionaries (pickles, read through an
allow-list), the same tables as JSON, or our own ``vocabulary.parquet``.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from rankformer.errors import VocabularyError
from rankformer.own_files import expect_own_files
from rankformer.plain_pickles import PlainUnpickler
from rankformer.scratch import whole_or_nothing

if TYPE_CHECKING:
    import pyarrow as pa

VOCABULARY_FILE = "vocabulary.parquet"
_FORMAT = 1
_SETTINGS = b"rankformer_vocabulary"
_SETTINGS_SHA256 = b"rankformer_vocabulary_sha256"
_TOKENS = "token_dictionary"
_MEDIANS = "gene_median_dictionary"
_MAPPING = "ensembl_mapping_dict"
_SYMBOLS = "gene_name_id_dict"


@dataclass(frozen=True, eq=False)
class VocabularyTables:
    """The tables of a vocabulary as a file holds them: plain, and nothing checked of them.

    Attributes
    ----------
    tokens
        Gene or special token → token. Special tokens are those in angle brackets.
    medians, symbols, aliases, input_length, name
        As of `Vocabulary.from_tables`.
    sha256
        `Vocabulary.sha256` of what was written, where the file says it.
    """

    tokens: Mapping[str, int]
    medians: Mapping[str, float]
    symbols: Mapping[str, str]
    aliases: Mapping[str, str]
    name: str
    input_length: int | None = None
    sha256: str | None = None


def read_tables(path: Path) -> list[VocabularyTables]:
    """Read a file of ours, or the releases that a folder holds in any known layout.

    Raises
    ------
    VocabularyError
        If there is none, it is damaged, or a pickle asks for more than plain tables.
    """
    own = path / VOCABULARY_FILE if path.is_dir() else path
    if own.is_file():
        if path.is_dir():
            expect_own_files(path, VocabularyError, names=[VOCABULARY_FILE])
        return [_read_parquet(own)]
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
    names = [each.name for files in releases.values() for each in files.values()]
    expect_own_files(path, VocabularyError, names=names)
    return [_read_release(files, name or path.name) for name, files in releases.items()]


def find_releases(folder: Path) -> dict[str, dict[str, Path]]:
    """Dictionaries in `folder`, by release: suffix such as ``gc95M`` → table name → file."""
    pattern = re.compile(rf"({_TOKENS}|{_MEDIANS}|{_MAPPING}|{_SYMBOLS})(?:_(\w+))?\.(?:pkl|json)")
    releases: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.iterdir()):
        match = pattern.fullmatch(file.name)
        if match:
            releases.setdefault(match[2] or "", {})[match[1]] = file
    return {name: files for name, files in releases.items() if {_TOKENS, _MEDIANS} <= files.keys()}


def _read_release(files: Mapping[str, Path], name: str) -> VocabularyTables:
    tables = {key: _read_table(file) for key, file in files.items()}
    _expect_values(tables[_TOKENS], (int, np.integer), files[_TOKENS])
    _expect_values(tables[_MEDIANS], (int, float, np.integer, np.floating), files[_MEDIANS])
    for key in (_MAPPING, _SYMBOLS):
        _expect_values(tables.get(key, {}), (str,), files.get(key))
    return VocabularyTables(
        tables[_TOKENS],
        tables[_MEDIANS],
        symbols=tables.get(_SYMBOLS, {}),
        aliases=tables.get(_MAPPING, {}),
        name=name,
    )


def _expect_values(table: object, types: tuple[type, ...], file: Path | None) -> None:
    if isinstance(table, dict):
        found = set(map(type, table.values()))
        if set(map(type, table)) <= {str} and all(issubclass(each, types) for each in found):
            return
    raise VocabularyError(
        f"{file} does not hold a plain table.",
        f"A dictionary from gene names to {' or '.join(each.__name__ for each in types)}.",
        "Take the file from the model's release again.",
    )


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
    table = json.load(stream) if suffix == ".json" else PlainUnpickler(stream).load()
    if not isinstance(table, dict):
        raise TypeError(f"holds a {type(table).__name__}, not a dictionary")
    return table


def write_tables(tables: VocabularyTables, path: Path) -> Path:
    """Write one Parquet file, which appears whole or not at all; see `Vocabulary.save`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    special = {name: token for name, token in tables.tokens.items() if name.startswith("<")}
    names = _names_by_gene(tables)
    settings = {
        "format": _FORMAT,
        "name": tables.name,
        "special_tokens": special,
        "input_length": tables.input_length,
        "sha256": tables.sha256,
    }
    described = json.dumps(settings).encode()
    columns = {
        "ensembl_id": list(names),
        "token": [tables.tokens.get(gene) for gene in names],
        "median": [tables.medians.get(gene) for gene in names],
        "symbols": [each[0] for each in names.values()],
        "aliases": [each[1] for each in names.values()],
    }
    metadata = {_SETTINGS: described, _SETTINGS_SHA256: hashlib.sha256(described).hexdigest()}
    table = pa.table(columns, schema=_schema().with_metadata(metadata))
    with whole_or_nothing(path, overwrite=True) as part:
        # Checksums, because the hash covers tokens and medians, but not the other names. Hardly a
        # value comes twice, so that dictionaries of them only take space.
        pq.write_table(
            table, part, compression="zstd", compression_level=19, use_dictionary=False,
            write_page_checksum=True,
        )  # fmt: skip
    return path


def _names_by_gene(tables: VocabularyTables) -> dict[str, tuple[list[str], list[str]]]:
    names: dict[str, tuple[list[str], list[str]]] = {
        gene: ([], []) for gene in tables.tokens if not gene.startswith("<")
    }
    for column, mapping in enumerate((tables.symbols, tables.aliases)):
        for name, gene in mapping.items():
            names.setdefault(gene, ([], []))[column].append(name)
    return names


def _read_parquet(path: Path) -> VocabularyTables:
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
        return _from_table(table, _read_settings(table.schema))
    # A damaged file can raise nearly anything, depending on the bytes.
    except Exception as error:
        raise VocabularyError(
            f"{path} is not a vocabulary of rankformer, or is damaged: {error}.",
            f"A Parquet file written by Vocabulary.save, format {_FORMAT}.",
            "Save it again, or take it from where the checkpoint came from.",
        ) from error


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
    if not isinstance(settings["sha256"], str):
        raise ValueError("its settings name no hash")
    return settings


def _from_table(table: "pa.Table", settings: Mapping[str, Any]) -> VocabularyTables:
    if table["ensembl_id"].null_count:
        raise ValueError("genes have no id")
    with_token = table.filter(table["token"].is_valid())
    genes = with_token["ensembl_id"].to_pylist()
    return VocabularyTables(
        {**settings["special_tokens"], **_join(genes, with_token["token"])},
        _join(genes, with_token["median"]),
        symbols=_read_names(table, "symbols"),
        aliases=_read_names(table, "aliases"),
        input_length=settings["input_length"],
        name=settings["name"],
        sha256=settings["sha256"],
    )


def _join(genes: list[str], column: "pa.ChunkedArray") -> dict[str, Any]:
    return dict(zip(genes, column.to_pylist(), strict=True))


def _read_names(table: "pa.Table", column: str) -> dict[str, str]:
    """Name → Ensembl id, of a column that lists the names of each gene."""
    import pyarrow.compute as pc

    names = pc.list_flatten(table[column])
    if names.null_count or table[column].null_count:
        raise ValueError(f"{column} are missing")
    genes = table["ensembl_id"].take(pc.list_parent_indices(table[column]))
    return dict(zip(names.to_pylist(), genes.to_pylist(), strict=True))
