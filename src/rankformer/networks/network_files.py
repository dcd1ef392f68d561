"""Networks of genes from files, and as files: GraphML or Parquet."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import read_class_names, require_column
from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.networks.gene_network import GeneNetwork, build_network
from rankformer.networks.known_pairs import read_known_pairs
from rankformer.networks.settings import NetworkJob
from rankformer.results.csv_tables import write_csv
from rankformer.results.output_checks import check_target
from rankformer.results.parquet_tables import indented_table, schema_metadata
from rankformer.scratch import whole_or_nothing
from rankformer.summary import Summary, Written
from rankformer.tokens.joined_sources import check_inputs_stay
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import opened_sources

FORMATS = (".graphml", ".parquet")
_MOST_TOLD = 10


def network_files(
    job: NetworkJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> Summary:
    """Make a network of the cells of files; the output appears whole or not at all.

    Parameters
    ----------
    job
        Inputs, output, and what is measured.
    model
        A published name or a folder, also one that ``finetune`` wrote.
    options
        Where counts and genes lie, for all inputs.
    **settings
        Settings of the `Embedder`.

    Returns
    -------
    What was written.

    Raises
    ------
    RankformerError
        If input, model, settings and output do not go together.
    """
    output = check_target(job.output, FORMATS, job.overwrite)
    known = None
    if job.known is not None:
        check_target(job.curves_output, (".csv",), job.overwrite)
        _check_pairs_stay(job)
        known = read_known_pairs(job.known)
    checkpoint = Checkpoint.open(model)
    with opened_sources(job.sources, checkpoint.vocabulary, options) as streams:
        check_inputs_stay(output, streams)
        network = build_network(
            streams, choose_cells(streams, job.where), Embedder(checkpoint, **settings),
            job.settings, known,
        )  # fmt: skip
    with whole_or_nothing(output, overwrite=job.overwrite) as part:
        write_network(network, part)
    if network.curves is None and job.known is not None and job.overwrite:
        # They would be of another network.
        job.curves_output.unlink(missing_ok=True)
    if network.curves is not None:
        with whole_or_nothing(job.curves_output, overwrite=job.overwrite) as part:
            write_csv(network.curves, part)
    return _summarize(network, job)


def _check_pairs_stay(job: NetworkJob) -> None:
    assert job.known is not None  # noqa: S101  # it is asked for
    if job.known.resolve() in (job.output.resolve(), job.curves_output.resolve()):
        raise SettingsError(
            f"The known pairs are read from {job.known}, which would be written.",
            f"Pairs in another file than {job.output} and {job.curves_output}.",
            "Choose another output, or rename the file of pairs.",
        )


def choose_cells(
    streams: Sequence[TokenSource], where: Mapping[str, str]
) -> list[NDArray[np.bool_]]:
    """Which cells have the values that `where` asks for, source by source.

    Raises
    ------
    SettingsError
        If a column is missing, or no cell is left.
    """
    chosen = []
    for stream in streams:
        own = stream.kept.copy()
        for column, value in where.items():
            require_column(stream.obs, column, "--where", f"obs of {stream.name}")
            own &= _names(stream, column) == value
        chosen.append(own)
    if not any(own.any() for own in chosen):
        told = " and ".join(f"{column} = {value}" for column, value in where.items())
        values = [
            f"{column}: {', '.join(pd.Series(_names(streams[0], column)).dropna().unique()[:8])}"
            for column in where
        ]
        raise SettingsError(
            f"No cell has {told or 'passed the filter'}.",
            f"Values that cells have ({'; '.join(values)}).",
            "Correct --where.",
        )
    return chosen


def _names(stream: TokenSource, column: str) -> NDArray[np.object_]:
    """(n_cells,) texts, None where a value is missing."""
    return read_class_names(
        stream.obs[column], f"obs[{column!r}] of {stream.name}",
        fix="Name a column of names or whole numbers (--where).",
    )  # fmt: skip


def write_network(network: GeneNetwork, path: Path) -> None:
    """Write it as the file's ending says."""
    if path.suffix == ".parquet":
        _write_parquet(network, path)
    else:
        _write_graphml(network, path)


def _write_parquet(network: GeneNetwork, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(network.edges, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), **schema_metadata(network.provenance)}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


def _write_graphml(network: GeneNetwork, path: Path) -> None:
    import networkx as nx

    graph: Any = nx.DiGraph() if network.is_directed else nx.Graph()
    graph.graph["rankformer"] = json.dumps(network.provenance, default=str)
    edges = network.edges
    for side in ("source", "target"):
        names = edges[[f"{side}_ensembl_id", side]].drop_duplicates()
        graph.add_nodes_from((gene, {"symbol": symbol}) for gene, symbol in names.to_numpy())
    figures = edges.drop(columns=["source_ensembl_id", "source", "target_ensembl_id", "target"])
    for source, target, values in zip(
        edges["source_ensembl_id"], edges["target_ensembl_id"], figures.to_dict("records"),
        strict=True,
    ):  # fmt: skip
        # Readers of GraphML differ in how they take NaN.
        told = {str(key): value for key, value in values.items() if not pd.isna(value)}
        graph.add_edge(source, target, **told)
    nx.write_graphml_xml(graph, path)


def _summarize(network: GeneNetwork, job: NetworkJob) -> Summary:
    names = ("source", "target", "n_cells", "effect", "excess", "q_value", "coexpression")
    shown = network.edges[[name for name in names if name in network.edges]].head(_MOST_TOLD)
    n_pairs = network.provenance["n_pairs"]
    written = [Written(job.output, f"{len(network.edges):,} of {n_pairs:,} pairs of genes")]
    told = [f"The first of them:\n{indented_table(shown)}"]
    tables = {"first": shown.to_dict(orient="records")}
    if network.recovery is not None:
        written.append(Written(job.curves_output, "how well the known pairs are found"))
        told.append(f"How well the known pairs are found:\n{indented_table(network.recovery)}")
        tables["recovery"] = network.recovery.to_dict(orient="records")
    figures = {"n_pairs": n_pairs, "n_pairs_written": len(network.edges), "by": job.settings.by}
    return Summary(tuple(written), figures, tables, tuple(told))
