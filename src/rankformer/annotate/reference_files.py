"""References on disk: a folder that is opened again without reading it into memory."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.annotate.neighbours import NeighbourIndex, require_usearch
from rankformer.annotate.reference import Reference
from rankformer.annotate.reference_counts import ReferenceCounts
from rankformer.checkpoints.hashes import hash_of
from rankformer.errors import SettingsError
from rankformer.own_files import expect_own_files, expect_plain_names
from rankformer.results.cell_embeddings import write_npy
from rankformer.scratch import check_free, whole_or_nothing

if TYPE_CHECKING:
    from usearch.index import Index

DESCRIPTION, VECTORS, LABELS, GRAPH, COUNTS, GENES, GROUPS = (
    "reference.json",
    "vectors.npy",
    "labels.parquet",
    "index.usearch",
    "counts.parquet",
    "genes.parquet",
    "groups.parquet",
)
_FORMAT = 1
# Not the vectors: they are large, and a damaged one is one cell's. The pages of the counts have
# checksums of their own.
_HASHED = (LABELS, GRAPH, GENES, GROUPS)


def is_saved_reference(path: object) -> bool:
    """Whether `path` is a folder that `save_reference` made."""
    return isinstance(path, str | os.PathLike) and (Path(path) / DESCRIPTION).is_file()


def save_reference(reference: Reference, folder: str | os.PathLike[str]) -> Path:
    """Write a reference as a folder, which appears whole or not at all.

    Parameters
    ----------
    reference
        What to write.
    folder
        A folder that is not there yet. It gets ``reference.json``: model, layer, mode, sources,
        sizes of the other files, and hashes of all but the first of them; ``vectors.npy``:
        (n_cells, d_model) float32 of length 1; ``labels.parquet``: a row a cell; of a large
        reference ``index.usearch``, in the format of usearch; ``groups.parquet`` where donors or
        batches are known; and, unless it was made of saved tokens, ``counts.parquet`` and
        ``genes.parquet``: the counts of its cells, so that these can be ranked again among the
        genes that a query measured too, and compared with it by their expression. They take about
        as much of the disk as the vectors do.

    Raises
    ------
    OutputError
        If something is there, or it cannot be written.

    Examples
    --------
    >>> import rankformer
    >>> reference = rankformer.build_reference("pbmc.h5ad", "gf-12L-95M-i4096", ["cell_type"])
    >>> folder = rankformer.save_reference(reference, "my-reference")
    """
    folder = check_free(folder)
    with whole_or_nothing(folder, overwrite=False) as part:
        part.mkdir()
        write_npy(part / VECTORS, reference.index.vectors)
        _write_labels(part / LABELS, reference)
        if reference.index.graph is not None:
            reference.index.graph.save(str(part / GRAPH))
        if reference.groups is not None:
            _write_groups(part / GROUPS, reference.groups)
        if reference.counts is not None:
            reference.counts.save(part / COUNTS)
            _write_genes(part / GENES, reference.counts.genes, reference.ranked)
        sizes = {each.name: each.stat().st_size for each in sorted(part.iterdir())}
        description = {
            "format": _FORMAT,
            "n_cells": len(reference),
            "classes": {name: list(each) for name, each in reference.classes.items()},
            "files": sizes,
            "sha256": {name: hash_of(part / name) for name in _HASHED if name in sizes},
            "provenance": dict(reference.provenance),
        }
        (part / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return folder


def open_reference(folder: str | os.PathLike[str]) -> Reference:
    """Open a folder that `save_reference` made; vectors and index are mapped from the disk.

    Raises
    ------
    SettingsError
        If it is none, or it is damaged.

    Examples
    --------
    >>> import rankformer
    >>> reference = rankformer.build_reference("pbmc.h5ad", "gf-12L-95M-i4096", ["cell_type"])
    >>> folder = rankformer.save_reference(reference, "my-reference")
    >>> reference = rankformer.open_reference("my-reference")
    """
    if not isinstance(folder, str | os.PathLike):
        raise SettingsError(
            f"The reference is given as {type(folder).__name__}.",
            "A Reference, or the folder that save_reference made.",
            "Build one of labelled cells: build_reference(cells, model, label).",
        )
    folder = Path(folder)
    expect_own_files(folder, SettingsError)
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        _check_files(folder, description)
        vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        classes = {name: tuple(each) for name, each in description["classes"].items()}
        codes = _read_labels(folder / LABELS, classes)
        _check_shapes(vectors, codes, description)
        graph = (
            _open_graph(folder / GRAPH, vectors.shape) if GRAPH in description["files"] else None
        )
        provenance = dict(description["provenance"])
        counts, ranked = _open_counts(folder, description)
        groups = _read_groups(folder / GROUPS) if GROUPS in description["files"] else None
    except SettingsError:
        raise
    except Exception as error:
        # numpy, Arrow and usearch each raise errors of their own kinds for bytes they cannot read.
        raise _damaged(folder, f"{type(error).__name__}: {error}".splitlines()[0]) from error
    index = NeighbourIndex(vectors, graph)
    return Reference(index, codes, classes, provenance, counts, ranked, groups)


def _write_labels(path: Path, reference: Reference) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        name: pa.DictionaryArray.from_arrays(codes, pa.array(reference.classes[name], pa.string()))
        for name, codes in reference.codes.items()
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def _read_labels(
    path: Path, classes: Mapping[str, tuple[str, ...]]
) -> dict[str, NDArray[np.int32]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    codes = {}
    for name, own in classes.items():
        # By name: Parquet need not keep the order of a dictionary.
        texts = table[name].cast(pa.string())
        places = pc.index_in(texts, pa.array(own, pa.string()))
        if places.null_count or len(pc.unique(places)) != len(own):
            raise ValueError(f"{DESCRIPTION} and {path.name} differ in the classes of {name}")
        codes[name] = np.asarray(places, dtype=np.int32)
    return codes


def _write_groups(path: Path, groups: NDArray[np.object_]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"group": pa.array(groups, pa.string())}), path, compression="zstd")


def _read_groups(path: Path) -> NDArray[np.object_]:
    import pyarrow.parquet as pq

    return np.asarray(pq.read_table(path)["group"].to_numpy(), dtype=object)


def _write_genes(path: Path, genes: NDArray[np.int32], ranked: NDArray[np.int32] | None) -> None:
    """Which genes were measured; and of each whether cells were ranked by it, if one answer does.

    Genes beyond these, of some sources alone, are no matter: no answer then.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    of_each = pa.nulls(len(genes), pa.bool_())
    if ranked is not None and np.isin(ranked, genes).all():
        of_each = pa.array(np.isin(genes, ranked))
    pq.write_table(pa.table({"token": pa.array(genes), "ranked": of_each}), path)


def _open_counts(
    folder: Path, description: Mapping[str, Any]
) -> tuple[ReferenceCounts | None, NDArray[np.int32] | None]:
    """None of a reference of saved tokens, and of one that an earlier version wrote."""
    import pyarrow.parquet as pq

    if COUNTS not in description["files"]:
        return None, None
    table = pq.read_table(folder / GENES)
    genes = table["token"].to_numpy().astype(np.int32)
    if len(genes) == 0 or (np.diff(genes) <= 0).any():
        raise ValueError(f"{GENES} does not hold ascending tokens")
    if pq.read_metadata(folder / COUNTS).num_rows != description["n_cells"]:
        raise ValueError(f"{COUNTS} does not hold {description['n_cells']:,} cells")
    ranked = table["ranked"]
    known = None if ranked.null_count else genes[ranked.to_numpy()]
    return ReferenceCounts(genes, folder / COUNTS), known


def _open_graph(path: Path, shape: tuple[int, ...]) -> "Index":
    graph = require_usearch().restore(str(path), view=True)
    if graph is None or (len(graph), graph.ndim) != shape:
        raise ValueError(f"{path.name} does not index {shape[0]:,} vectors of {shape[1]}")
    return graph


def _check_files(folder: Path, description: Mapping[str, Any]) -> None:
    if description.get("format") != _FORMAT:
        raise SettingsError(
            f"The reference {folder} has format {description.get('format')}.",
            f"Format {_FORMAT}, which this version reads.",
            "Update rankformer, or build the reference anew.",
        )
    expect_plain_names(folder, description["files"])
    for name, size in description["files"].items():
        found = (folder / name).stat().st_size
        if found != size:
            raise _damaged(folder, f"{name} has {found:,} of {size:,} bytes")
    # usearch believes what a file says of itself, and a damaged one takes the interpreter down.
    # Version 0.1.0 wrote no hashes.
    written = description.get("sha256", {})
    for name in _HASHED:
        if name in written and hash_of(folder / name) != written[name]:
            raise _damaged(folder, f"{name} is not as it was written")


def _check_shapes(
    vectors: NDArray[np.float32],
    codes: Mapping[str, NDArray[np.int32]],
    description: Mapping[str, Any],
) -> None:
    n_cells = description["n_cells"]
    if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != n_cells:
        raise ValueError(f"{VECTORS} holds {vectors.dtype} {vectors.shape}")
    for name, each in codes.items():
        if len(each) != n_cells:
            raise ValueError(f"{LABELS} holds {len(each):,} of {n_cells:,} values of {name}")


def _damaged(folder: Path, what: str) -> SettingsError:
    return SettingsError(
        f"The reference {folder} cannot be read: {what}.",
        "A folder as `rankformer annotate --save-reference` wrote it.",
        "Copy it again from where it was made, or build it anew.",
    )
