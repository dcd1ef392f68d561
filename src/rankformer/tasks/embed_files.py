"""The main job on files: counts in, a file of embeddings out."""

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.data.cells import FileKind, identify
from rankformer.data.tokens import is_saved_tokens
from rankformer.errors import OutputError, SettingsError
from rankformer.model.checkpoint import Checkpoint
from rankformer.model.embedder import Embedder, Pooling
from rankformer.tasks.embed import (
    CellEmbeddings,
    Mode,
    describe_run,
    fill_vectors,
    iterate_gene_vectors,
    tell_missing,
)
from rankformer.tasks.gene_summary import Statistic, summarize_genes
from rankformer.tasks.output import (
    name_cells,
    vectors_beside,
    write_cell_vectors,
    write_gene_summary,
    write_gene_vectors,
)
from rankformer.tasks.progress import show_progress
from rankformer.tasks.targets import check_cell_target, check_key, check_target
from rankformer.tasks.tokenize import ReadingOptions, TokenSource, open_sources

logger = logging.getLogger(__name__)

_COPIED = {".h5ad": FileKind.H5AD, ".zarr": FileKind.ZARR}


@dataclass(frozen=True)
class EmbedJob:
    """What to embed, and what to write.

    Attributes
    ----------
    sources
        Files and folders of counts, or of tokens that were saved. Several are embedded one after
        the other into one output.
    output
        ``.h5ad``, ``.zarr``, ``.npy`` or ``.parquet``; ``.parquet`` alone for mode ``"gene"``.
    mode
        ``"cell"``, ``"cls"`` or ``"gene"``.
    summary
        With mode ``"gene"``: one vector a gene, its mean or median over cells, instead of one a
        gene and cell.
    key
        Name in ``obsm``.
    overwrite
        Replace what is there.
    """

    sources: tuple[Path, ...]
    output: Path
    mode: Mode = "cell"
    summary: Statistic | None = None
    key: str = "X_geneformer"
    overwrite: bool = False


def embed_files(
    job: EmbedJob,
    model: str | os.PathLike[str],
    options: ReadingOptions | None = None,
    **settings: Any,
) -> list[TokenSource]:
    """Embed files into one output, which appears whole or not at all.

    All inputs are opened and checked before the model is loaded and anything is written. Memory
    does not grow with the cells.

    Parameters
    ----------
    job
        Inputs, output and mode.
    model
        A published name or a folder.
    options
        Where counts and genes lie, for all inputs.
    **settings
        Settings of the `Embedder`.

    Returns
    -------
    The inputs as they were opened, with their gene mappings.

    Raises
    ------
    RankformerError
        If input, model, settings and output do not go together.
    """
    _check_mode(job)
    check_key(job.key)
    output = _check_output(job)
    checkpoint = Checkpoint.open(model)
    with ExitStack() as stack:
        streams = [
            stack.enter_context(closing(stream))
            for stream in open_sources(job.sources, checkpoint.vocabulary, options)
        ]
        _check_inputs_stay(output, streams)
        embedder = Embedder(checkpoint, **settings)
        if job.mode != "gene":
            _embed_cells(job, streams, embedder, job.mode)
        elif job.summary:
            _summarize_genes(job, streams, embedder, job.summary)
        else:
            _embed_genes(job, streams, embedder)
    return streams


def _check_output(job: EmbedJob) -> Path:
    if job.mode == "gene":
        return check_target(job.output, (".parquet",), job.overwrite)
    return check_cell_target(job.output, job.overwrite)


def _check_mode(job: EmbedJob) -> None:
    if job.summary and job.mode != "gene":
        raise SettingsError(
            f"A summary over cells was asked for with mode {job.mode}.",
            'Mode "gene": its vectors are summarised over cells.',
            "Add --mode gene, or leave --summary out.",
        )


def _check_inputs_stay(output: Path, streams: Sequence[TokenSource]) -> None:
    """Refuse to replace an input, unless by a copy of it with the embeddings added."""
    inputs = [Path(stream.name).resolve() for stream in streams]
    if output.resolve() in inputs and _to_copy(output, streams) is None:
        raise OutputError(
            f"The output {output} is one of the inputs, and would not hold its counts.",
            "Another name: inputs are only read.",
            "Choose another output.",
        )


def _embed_cells(
    job: EmbedJob, streams: Sequence[TokenSource], embedder: Embedder, pooling: Pooling
) -> None:
    embedder.check_pooling(pooling)
    ends = np.cumsum([0, *map(len, streams)]).tolist()
    missing = np.full(ends[-1], None, dtype=object)
    with vectors_beside(job.output, (ends[-1], embedder.d_model)) as vectors:
        with show_progress(ends[-1], "Embedding cells") as progress:
            for start, stop, stream in zip(ends, ends[1:], streams, strict=False):
                missing[start:stop] = fill_vectors(
                    vectors[start:stop], stream, embedder, pooling=pooling, progress=progress
                )
        tell_missing(missing)
        provenance = describe_run(embedder, pooling, streams)
        sources = _sources(streams)
        embeddings = CellEmbeddings(
            vectors, missing, _joined_obs(streams, sources), provenance, sources
        )
        write_cell_vectors(
            job.output, embeddings,
            key=job.key, copy_of=_to_copy(job.output, streams), overwrite=job.overwrite,
        )  # fmt: skip


def _to_copy(output: Path, streams: Sequence[TokenSource]) -> Path | None:
    path, kind = streams[0].path, _COPIED.get(output.suffix)
    if len(streams) > 1 or path is None or kind is None or is_saved_tokens(path):
        return None
    # By what it is: AnnData's HDF5 may be named .h5.
    return path if identify(path) is kind else None


def _sources(streams: Sequence[TokenSource]) -> NDArray[np.object_] | None:
    if len(streams) == 1:
        return None
    names = np.array([stream.name for stream in streams], dtype=object)
    return np.repeat(names, [len(stream) for stream in streams])


def _joined_obs(
    streams: Sequence[TokenSource], sources: NDArray[np.object_] | None
) -> pd.DataFrame:
    """All columns of all inputs, missing where an input has none of the name, and the source."""
    if sources is None:
        return streams[0].obs
    obs = pd.concat([stream.obs for stream in streams]).apply(_of_one_type)
    names = chain(["source"], (f"source_{i}" for i in count(2)))
    column = next(name for name in names if name not in obs)
    logger.info('Which input a cell is of is in obs["%s"].', column)
    return obs.assign(**{column: sources})


def _of_one_type(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Text, where a column is text in one input and numbers in another: no format takes both."""
    kind = pd.api.types.infer_dtype(column, skipna=True)
    if column.dtype != object or kind in ("string", "empty"):
        return column
    if kind == "boolean":
        return column.astype("boolean")
    return column.map(str, na_action="ignore")


def _embed_genes(job: EmbedJob, streams: Sequence[TokenSource], embedder: Embedder) -> None:
    obs = pd.concat([stream.obs[[]] for stream in streams])
    cells = name_cells(obs, _sources(streams))
    starts = np.cumsum([0, *map(len, streams)])
    with show_progress(len(obs), "Embedding genes") as progress:
        blocks = (
            (start + rows, genes)
            for start, stream in zip(starts.tolist(), streams, strict=False)
            for rows, genes in iterate_gene_vectors(stream, embedder, progress)
        )
        provenance = describe_run(embedder, "gene", streams)
        with closing(blocks):
            write_gene_vectors(
                job.output, blocks, cells, embedder.checkpoint.vocabulary, provenance,
                overwrite=job.overwrite,
            )  # fmt: skip


def _summarize_genes(
    job: EmbedJob, streams: Sequence[TokenSource], embedder: Embedder, statistic: Statistic
) -> None:
    n_cells = sum(map(len, streams))
    with show_progress(n_cells, "Embedding genes") as progress:
        summary = summarize_genes(
            streams,
            embedder,
            statistic=statistic,
            scratch_folder=job.output.parent,
            progress=progress,
        )
    provenance = {**describe_run(embedder, "gene", streams), "summary": statistic}
    write_gene_summary(
        job.output, summary, embedder.checkpoint.vocabulary, provenance, overwrite=job.overwrite
    )
