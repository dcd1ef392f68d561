"""Make files of real cells to train rankformer-mini on, out of packages of PyPI.

    python training/package_cells.py --out FOLDER

What each file is, and under which terms, stands in training/README.md. Files that are there are not
made again. X holds counts, ``var["ensembl_id"]`` is "" where no id is known, and ``obs["donor"]``
is there where donors are named.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from package_archives import Archive, Read, asked_folder, make_missing, read_tar, write_cells
from scipy import sparse

SCIRPY = Archive(
    "scirpy==0.22.5", "sdist", "7b532993a7a396d35c81d7178f03ab7a2e6a6ffd5816e78ec0c4f246380bd427"
)
SCELVIS = Archive(
    "scelvis==0.8.9", "sdist", "e62af84c84d73f5b3da00e4db95ea6b3bab7de76fc8f6b472f639115f0ce3a59"
)
CELLTYPIST = Archive(
    "celltypist==1.7.1", "wheel", "3953f96a4476ed1dd2807446d97d3945e8905bbdac6bfef0d20b84a9a00d1101"
)
PATIENTS = ("C144", "C146", "C149")
FEWEST_GENES = 200
# RefSeq's names, which tumour_t_cells has, and those of Ensembl.
MITOCHONDRIAL = {
    "ND1": "MT-ND1", "ND2": "MT-ND2", "ND3": "MT-ND3", "ND4": "MT-ND4", "ND4L": "MT-ND4L",
    "ND5": "MT-ND5", "ND6": "MT-ND6", "COX1": "MT-CO1", "COX2": "MT-CO2", "COX3": "MT-CO3",
    "ATP6": "MT-ATP6", "ATP8": "MT-ATP8", "CYTB": "MT-CYB", "RNR1": "MT-RNR1", "RNR2": "MT-RNR2",
}  # fmt: skip


def lung_lavage(read: Read) -> ad.AnnData:
    """Lavage of the lungs of three patients with COVID-19; the gene of the virus is left out."""
    each = {name: read_10x(read(f"{name}_filtered_feature_bc_matrix.h5")) for name in PATIENTS}
    cells = ad.concat(each, label="donor", index_unique="_", merge="same")
    cells = cells[:, cells.var["ensembl_id"].str.startswith("ENSG")]
    return cells[cells.X.getnnz(axis=1) >= FEWEST_GENES].copy()


def hek293t(read: Read) -> ad.AnnData:
    """The human cells of a mixture with mouse cells; scelvis has left the doublets out."""
    cells = read_10x(read("examples/hgmm_1k.raw/filtered_feature_bc_matrix.h5"))
    species = ad.read_h5ad(read("examples/hgmm_1k.h5ad")).obs["species"]
    is_human = cells.var["ensembl_id"].str.startswith("hg19_")
    human = cells[species.index[species == "hg19"], is_human].copy()
    human.var = human.var.apply(lambda names: names.str.removeprefix("hg19_").str.strip("_"))
    human.var_names = human.var["ensembl_id"].to_numpy()
    return human


def breast_tumours(read: Read) -> ad.AnnData:
    """Reads, not molecules, of whole transcripts of tumour, immune and stromal cells."""
    table = read_tar(read("chung-park-2017.tar.bz2"), "counts.tsv")
    counts = pd.read_csv(table, sep="\t", index_col=0).T
    return _of_symbols(counts.to_numpy(), counts.index, counts.columns)


def blood_sample(read: Read) -> ad.AnnData:
    """The sample that celltypist has, whose origin it does not state."""
    counts = pd.read_csv(read("celltypist/data/samples/sample_cell_by_gene.csv"), index_col=0)
    return _of_symbols(counts.to_numpy(), counts.index, counts.columns)


def tumour_t_cells(read: Read) -> ad.AnnData:
    """T cells of tumours, of normal tissue beside them, and of blood."""
    source = ad.read_h5ad(read("wu2020_200_v0_11.h5ad"))
    symbols = pd.Index([MITOCHONDRIAL.get(each, each) for each in source.var_names])
    cells = _of_symbols(source.X, source.obs_names, symbols)
    cells.obs["donor"] = source.obs["patient"].astype(str).to_numpy()
    return cells


# Symbols are translated with the two files that come first.
FILES = {
    "lung_lavage": (SCIRPY, lung_lavage),
    "hek293t": (SCELVIS, hek293t),
    "breast_tumours": (SCIRPY, breast_tumours),
    "blood_sample": (CELLTYPIST, blood_sample),
    "tumour_t_cells": (SCIRPY, tumour_t_cells),
}


def main() -> None:
    """Make what is not there yet."""
    folder = asked_folder(__doc__.splitlines()[0])
    with tempfile.TemporaryDirectory() as scratch:
        for path, cells in make_missing(FILES, folder, Path(scratch)):
            finish(cells, folder)
            write_cells(cells, path)
            print(f"{path}: {cells.n_obs:,} cells x {cells.n_vars:,} genes, {shares_of_ids(cells)}")


def finish(cells: ad.AnnData, folder: Path) -> None:
    """Counts as whole numbers, and Ensembl ids where there are symbols alone."""
    cells.X = whole_counts(cells.X)
    if "ensembl_id" not in cells.var:
        known = [ad.read_h5ad(folder / f"{name}.h5ad").var for name in ("lung_lavage", "hek293t")]
        cells.var["ensembl_id"] = translate(cells.var["gene_symbol"], *known)


def shares_of_ids(cells: ad.AnnData) -> str:
    """How many genes have an Ensembl id, and how many of the counts lie in these."""
    has_id = (cells.var["ensembl_id"] != "").to_numpy()
    counts = cells.X.sum(axis=0).A1
    return (
        f"{has_id.mean():.1%} of them with an Ensembl id, "
        f"which hold {counts[has_id].sum() / counts.sum():.1%} of the counts"
    )


def translate(symbols: pd.Series, newer: pd.DataFrame, older: pd.DataFrame) -> pd.Series:
    """Ensembl ids of symbols; "" of one that is in neither table, or stands for two ids.

    A symbol that both tables have gets the id of the newer one.
    """
    only_older = older[~older["gene_symbol"].isin(newer["gene_symbol"])]
    table = pd.concat([newer, only_older]).drop_duplicates("gene_symbol", keep=False)
    ids = dict(zip(table["gene_symbol"].astype(str), table["ensembl_id"].astype(str), strict=True))
    return symbols.map(lambda symbol: ids.get(symbol, ""))


def whole_counts(values: np.ndarray | sparse.spmatrix) -> sparse.csr_matrix:
    """Counts as CSR; ends in an error where one is no whole number, but for what floats round."""
    counts = sparse.csr_matrix(values, dtype=np.float64)
    found = counts.data.copy()
    counts.data = np.round(found)
    is_count = (found >= 0) & (np.abs(found - counts.data) <= 1e-6)
    if not is_count.all():
        raise ValueError(f"Not all are counts: one is {found[~is_count][0]}")
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts.astype(np.float32)


def read_10x(file: object) -> ad.AnnData:
    """Cells of an HDF5 file of Cell Ranger 3."""
    with h5py.File(file) as opened:
        matrix = opened["matrix"]
        arrays = (matrix["data"][:], matrix["indices"][:], matrix["indptr"][:])
        n_genes, n_cells = matrix["shape"][:]
        genes = {
            "gene_symbol": matrix["features/name"].asstr()[:],
            "ensembl_id": matrix["features/id"].asstr()[:],
        }
        return ad.AnnData(
            sparse.csr_matrix(arrays, shape=(n_cells, n_genes)),
            obs=pd.DataFrame(index=matrix["barcodes"].asstr()[:]),
            var=pd.DataFrame(genes, index=genes["ensembl_id"]),
        )


def _of_symbols(
    counts: np.ndarray | sparse.spmatrix, cells: pd.Index, symbols: pd.Index
) -> ad.AnnData:
    """Cells by genes of which the symbols are known."""
    names = pd.Index(symbols.astype(str), name=None)
    return ad.AnnData(
        sparse.csr_matrix(counts),
        obs=pd.DataFrame(index=pd.Index(cells.astype(str), name=None)),
        var=pd.DataFrame({"gene_symbol": names}, index=names),
    )


if __name__ == "__main__":
    main()
