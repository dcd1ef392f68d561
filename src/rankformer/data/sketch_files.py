"""Sketches on disk: one Parquet file, a row a gene, with checksums and a hash over all of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rankformer.data.expression_sketch import ExpressionSketch
from rankformer.errors import VocabularyError
from rankformer.scratch import whole_or_nothing

_FORMAT = 1
_SETTINGS = b"rankformer_expression_sketch"
_MAGIC = b"PAR1"
_GENES_AT_ONCE = 4096
_Names = list[tuple[str, int]]


def is_sketch(path: Path) -> bool:
    """Whether a path is a file like those that `write_sketch` writes, damaged or not."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def write_sketch(sketch: ExpressionSketch, path: Path) -> Path:
    """Write one file, which appears whole or not at all; see `ExpressionSketch.save`."""
    import pyarrow.parquet as pq

    schema = _schema(sketch.n_buckets)
    settings = {"format": _FORMAT, "n_cells": sketch.n_cells, "sha256": _hash(sketch)}
    metadata = {_SETTINGS: json.dumps(settings).encode()}
    with (
        whole_or_nothing(path, overwrite=True) as part,
        pq.ParquetWriter(
            part, schema.with_metadata(metadata), compression="zstd", use_dictionary=False,
            write_page_checksum=True,
        ) as writer,
    ):  # fmt: skip
        for block in _blocks(sketch):
            writer.write_batch(_batch(block, schema))
    return path


def read_sketch(path: Path) -> ExpressionSketch:
    """Read a file that `write_sketch` wrote; see `ExpressionSketch.load`."""
    import pyarrow.parquet as pq

    sketch = ExpressionSketch()
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            settings = _read_settings(file.schema_arrow, sketch.n_buckets)
            for batch in file.iter_batches(_GENES_AT_ONCE):
                _add_rows(sketch, batch)
        sketch.n_cells = settings["n_cells"]
        if _hash(sketch) != settings["sha256"]:
            raise ValueError("its content has another hash than it was written with")
    # A damaged file can raise nearly anything, depending on the bytes.
    except Exception as error:
        raise VocabularyError(
            f"{path} is not a sketch of rankformer, or is damaged: {' '.join(str(error).split())}.",
            f"A file written by ExpressionSketch.save or `rankformer vocabulary sketch`, "
            f"format {_FORMAT}.",
            "Make it again, or copy it again from where it was made.",
        ) from error
    return sketch


_Block = tuple[tuple[str, ...], NDArray[np.uint32], list[_Names], list[_Names]]


def _blocks(sketch: ExpressionSketch) -> Iterator[_Block]:
    """Some genes at a time, in ascending order, with their names in ascending order."""
    for genes, buckets in sketch.blocks(_GENES_AT_ONCE):
        symbols = [sorted(sketch.symbols.get(gene, {}).items()) for gene in genes]
        biotypes = [sorted(sketch.biotypes.get(gene, {}).items()) for gene in genes]
        yield genes, buckets, symbols, biotypes


def _hash(sketch: ExpressionSketch) -> str:
    digest = hashlib.sha256(str(sketch.n_cells).encode())
    for genes, buckets, symbols, biotypes in _blocks(sketch):
        digest.update(json.dumps([genes, symbols, biotypes]).encode())
        digest.update(buckets.astype("<u4").tobytes())
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


def _batch(block: _Block, schema: Any) -> Any:
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


def _add_rows(sketch: ExpressionSketch, batch: Any) -> None:
    genes = batch.column("ensembl_id").to_pylist()
    buckets = batch.column("n_cells_in_bucket").flatten().to_numpy()
    sketch.add_block(genes, buckets.reshape(len(genes), -1))
    for known, column in ((sketch.symbols, "symbols"), (sketch.biotypes, "biotypes")):
        for gene, names in zip(genes, batch.column(column).to_pylist(), strict=True):
            if names:
                known[gene] = Counter(dict(names))
