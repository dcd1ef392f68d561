"""Sketches on disk: one Parquet file, a row a gene, with checksums and a hash over all of it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import VocabularyError
from rankformer.scratch import whole_or_nothing

_FORMAT = 1
_SETTINGS = b"rankformer_expression_sketch"
_MAGIC = b"PAR1"
GENES_AT_ONCE = 4096
_Names = list[tuple[str, int]]
Block = tuple[tuple[str, ...], NDArray[np.uint32], list[_Names], list[_Names]]
"""Ids of some genes; (n_genes, n_buckets) cells of each; its symbols, its biotypes, with cells."""


def is_sketch(path: Path) -> bool:
    """Whether a path is a file like those that `write_sketch` writes, damaged or not."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def write_sketch(
    path: Path, n_cells: int, n_buckets: int, blocks: Callable[[], Iterator[Block]]
) -> Path:
    """Write one file, which appears whole or not at all; see `ExpressionSketch.save`.

    Parameters
    ----------
    path
        The file, in the place of one that was there.
    n_cells, n_buckets
        Of the sketch.
    blocks
        Gives the blocks of the sketch from the first on; it is called twice, as the hash of all
        goes before them.
    """
    import pyarrow.parquet as pq

    schema = _schema(n_buckets)
    settings = {"format": _FORMAT, "n_cells": n_cells, "sha256": _hash(n_cells, blocks())}
    metadata = {_SETTINGS: json.dumps(settings).encode()}
    with (
        whole_or_nothing(path, overwrite=True) as part,
        pq.ParquetWriter(
            part, schema.with_metadata(metadata), compression="zstd", use_dictionary=False,
            write_page_checksum=True,
        ) as writer,
    ):  # fmt: skip
        for block in blocks():
            writer.write_batch(_batch(block, schema))
    return path


def read_sketch(path: Path, n_buckets: int, add: Callable[[Block], None]) -> int:
    """Read a file that `write_sketch` wrote.

    Parameters
    ----------
    path, n_buckets
        The file, and how many buckets a sketch has.
    add
        Called with each block as it is read; what it makes of them is not to be used where an error
        follows.

    Returns
    -------
    The number of cells.

    Raises
    ------
    VocabularyError
        If it is none, or damaged.
    """
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            settings = _read_settings(file.schema_arrow, n_buckets)
            n_cells, digest, last = settings["n_cells"], _begin_hash(settings["n_cells"]), ""
            for batch in file.iter_batches(GENES_AT_ONCE):
                block = _block(batch)
                _expect_ascending(last, block[0])
                _add_to_hash(digest, block)
                add(block)
                last = block[0][-1] if block[0] else last
        if digest.hexdigest() != settings["sha256"]:
            raise ValueError("its content has another hash than it was written with")
    # A damaged file can raise nearly anything, depending on the bytes.
    except Exception as error:
        raise VocabularyError(
            f"{path} is not a sketch of rankformer, or is damaged: {' '.join(str(error).split())}.",
            f"A file written by ExpressionSketch.save or `rankformer vocabulary sketch`, "
            f"format {_FORMAT}.",
            "Make it again, or copy it again from where it was made.",
        ) from error
    return int(n_cells)


def _expect_ascending(last: str, genes: Sequence[str]) -> None:
    """Refuse a gene that comes twice, as its cells would be counted twice."""
    if any(before >= after for before, after in pairwise((last, *genes))):
        raise ValueError("its genes are not in ascending order")


def _begin_hash(n_cells: int) -> "hashlib._Hash":
    return hashlib.sha256(str(n_cells).encode())


def _add_to_hash(digest: "hashlib._Hash", block: Block) -> None:
    genes, buckets, symbols, biotypes = block
    digest.update(json.dumps([genes, symbols, biotypes]).encode())
    digest.update(buckets.astype("<u4").tobytes())


def _hash(n_cells: int, blocks: Iterable[Block]) -> str:
    digest = _begin_hash(n_cells)
    for block in blocks:
        _add_to_hash(digest, block)
    return digest.hexdigest()


def _schema(n_buckets: int) -> Any:
    import pyarrow as pa

    names = pa.map_(pa.string(), pa.int64())
    return pa.schema(
        {
            "ensembl_id": pa.string(),
            "n_cells_in_bucket": pa.list_(pa.uint32(), n_buckets),
            "symbols": names,
            "biotypes": names,
        }
    )


def _batch(block: Block, schema: Any) -> Any:
    import pyarrow as pa

    genes, buckets, *names = block
    return pa.record_batch(
        [
            pa.array(genes, pa.string()),
            pa.FixedSizeListArray.from_arrays(pa.array(buckets.ravel()), buckets.shape[1]),
            *(pa.array(column, schema.field("symbols").type) for column in names),
        ],
        schema=schema,
    )


def _read_settings(schema: Any, n_buckets: int) -> Mapping[str, Any]:
    if _SETTINGS not in (schema.metadata or {}):
        raise ValueError(f"it has the columns {', '.join(schema.names)}")
    settings: Mapping[str, Any] = json.loads(schema.metadata[_SETTINGS])
    if settings["format"] != _FORMAT or not schema.equals(_schema(n_buckets)):
        raise ValueError(f"it has the format {settings['format']}")
    return settings


def _block(batch: Any) -> Block:
    genes = batch.column("ensembl_id").to_pylist()
    buckets = batch.column("n_cells_in_bucket").flatten().to_numpy()
    names = [
        [each or [] for each in batch.column(column).to_pylist()]
        for column in ("symbols", "biotypes")
    ]
    return tuple(genes), buckets.reshape(len(genes), -1), *names
