"""Options as a manifest has them: plain values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rankformer.errors import MissingFileError
from rankformer.runs.inputs import InputFile
from rankformer.tokens.reading_options import ReadingOptions

# How it is done, and not what comes of it.
_NOT_BINDING = ("n_threads", "chunk_cells")
# Manifests of runs without them are as they were before there were these options.
_ONLY_WHERE_GIVEN = ("only_genes", "orthologs", "estimated_counts")


def plain_reading(options: ReadingOptions | None) -> dict[str, Any]:
    """Where counts and genes lie; of tables of genes what identifies them."""
    options = options or ReadingOptions()
    plain = {
        name: value for name, value in vars(options).items()
        if name not in (*_NOT_BINDING, "gene_table", "pyensembl_genome", *_ONLY_WHERE_GIVEN)
    }  # fmt: skip
    table = options.gene_table
    names = None if table is None else [table.symbols, table.previous, table.aliases]
    plain["gene_table"] = None if names is None else _hash_of(names)
    genome = options.pyensembl_genome
    plain["pyensembl_genome"] = None if genome is None else str(genome)
    if options.estimated_counts:
        plain["estimated_counts"] = True
    if options.orthologs is not None:
        told = options.orthologs.told()
        plain["species"], plain["ortholog_choice"] = told["species"], told["choice"]
        plain["orthologs"] = told["table_sha256"]
    if options.only_genes is not None:
        plain["only_genes"] = _hash_of(sorted(options.only_genes))
    return dict(as_plain(plain))


def plain_file(path: Path) -> dict[str, Any]:
    """A file or folder that is no input of the run, but decides its result.

    Raises
    ------
    MissingFileError
        If it does not exist.
    """
    if not path.exists():
        raise MissingFileError(f"{path} does not exist.", "A file or folder.", "Check the path.")
    found = asdict(InputFile.of(path))
    return {name: found[name] for name in ("path", "n_bytes", "modified", "header_sha256")}


def as_plain(value: Any) -> Any:
    """Values as JSON gives them back."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _hash_of(names: Sequence[object]) -> str:
    text = json.dumps(as_plain(names), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
