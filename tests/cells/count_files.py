"""Writers of every kind of source, by hand or by the library that owns the format."""

import gzip
import shutil
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp


def make_counts(n_cells=60, n_vars=40, *, seed=0, density=0.3, dtype="float32") -> sp.csr_matrix:
    """Counts as droplets give them: overdispersed, deep and shallow cells, some cells empty."""
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(0, 0.5, (n_cells, 1))
    expected = depth * rng.lognormal(0.5, 1.2, (1, n_vars))
    counts = rng.poisson(rng.gamma(2.0, expected / 2.0)) * (rng.random((n_cells, n_vars)) < density)
    counts[n_cells // 3] = 0
    return sp.csr_matrix(counts.astype(dtype))


def make_adata(x: sp.csr_matrix | None = None, /, **layers) -> ad.AnnData:
    counts = make_counts() if x is None else x
    obs = pd.DataFrame(
        {"batch": pd.Categorical(np.where(np.arange(counts.shape[0]) % 2, "a", "b"))},
        index=[f"CELL{i:05d}-1" for i in range(counts.shape[0])],
    )
    var = pd.DataFrame(
        {"gene_symbols": [f"GENE{i}" for i in range(counts.shape[1])]},
        index=[f"ENSG{i:011d}" for i in range(counts.shape[1])],
    )
    return ad.AnnData(counts, obs=obs, var=var, layers=layers)


def as_layout(counts: sp.csr_matrix, layout: str):
    return {
        "csr": lambda: counts.copy(),
        "csc": lambda: counts.tocsc(),
        "dense": lambda: counts.toarray(),
        "csr_array": lambda: sp.csr_array(counts),
        "csc_array": lambda: sp.csc_array(counts),
    }[layout]()


def write_tenx_h5(path: Path, adata: ad.AnnData, *, version=3, feature_types=None) -> Path:
    cells = sp.csr_matrix(adata.X).astype("int32")
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        group["barcodes"] = adata.obs_names.to_numpy().astype("S")
        group["data"], group["indices"], group["indptr"] = cells.data, cells.indices, cells.indptr
        group["shape"] = np.array(cells.shape[::-1], "int32")
        ids, names = (x.to_numpy().astype("S") for x in (adata.var_names, adata.var.gene_symbols))
        if version == 2:
            group["genes"], group["gene_names"] = ids, names
            return path
        features = group.create_group("features")
        features["id"], features["name"] = ids, names
        kinds = feature_types or ["Gene Expression"] * len(ids)
        features["feature_type"] = np.array(kinds, "S")
        features["genome"] = np.array(["GRCh38"] * len(ids), "S")
        features["_all_tag_keys"] = np.array(["genome"], "S")
    return path


def write_tenx_folder(
    folder: Path, adata: ad.AnnData, *, version=3, prefix="", feature_types=None, shuffle=False
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    matrix = sp.coo_matrix(adata.X.T).astype("int64")
    order = np.lexsort((matrix.row, matrix.col))
    if shuffle:
        order = np.random.default_rng(1).permutation(order)
    entries = (matrix.data[order], (matrix.row[order], matrix.col[order]))
    matrix = sp.coo_matrix(entries, shape=matrix.shape)
    plain = folder / f"{prefix}matrix.mtx"
    scipy.io.mmwrite(plain, matrix, field="integer")
    columns = [adata.var_names, adata.var.gene_symbols]
    if version == 3:
        columns.append(feature_types or ["Gene Expression"] * adata.n_vars)
    lines = "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))
    (folder / f"{prefix}{'features' if version == 3 else 'genes'}.tsv").write_text(lines)
    (folder / f"{prefix}barcodes.tsv").write_text("".join(f"{n}\n" for n in adata.obs_names))
    if version == 3:
        for file in [f for f in folder.iterdir() if f.suffix in (".mtx", ".tsv")]:
            with file.open("rb") as source, gzip.open(f"{file}.gz", "wb") as target:
                shutil.copyfileobj(source, target)
            file.unlink()
    return folder
