"""What Cell Ranger writes: ``.h5`` files of version 2 and 3, and folders with ``matrix.mtx``.

The index of `var` is the feature id (Ensembl, where the reference was), its columns are
``gene_symbols`` and, where the source has them, ``feature_types`` and ``genome``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rankformer.cells.matrix_market import open_text, read_matrix_market
from rankformer.cells.row_matrices import CompressedRows, RowMatrix, SelectedRows
from rankformer.errors import CountsError

GENE_EXPRESSION = "Gene Expression"
_MATRIX_NAME = re.compile(r"(.*)matrix\.mtx(\.gz)?")
_NAMES_BESIDE = re.compile(r"(.*)(barcodes|features|genes)\.tsv(\.gz)?")


@dataclass(frozen=True, eq=False)
class TenxMatrix:
    """Counts of a 10x source: genes only, other features are left out and said."""

    matrix: RowMatrix
    obs: pd.DataFrame
    var: pd.DataFrame
    note: str


def find_matrix_files(folder: Path) -> list[Path]:
    """The ``matrix.mtx`` files in a folder, with or without a prefix (as GEO adds one)."""
    return sorted(file for file in folder.iterdir() if _MATRIX_NAME.fullmatch(file.name))


def is_beside_matrix(file: Path) -> bool:
    """Whether a file has the name of one that belongs to a ``matrix.mtx``."""
    return _NAMES_BESIDE.fullmatch(file.name) is not None


def holds_tenx(group: Mapping[str, Any]) -> bool:
    """Whether an open HDF5 file has the layout of Cell Ranger 3 or 2."""
    return any("barcodes" in member for member in _groups(group).values())


def read_tenx_h5(file: Mapping[str, Any], name: str) -> TenxMatrix:
    """Read an open ``.h5`` file of Cell Ranger 2 or 3; the counts stay on disk."""
    groups = {key: each for key, each in _groups(file).items() if "barcodes" in each}
    if len(groups) > 1:
        raise CountsError(
            f"{name} holds the counts of {len(groups)} genomes: {', '.join(sorted(groups))}.",
            "One genome in a file of Cell Ranger 2.",
            "Split it: scanpy.read_10x_h5(path, genome=...).write_h5ad(...).",
        )
    (group,) = groups.values()
    if group["shape"].shape != (2,):
        raise ValueError(f"its shape has {group['shape'].size:,} numbers, not two")
    n_features, n_cells = (int(length) for length in group["shape"][:])
    # Columns are cells: what is CSC for features by cells is CSR for cells by features.
    shape = (n_cells, n_features)
    # Before they are read: a damaged length takes memory without end.
    ids = group["features/id"] if "features" in group else group["genes"]
    _check_lengths(shape, len(group["barcodes"]), len(ids), name)
    arrays = (group["data"], group["indices"], group["indptr"])
    matrix = CompressedRows(*arrays, shape, may_repeat=False)
    return _keep_genes(matrix, _texts(group["barcodes"]), _read_features(group), name)


def read_tenx_folder(matrix_file: Path, name: str) -> TenxMatrix:
    """Read ``matrix.mtx[.gz]`` with its features (or genes) and barcodes beside it."""
    match = _MATRIX_NAME.fullmatch(matrix_file.name)
    prefix = match[1] if match else ""
    features = _read_table(_find_beside(matrix_file, prefix, ("features.tsv", "genes.tsv")))
    barcodes = _read_table(_find_beside(matrix_file, prefix, ("barcodes.tsv",)))
    columns = ["id", "gene_symbols", "feature_types"]
    features.columns = columns[: features.shape[1]] + list(range(3, features.shape[1]))
    var = features[columns[: features.shape[1]]].set_index("id")
    matrix = read_matrix_market(matrix_file)
    if matrix.shape == (len(var), len(barcodes)) and matrix.shape[0] != matrix.shape[1]:
        raise CountsError(
            f"{matrix_file.name} in {name} lies as cells by features.",
            "Features by cells, as Cell Ranger writes it.",
            "Transpose it, or read it with scanpy.read_mtx and save it as .h5ad.",
        )
    return _keep_genes(matrix, barcodes[0].to_numpy(dtype=object), var, name)


def _groups(file: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in file.items() if hasattr(each, "keys")}


def _read_features(group: Mapping[str, Any]) -> pd.DataFrame:
    if "features" not in group:
        index = pd.Index(_texts(group["genes"]))
        return pd.DataFrame({"gene_symbols": _texts(group["gene_names"])}, index=index)
    features = group["features"]
    names = {"gene_symbols": "name", "feature_types": "feature_type", "genome": "genome"}
    columns = {new: _texts(features[old]) for new, old in names.items() if old in features}
    return pd.DataFrame(columns, index=pd.Index(_texts(features["id"])))


def _texts(dataset: Any) -> "np.ndarray[Any, np.dtype[np.object_]]":
    return np.array(
        [each.decode() if isinstance(each, bytes) else str(each) for each in dataset[:]],
        dtype=object,
    )


def _find_beside(matrix_file: Path, prefix: str, names: tuple[str, ...]) -> Path:
    tried = [f"{prefix}{name}{ending}" for name in names for ending in (".gz", "")]
    for each in tried:
        if (matrix_file.parent / each).is_file():
            return matrix_file.parent / each
    raise CountsError(
        f"There is no {' or '.join(prefix + name for name in names)} beside {matrix_file}.",
        "matrix.mtx, features.tsv (or genes.tsv) and barcodes.tsv in one folder, plain or .gz.",
        "Put the missing file there.",
    )


def _read_table(path: Path) -> pd.DataFrame:
    with open_text(path) as stream:
        try:
            # quoting=3: a quotation mark is part of a name.
            return pd.read_csv(
                stream, sep="\t", header=None, dtype=str, keep_default_na=False, quoting=3
            )
        except pd.errors.EmptyDataError:
            return pd.DataFrame({0: pd.Series(dtype=str)})


def _keep_genes(matrix: RowMatrix, barcodes: Any, var: pd.DataFrame, name: str) -> TenxMatrix:
    _check_lengths(matrix.shape, len(barcodes), len(var), name)
    obs = pd.DataFrame(index=pd.Index(barcodes, dtype=object))
    if "feature_types" not in var:
        return TenxMatrix(matrix, obs, var, "")
    untyped = np.flatnonzero(var["feature_types"] == "")
    if untyped.size:
        # Left out, they would be missed by no one.
        raise ValueError(
            f"{len(untyped):,} features, such as {var.index[untyped[0]]}, have no type"
        )
    is_gene = (var["feature_types"] == GENE_EXPRESSION).to_numpy()
    if is_gene.all():
        return TenxMatrix(matrix, obs, var, "")
    if not is_gene.any():
        raise CountsError(
            f"{name} holds no genes, only {_list_types(var)}.",
            f"Features of the type {GENE_EXPRESSION!r}.",
            "Take the gene expression matrix of this run.",
        )
    note = f"Left out {_list_types(var[~is_gene])}: only {GENE_EXPRESSION!r} is used."
    return TenxMatrix(
        SelectedRows(matrix, var_index=np.flatnonzero(is_gene)), obs, var[is_gene], note
    )


def _check_lengths(shape: tuple[int, int], n_barcodes: int, n_features: int, name: str) -> None:
    if shape != (n_barcodes, n_features):
        raise CountsError(
            f"{name} holds a matrix of {shape[1]:,} features x {shape[0]:,} cells, "
            f"but {n_features:,} features and {n_barcodes:,} barcodes.",
            "One row a feature and one column a barcode.",
            "Take matrix, features and barcodes of one run.",
        )


def _list_types(var: pd.DataFrame) -> str:
    sizes = var["feature_types"].value_counts()
    return ", ".join(f"{size:,} features of {kind!r}" for kind, size in sizes.items())
