"""Files and folders that hold no cells, or not those that were asked for."""

import gzip
import json
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
from tests.cells.count_files import make_adata, write_tenx_folder
from tests.damage import with_looped_index, without_heap
from tests.faults.bad_input import EMBED, BadInput, nothing
from tests.faults.cells import adata_of, counts, write


def holding(content: bytes, name: str = "pbmc.h5ad"):
    def prepare(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return prepare


def hdf5_with(*keys: str):
    def prepare(folder: Path) -> None:
        with h5py.File(folder / "pbmc.h5ad", "w") as file:
            for key in keys:
                file.create_group(key)

    return prepare


def truncated(folder: Path) -> None:
    path = write(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def endless(folder: Path) -> None:
    path = write(folder)
    path.write_bytes(without_heap(path.read_bytes()))


def crashing(folder: Path) -> None:
    with_looped_index(write(folder))


def notes(folder: Path) -> None:
    (folder / "run1").mkdir()
    (folder / "run1" / "notes.txt").write_text("sequenced on Monday")


def tenx_without(name: str):
    def prepare(folder: Path) -> None:
        write_tenx_folder(folder / "run1", make_adata())
        (folder / "run1" / name).unlink()

    return prepare


def tenx_cut(folder: Path) -> None:
    write_tenx_folder(folder / "run1", make_adata(), version=2)
    matrix = folder / "run1" / "matrix.mtx"
    matrix.write_text("".join(matrix.read_text().splitlines(keepends=True)[:200]))


def without_cells(folder: Path) -> None:
    write(folder, counts()[:0])


def without_variables(folder: Path) -> None:
    write(folder, counts()[:, :0], [])


def without_matrix(folder: Path) -> None:
    adata = adata_of(counts())
    ad.AnnData(obs=adata.obs, var=adata.var).write_h5ad(folder / "pbmc.h5ad")


def many_one_broken(folder: Path) -> None:
    (folder / "runs").mkdir()
    adata_of(counts()).write_h5ad(folder / "runs" / "a.h5ad")
    sound = (folder / "runs" / "a.h5ad").read_bytes()
    (folder / "runs" / "b.h5ad").write_bytes(sound[: len(sound) // 2])


def with_layer(folder: Path) -> None:
    write(folder, layers={"counts": counts()})


def with_changed(name: str, change):
    """Sound cells, of whose matrix one array was changed."""

    def prepare(folder: Path) -> None:
        with h5py.File(write(folder), "a") as file:
            values = change(file["X"][name][:])
            del file["X"][name]
            file["X"][name] = values

    return prepare


short_indptr = with_changed("indptr", lambda starts: np.minimum(starts, starts[99]))
nan_indices = with_changed("indices", lambda indices: indices * np.nan)
bool_indices = with_changed("indices", lambda indices: indices > 0)


def of_another_file(folder: Path) -> None:
    with h5py.File(write(folder), "a") as file:
        del file["X"]
        file["X"] = h5py.ExternalLink("private.h5ad", "X")


def tenx_linked(folder: Path) -> None:
    write_tenx_folder(folder / "run1", make_adata(), version=2)
    (folder / "run1" / "barcodes.tsv").rename(folder / "private.txt")
    (folder / "run1" / "barcodes.tsv").symlink_to("../private.txt")


def pickled_zarr(folder: Path) -> None:
    adata_of(counts()).write_zarr(folder / "pbmc.zarr")
    array = folder / "pbmc.zarr" / "obs" / "_index" / ".zarray"
    described = json.loads(array.read_text())
    array.write_text(json.dumps({**described, "compressor": {"id": "pickle"}}))


RUN = "embed run1 -o out.h5ad -m model"
H5PY_SAYS = r"(?<=could not be read: ).*?(?= Expected:)"

CASES = (
    BadInput(
        "a path that does not exist",
        nothing,
        ("pbmc.h5ad does not exist", ".h5ad, .zarr", "Check the path"),
        in_process=False,
    ),
    BadInput(
        "a path that does not exist, to `inspect`",
        nothing,
        ("pbmc.h5ad does not exist", ".h5ad, .zarr", "Check the path"),
        "inspect pbmc.h5ad",
    ),
    BadInput(
        "an empty file",
        holding(b""),
        ("is empty (0 bytes)", ".h5ad, .zarr", "Download or write it again"),
    ),
    BadInput(
        "a table as CSV",
        holding(b"cell,CD4,CD8A\nAAAC-1,0,3\n", "pbmc.csv"),
        ("text that begins with 'cell,CD4,CD8A'", "pandas.read_csv", "write_h5ad"),
        "embed pbmc.csv -o out.h5ad -m model",
    ),
    BadInput(
        "a web page, saved as `.h5ad`",
        holding(b"<!DOCTYPE html><html><body>Sign in</body></html>"),
        ("is a web page", "Download the file again", "signed in"),
    ),
    BadInput(
        "a Git LFS pointer",
        holding(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90\n"),
        ("is a Git LFS pointer", "git lfs pull"),
    ),
    BadInput(
        "a gzipped `.h5ad`",
        holding(gzip.compress(b"\x89HDF", mtime=0), "pbmc.h5ad.gz"),
        ("compressed with gzip", "gunzip"),
        "embed pbmc.h5ad.gz -o out.h5ad -m model",
    ),
    BadInput("a zip archive", holding(b"PK\x03\x04...."), ("is a zip archive", "Unpack it first")),
    BadInput("an R object", holding(b"RDX3\nX\n"), ("is an R object", "Save it from R as .h5ad")),
    BadInput(
        "a MuData file of several modalities, none of RNA",
        hdf5_with("mod/atac", "mod/prot", "obs", "var"),
        ("holds 2 tables of cells: atac, prot", "named rna", "mudata.read(path)"),
    ),
    BadInput(
        "a CSR matrix whose row starts end before its values do",
        short_indptr,
        ("X of pbmc.h5ad", "its last row ends at value", "undamaged", "Copy or download"),
        varies=r"(?<=ends at value ).*?(?= indices)",
    ),
    BadInput(
        "a CSR matrix with NaN for indices",
        nan_indices,
        ("X of pbmc.h5ad", "of the type float64, not whole numbers", "Copy or download"),
    ),
    BadInput(
        "a CSR matrix with booleans for indices",
        bool_indices,
        ("X of pbmc.h5ad", "of the type bool, not whole numbers", "Copy or download"),
    ),
    BadInput(
        "a loom file",
        hdf5_with("matrix", "row_attrs", "col_attrs"),
        ("is a loom file", "scanpy.read_loom"),
    ),
    BadInput(
        "Cell Ranger's `molecule_info.h5`",
        hdf5_with("barcode_idx", "umi"),
        ("Cell Ranger's molecules", "filtered_feature_bc_matrix.h5"),
    ),
    BadInput(
        "a truncated `.h5ad`",
        truncated,
        ("pbmc.h5ad could not be read", "truncated", "Copy or download the file again"),
        varies=H5PY_SAYS,
    ),
    BadInput(
        "an `.h5ad` whose texts are damaged, so that HDF5 searches them for ever",
        endless,
        (
            "pbmc.h5ad could not be opened within 10 seconds",
            "damaged",
            "whole",
            "Copy or download",
            "RANKFORMER_OPENING_SECONDS to more than 10",
        ),
    ),
    BadInput(
        "an `.h5ad` whose index of chunks is damaged, so that HDF5 crashes",
        crashing,
        ("HDF5 library crashed on it (SIGSEGV)", "undamaged", "Copy or download the file again"),
        "inspect pbmc.h5ad",
    ),
    BadInput(
        "a folder without counts",
        notes,
        ("run1 holds nothing readable", "notes.txt", "matrix.mtx"),
        RUN,
    ),
    BadInput(
        "with `--fail-fast`, a folder of two files, of which one is truncated",
        many_one_broken,
        ("runs/b.h5ad could not be read", "Copy or download the file again"),
        "embed runs -o out.h5ad -m model --fail-fast",
        varies=H5PY_SAYS,
    ),
    BadInput(
        "a `.h5ad` that takes its counts from another file",
        of_another_file,
        ("takes '/X' from another file", "no external link", "save it again with anndata"),
    ),
    BadInput(
        "a 10x folder with a link out of it",
        tenx_linked,
        ("barcodes.tsv is a link that leads out", "cp -rL", "RANKFORMER_FOLLOW_LINKS=1"),
        RUN,
        varies=r"(?<=out of the folder, to )\S+(?=\.)",
    ),
    BadInput(
        "a `.zarr` store with an array of pickles",
        pickled_zarr,
        ("stored as pickles", "can run code", "save it again with anndata"),
        "embed pbmc.zarr -o out.h5ad -m model",
    ),
    BadInput(
        "a 10x folder without `barcodes.tsv.gz`",
        tenx_without("barcodes.tsv.gz"),
        ("no barcodes.tsv", "run1/matrix.mtx.gz", "features.tsv", "Put the missing file there"),
        RUN,
    ),
    BadInput(
        "a 10x folder without `features.tsv.gz`",
        tenx_without("features.tsv.gz"),
        ("no features.tsv", "run1/matrix.mtx.gz", "barcodes.tsv", "Put the missing file there"),
        RUN,
    ),
    BadInput(
        "a 10x folder, its `matrix.mtx` cut short",
        tenx_cut,
        ("run1 could not be read", "entries, but its header says", "Copy or download"),
        RUN,
    ),
    BadInput("no cells", without_cells, ("has 0 cells", "At least one cell", "filtered")),
    BadInput("no variables", without_variables, ("0 variables", "each gene", "subset")),
    BadInput("no matrix", without_matrix, ("holds no matrix", "X, raw.X or a layer", "Take")),
    BadInput(
        "a layer that is not there",
        with_layer,
        ("no layer 'umis'", 'X, layers["counts"]', "--layer"),
        f"{EMBED} --layer umis",
    ),
    BadInput(
        "`--use-raw`, where there is no raw",
        with_layer,
        ("has no raw", 'X, layers["counts"]', "--use-raw"),
        f"{EMBED} --use-raw",
    ),
    BadInput(
        "`--layer` and `--use-raw` together",
        with_layer,
        ("layer='counts'", "use_raw=True", "One place for the counts", "Leave out one"),
        f"{EMBED} --layer counts --use-raw",
    ),
)
