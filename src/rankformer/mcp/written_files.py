"""Figures of files that a tool has just written."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from rankformer.annotate.settings import AnnotateJob
from rankformer.mcp.plain_data import first, name_shown
from rankformer.results.csv_tables import read_csv


def count_rows(table: Path) -> int:
    """Rows of a Parquet table."""
    from pyarrow.parquet import read_metadata

    return int(read_metadata(table).num_rows)


def count_labels(job: AnnotateJob) -> dict[str, Mapping[str, int]]:
    """How many cells got each label, by the name of the result."""
    from rankformer.annotate.prepared import find_reference, name_keys
    from rankformer.annotate.ready import find_ready
    from rankformer.annotate.reference import Reference

    labels = job.labels
    if not labels and (ready := find_ready(job.references)) is not None:
        labels = (ready.label,)
    if not labels:
        found = find_reference(job.references)
        labels = tuple(found.codes) if isinstance(found, Reference) else ()
    return {key: _counts(job.output, key) for key in name_keys(labels, job.keys).values()}


def _counts(output: Path, key: str) -> dict[str, int]:
    counts = _column(output, key).value_counts()
    return {name_shown(label): int(n) for label, n in first(counts[counts > 0].items())}


def _column(output: Path, key: str) -> "pd.Series[str]":
    if output.suffix == ".csv":
        return read_csv(output)[key].astype(str)
    if output.suffix == ".parquet":
        return pd.read_parquet(output, columns=[key])[key].astype(str)
    from rankformer.cells.open_sources import open_source

    source = open_source(output)
    try:
        return source.obs[key].astype(str)
    finally:
        source.close()
