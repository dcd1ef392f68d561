"""Bad sources end in a `CountsError` that says what was found, and what to do."""

import gzip
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
import zarr
from mudata import MuData
from tests.cells.count_files import (
    as_layout,
    make_adata,
    make_counts,
    write_tenx_folder,
    write_tenx_h5,
)

from rankformer.cells.source import find_files, open_cells, survey_matrices
from rankformer.errors import CountsError, MissingFileError, RankformerError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def h5ad(folder: Path, layout="csr", **options) -> Path:
    adata = make_adata()
    adata.X = as_layout(adata.X, layout)
    adata.write_h5ad(folder / "cells.h5ad", **options)
    return folder / "cells.h5ad"


def edited(folder: Path, edit, layout="csr") -> Path:
    file = h5ad(folder, layout)
    with h5py.File(file, "a") as group:
        edit(group)
    return file


def replace(name, change):
    def edit(group):
        values, attributes = group[name][:], dict(group[name].attrs)
        del group[name]
        group[name] = change(values)
        group[name].attrs.update(attributes)

    return edit


def edited_tenx(folder: Path, edit) -> Path:
    file = write_tenx_h5(folder / "tenx.h5", make_adata())
    with h5py.File(file, "a") as group:
        edit(group)
    return file


def edited_zarr(folder: Path, name: str, change) -> Path:
    make_adata().write_zarr(folder / "cells.zarr")
    group = zarr.open_group(folder / "cells.zarr" / "X", mode="a", use_consolidated=False)
    values = change(group[name][:])
    del group[name]
    group.create_array(name, data=values)
    return folder / "cells.zarr"


def changed_in_memory(name: str, change) -> ad.AnnData:
    adata = make_adata()
    setattr(adata.X, name, change(getattr(adata.X, name)))
    return adata


def mudata(folder: Path, names) -> Path:
    parts = {name: make_adata(make_counts(seed=i)) for i, name in enumerate(names)}
    for name, part in parts.items():
        part.var_names = [f"{name}-{each}" for each in part.var_names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MuData(parts).write(folder / "cells.h5mu")
    return folder / "cells.h5mu"


def spatialdata(folder: Path, names) -> Path:
    """The tables as spatialdata lays them, beside a group of images."""
    store = zarr.open_group(folder / "visium.zarr", mode="w", zarr_format=2)
    store.create_group("images")
    store.create_group("tables")
    for name in names:
        make_adata().write_zarr(folder / "visium.zarr" / "tables" / name)
    return folder / "visium.zarr"


def cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    return write(path, content[: int(len(content) * keep)])


def tenx(folder: Path, change=None, **options) -> Path:
    write_tenx_folder(folder / "run", make_adata(), **options)
    if change:
        change(folder / "run")
    return folder / "run"


def anndata_of(x, **options):
    return ad.AnnData(x, **options)


def assign(values: np.ndarray, index: int, value) -> np.ndarray:
    values = values.copy()
    values[index] = value
    return values


def transpose_matrix(folder: Path) -> None:
    import scipy.io

    scipy.io.mmwrite(folder / "matrix.mtx", sp.coo_matrix(make_counts().astype(int)))


def cut_last_field(packed: Path) -> None:
    lines = gzip.decompress(packed.read_bytes())
    packed.write_bytes(gzip.compress(lines.rpartition(b"\t")[0] + b"\n"))


def mtx_lines(change):
    def edit(folder: Path) -> None:
        file = folder / "matrix.mtx"
        file.write_text("".join(change(file.read_text().splitlines(keepends=True))))

    return edit


def folder_of_files(folder: Path) -> Path:
    (folder / "many").mkdir()
    for name in ("b.h5ad", "a.h5ad"):
        make_adata().write_h5ad(folder / "many" / name)
    return folder / "many"


def h5_with(folder: Path, *keys: str) -> Path:
    with h5py.File(folder / "x.h5", "w") as file:
        for key in keys:
            file.create_group(key)
    return folder / "x.h5"


def two_genomes(folder: Path) -> Path:
    file = write_tenx_h5(folder / "x.h5", make_adata(), version=2)
    with h5py.File(file, "a") as group:
        group.copy("GRCh38", "mm10")
    return file


def no_x(folder: Path) -> Path:
    make_adata()[:, :].copy()
    ad.AnnData(obs=make_adata().obs, var=make_adata().var).write_h5ad(folder / "x.h5ad")
    return folder / "x.h5ad"


def dense_shape(group: h5py.File) -> None:
    group["X"].attrs["shape"] = np.array([60, 41])


ANTIBODIES = ["Antibody Capture"] * 40

SOURCES = {
    "empty file": (lambda p: write(p / "a.h5ad", b""), "is empty (0 bytes)"),
    "web page": (lambda p: write(p / "a.h5ad", b"\n<!DOCTYPE html><html>"), "is a web page"),
    "Git LFS pointer": (
        lambda p: write(p / "a.h5ad", b"version https://git-lfs.github.com/spec/v1\noid"),
        "is a Git LFS pointer",
    ),
    "CSV": (lambda p: write(p / "a.csv", b"cell,CD4,CD8\nA,0,1\n"), "text that begins with 'cell,"),
    "gzip": (lambda p: write(p / "a.h5ad.gz", gzip.compress(b"x")), "compressed with gzip"),
    "zip": (lambda p: write(p / "a.zarr.zip", b"PK\x03\x04..."), "is a zip archive"),
    "binary of another kind": (lambda p: write(p / "a.bin", bytes(range(128, 256))), "neither"),
    "truncated h5ad": (lambda p: cut(h5ad(p), 0.7), "could not be read"),
    "h5ad cut to its beginning": (lambda p: cut(h5ad(p), 0.01), "could not be read"),
    "MuData without RNA": (
        lambda p: mudata(p, ("atac", "prot")),
        "holds 2 tables of cells: atac, prot",
    ),
    "SpatialData of several tables": (
        lambda p: spatialdata(p, ("a", "b")),
        "tables of cells: a, b",
    ),
    "binarised counts": (
        lambda p: anndata_of(make_counts(200) > 0),
        "X holds nothing but ones, as of counts made binary",
    ),
    "loom": (lambda p: h5_with(p, "matrix", "row_attrs", "col_attrs"), "is a loom file"),
    "molecule_info.h5": (lambda p: h5_with(p, "barcode_idx", "umi"), "Cell Ranger's molecules"),
    "other HDF5": (lambda p: h5_with(p, "model_weights"), "is HDF5 with model_weights"),
    "no matrix": (no_x, "holds no matrix"),
    "a folder of several files": (folder_of_files, "is no single source: it holds a.h5ad, b.h5ad"),
    "an empty folder": (lambda p: p, "is no single source: it holds nothing"),
    "a zarr that is none": (
        lambda p: write(p / "zarr.json", b"{}").parent,
        "holds nothing, but no obs and no var",
    ),
    "not a path": (lambda p: make_counts(), "given as csr_matrix"),
    "two genomes": (two_genomes, "2 genomes: GRCh38, mm10"),
    "antibodies alone": (
        lambda p: write_tenx_h5(p / "x.h5", make_adata(), feature_types=ANTIBODIES),
        "holds no genes, only 40 features of 'Antibody Capture'",
    ),
    "no barcodes": (
        lambda p: tenx(p, lambda f: (f / "barcodes.tsv.gz").unlink()),
        "There is no barcodes.tsv beside",
    ),
    "no features": (
        lambda p: tenx(p, lambda f: (f / "features.tsv.gz").unlink()),
        "There is no features.tsv or genes.tsv beside",
    ),
    "too few barcodes": (
        lambda p: tenx(p, lambda f: write(f / "barcodes.tsv", b"A\nB\n"), version=2),
        "matrix of 40 features x 60 cells, but 40 features and 2 barcodes",
    ),
    "no barcode at all": (
        lambda p: tenx(p, lambda f: write(f / "barcodes.tsv", b""), version=2),
        "40 features and 0 barcodes",
    ),
    "cells by features": (lambda p: tenx(p, transpose_matrix, version=2), "cells by features"),
    "truncated matrix.mtx": (
        lambda p: tenx(p, mtx_lines(lambda lines: lines[:-9]), version=2),
        "entries, but its header says",
    ),
    "matrix.mtx cut within a line": (
        lambda p: tenx(p, mtx_lines(lambda lines: [*lines[:-9], "3 "]), version=2),
        "could not be read",
    ),
    "truncated matrix.mtx.gz": (
        lambda p: tenx(p, lambda f: cut(f / "matrix.mtx.gz", 0.6)),
        "could not be read",
    ),
    "words in matrix.mtx": (
        lambda p: tenx(p, mtx_lines(lambda lines: [*lines[:-1], "a b c\n"]), version=2),
        "could not be read",
    ),
    "bytes of no text in matrix.mtx": (
        # scipy's parser takes the process down with it.
        lambda p: tenx(
            p,
            lambda f: write(
                f / "matrix.mtx", (f / "matrix.mtx").read_bytes()[:-9] + b"\xff\xfe\x00\x801 1 1\n"
            ),
            version=2,
        ),
        "beside numbers",
    ),
    "a gene without its type": (
        lambda p: tenx(p, lambda f: cut_last_field(f / "features.tsv.gz")),
        "1 features, such as ENSG",
    ),
    "names of cells as a column": (
        lambda p: edited(p, replace("obs/_index", lambda x: x[:, None])),
        "its names are no list",
    ),
    "an entry outside the matrix": (
        lambda p: tenx(p, mtx_lines(lambda lines: [*lines[:-1], "41 1 1\n"]), version=2),
        "could not be read",
    ),
    "a dense Matrix Market file": (
        lambda p: tenx(
            p,
            lambda f: write(f / "matrix.mtx", b"%%MatrixMarket matrix array real general\n1 1\n"),
            version=2,
        ),
        "not a general coordinate matrix",
    ),
    "complex Matrix Market file": (
        lambda p: tenx(
            p,
            lambda f: write(
                f / "matrix.mtx", b"%%MatrixMarket matrix coordinate complex general\n1 1 0\n"
            ),
            version=2,
        ),
        "holds complex values",
    ),
    "zero cells": (lambda p: make_adata()[:0].copy(), "has 0 cells"),
    "zero variables": (lambda p: make_adata()[:, :0].copy(), "has 0 variables"),
    "zeros only": (lambda p: anndata_of(sp.csr_matrix((300, 5))), "X holds zeros only"),
    "words": (lambda p: anndata_of(np.full((3, 2), "a", dtype=object)), "not numbers"),
    "complex numbers": (lambda p: anndata_of(np.ones((3, 2), complex)), "not numbers"),
    "fewer cells than rows": (
        lambda p: edited(p, replace("X/indptr", lambda x: x[:-3])),
        "cut into 57 rows, not 60",
    ),
    "columns and var differ": (
        lambda p: edited(p, dense_shape),
        "has 60 rows and 41 columns, for 60 cells in obs and 40 variables in var",
    ),
    "row starts go back": (
        lambda p: edited(p, replace("X/indptr", lambda x: assign(x, 5, 10**9))),
        "row 5 begins at value 1,000,000,000 and ends at ",
    ),
    "row starts begin late": (
        lambda p: edited(p, replace("X/indptr", lambda x: assign(x, 0, 1))),
        "its first row begins at value 1, not at 0",
    ),
    "row starts begin before the values": (
        lambda p: edited(p, replace("X/indptr", lambda x: assign(x, 0, -1))),
        "its first row begins at value -1, not at 0",
    ),
    "fewer values than row starts say": (
        lambda p: edited(p, replace("X/data", lambda x: x[:-3])),
        "its last row ends at value ",
    ),
    "fewer indices than row starts say": (
        lambda p: edited(p, replace("X/indices", lambda x: x[:-3])),
        "its last row ends at value ",
    ),
    "row starts that end before the values": (
        lambda p: edited(p, replace("X/indptr", lambda x: np.minimum(x, x[20]))),
        "its last row ends at value ",
    ),
    "column starts that end before the values": (
        lambda p: edited(p, replace("X/indptr", lambda x: np.minimum(x, x[20])), "csc"),
        "its last column ends at value ",
    ),
    "row starts as booleans": (
        lambda p: edited(p, replace("X/indptr", lambda x: x.astype(bool))),
        "the starts of its rows are of the type bool, not whole numbers",
    ),
    "indices as booleans": (
        lambda p: edited(p, replace("X/indices", lambda x: x.astype(bool))),
        "the indices of its columns are of the type bool, not whole numbers",
    ),
    "indices as NaN": (
        lambda p: edited(p, replace("X/indices", lambda x: np.full(len(x), np.nan))),
        "the indices of its columns are of the type float64, not whole numbers",
    ),
    "indices as NaN, by columns": (
        lambda p: edited(p, replace("X/indices", lambda x: np.full(len(x), np.nan)), "csc"),
        "the indices of its rows are of the type float64, not whole numbers",
    ),
    "row starts that end before the values, 10x": (
        lambda p: edited_tenx(p, replace("matrix/indptr", lambda x: np.minimum(x, x[20]))),
        "its last row ends at value ",
    ),
    "indices as NaN, 10x": (
        lambda p: edited_tenx(p, replace("matrix/indices", lambda x: x * np.nan)),
        "the indices of its columns are of the type float64, not whole numbers",
    ),
    "row starts that end before the values, zarr": (
        lambda p: edited_zarr(p, "indptr", lambda x: np.minimum(x, x[20])),
        "its last row ends at value ",
    ),
    "indices as NaN, zarr": (
        lambda p: edited_zarr(p, "indices", lambda x: x * np.nan),
        "the indices of its columns are of the type float64, not whole numbers",
    ),
    "row starts that end before the values, in memory": (
        lambda p: changed_in_memory("indptr", lambda x: np.minimum(x, x[20])),
        "its last row ends at value ",
    ),
    "an index outside the variables, in memory": (
        lambda p: changed_in_memory("indices", lambda x: assign(x, 2, 40)),
        "row 0 has a value in column 40, outside its 40 columns",
    ),
    "an index outside the variables": (
        lambda p: edited(p, replace("X/indices", lambda x: assign(x, 2, 40))),
        "row 0 has a value in column 40, outside its 40 columns",
    ),
    "an index outside the variables, in the last row": (
        lambda p: edited(p, replace("X/indices", lambda x: assign(x, -1, 99))),
        "row 59 has a value in column 99, outside its 40 columns",
    ),
    "a negative index": (
        lambda p: edited(p, replace("X/indices", lambda x: assign(x, 2, -1))),
        "row 0 has a value in column -1, outside its 40 columns",
    ),
    "an index outside the cells, by columns": (
        lambda p: edited(p, replace("X/indices", lambda x: assign(x, 2, 60)), "csc"),
        "column 0 has a value in row 60, outside its 60 rows",
    ),
    "indices lost to zeros": (
        lambda p: edited(p, replace("X/indices", lambda x: assign(x, slice(-4, None), 0))),
        "row 59 has more than one value in column 0",
    ),
    "indices lost to zeros, by columns": (
        lambda p: edited(p, replace("X/indices", lambda x: assign(x, slice(-4, None), 0)), "csc"),
        "row 0 has more than one value in column 39",
    ),
    "indices lost to zeros, 10x": (
        lambda p: edited_tenx(p, replace("matrix/indices", lambda x: assign(x, slice(2), 7))),
        "row 0 has more than one value in column 7",
    ),
    "indices lost to zeros, zarr": (
        lambda p: edited_zarr(p, "indices", lambda x: assign(x, slice(2), 7)),
        "row 0 has more than one value in column 7",
    ),
    "indices lost to zeros, backed": (
        lambda p: ad.read_h5ad(
            edited(p, replace("X/indices", lambda x: assign(x, slice(2), 7))), backed="r"
        ),
        "row 0 has more than one value in column 7",
    ),
    **{
        f"{name} as a column, {layout}": (
            lambda p, name=name, layout=layout: edited(
                p, replace(f"X/{name}", lambda x: x[:, None]), layout
            ),
            f"its {name} are of 2 dimensions",
        )
        for name in ("data", "indices", "indptr")
        for layout in ("csr", "csc")
    },
    "data as a column, zarr": (
        lambda p: edited_zarr(p, "data", lambda x: x[:, None]),
        "its data are of 2 dimensions",
    ),
    "indices as a column, 10x": (
        lambda p: edited_tenx(p, replace("matrix/indices", lambda x: x[:, None])),
        "its indices are of 2 dimensions",
    ),
    "an unknown encoding": (
        lambda p: edited(p, lambda g: g["X"].attrs.update({"encoding-type": "coo_matrix"})),
        "'coo_matrix'",
    ),
}


@pytest.mark.parametrize(("make", "found"), SOURCES.values(), ids=SOURCES.keys())
def test_bad_source(tmp_path, make, found):
    source = make(tmp_path)
    with pytest.raises(CountsError) as caught, open_cells(source) as cells:
        list(cells.chunks())
    assert found in caught.value.found
    for sentence in (caught.value.found, caught.value.expected, caught.value.fix):
        assert sentence.endswith(".")
        assert sentence[0] == sentence[0].upper() or sentence.startswith(("/", "matrix.mtx"))
        assert "\n" not in sentence


def test_a_missing_file_is_told_as_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.h5ad does not exist") as caught:
        open_cells(tmp_path / "no.h5ad")
    assert isinstance(caught.value, RankformerError)
    assert isinstance(caught.value, MissingFileError)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_columns_that_differ_in_case_alone(tmp_path, zarr_format):
    """anndata cannot read them by the consolidated metadata that it has written itself."""
    adata = make_adata()
    adata.obs["Batch"] = adata.obs["batch"].cat.rename_categories({"a": "x"})
    with ad.settings.override(zarr_write_format=zarr_format):
        adata.write_zarr(tmp_path / "cells.zarr")
    with open_cells(tmp_path / "cells.zarr") as cells:
        assert set(cells.obs.columns) == {"batch", "Batch"}
        assert cells.obs["Batch"].tolist() == adata.obs["Batch"].tolist()


@pytest.mark.parametrize(
    "make",
    [
        lambda p: mudata(p, ("rna", "prot")),
        lambda p: mudata(p, ("gene_counts",)),
        lambda p: spatialdata(p, ("table",)),
        lambda p: spatialdata(p, ("a", "b")) / "tables" / "a",
    ],
    ids=["RNA of MuData", "MuData of one modality", "SpatialData", "a table named by itself"],
)
def test_the_table_within_a_larger_store_is_read(tmp_path, make):
    with open_cells(make(tmp_path)) as cells:
        (chunk,) = cells.chunks()
    assert (chunk.counts != make_counts()).nnz == 0
    assert chunk.obs_names.tolist() == make_adata().obs_names.tolist()


@pytest.mark.parametrize("keep", np.linspace(0.05, 0.95, 10))
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_file_cut_anywhere_never_gives_cells_quietly(tmp_path, keep, compression):
    file = cut(h5ad(tmp_path, compression=compression), keep)
    with pytest.raises(CountsError), open_cells(file) as cells:
        list(cells.chunks())


def test_damage_met_while_reading_names_the_rows(tmp_path):
    """A compressed block that was overwritten is met by the chunk that needs it."""
    counts = sp.vstack([make_counts()] * 500, format="csr")
    file = tmp_path / "cells.h5ad"
    make_adata(counts).write_h5ad(file, compression="gzip")
    with h5py.File(file) as group:
        values = group["X/data"]
        where = values.id.get_chunk_info(values.id.get_num_chunks() - 6)
    with file.open("r+b") as stream:
        stream.seek(where.byte_offset)
        stream.write(b"\0" * (where.size // 2))
    with h5py.File(file) as group:
        chunk = group["X/data"].chunks[0]
    first_value = where.chunk_offset[0]
    first, last = np.searchsorted(counts.indptr, [first_value, first_value + chunk - 1], "right")
    with open_cells(file) as cells, pytest.raises(CountsError) as caught:
        list(cells.chunks(1000))
    # Rows are counted from 0; those that are read at once end at a thousand.
    last = min(last - 1, (first - 1) // 1000 * 1000 + 999)
    assert f"Rows {first - 1:,} to {last:,} of X of " in caught.value.found


@pytest.mark.parametrize("array", ["data", "indices", "indptr"])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_zarr_that_lacks_a_chunk(tmp_path, zarr_format, array):
    """An interrupted copy: zarr itself would read the missing chunk as zeros."""
    with ad.settings.override(zarr_write_format=zarr_format):
        make_adata().write_zarr(tmp_path / "a.zarr")
    if zarr_format == 3:
        shutil.rmtree(tmp_path / "a.zarr" / "X" / array / "c")
    else:
        (tmp_path / "a.zarr" / "X" / array / "0").unlink()
    with pytest.raises(CountsError), open_cells(tmp_path / "a.zarr") as cells:
        list(cells.chunks())


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX users")
def test_a_file_that_may_not_be_read(tmp_path):
    file = h5ad(tmp_path)
    file.chmod(0)
    code = (
        "import sys; from rankformer.cells.source import open_cells\n"
        "import os; os.geteuid() == 0 and os.seteuid(65534)\n"
        "try: open_cells(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert "CountsError" in shown.stdout
    assert "may not be read by this user" in shown.stdout


def test_a_damaged_matrix_does_not_hide_the_counts_nor_break_the_survey(tmp_path):
    adata = make_adata(make_counts(), mine=make_counts())
    file = tmp_path / "a.h5ad"
    adata.write_h5ad(file)
    with h5py.File(file, "a") as group:
        replace("X/indices", lambda x: assign(x, 2, 40))(group)
    first, second = survey_matrices(file)
    assert first.figures is None
    assert "outside its 40 columns" in str(first.problem)
    assert second.figures is not None
    with open_cells(file) as cells:
        assert cells.location == 'layers["mine"]'
        assert "X cannot be read" in cells.note


def test_files_of_a_folder_in_sorted_order(tmp_path):
    make_adata().write_h5ad(tmp_path / "b.h5ad")
    make_adata().write_zarr(tmp_path / "c.zarr")
    write_tenx_h5(tmp_path / "a.h5", make_adata())
    write_tenx_folder(tmp_path / "d", make_adata())
    h5_with(tmp_path, "model_weights")
    write(tmp_path / "notes.txt", b"no cells")
    (tmp_path / "e").mkdir()
    names = [file.name for file in find_files(tmp_path)]
    assert names == ["a.h5", "b.h5ad", "c.zarr", "d"]
    again = find_files([tmp_path / "c.zarr", str(tmp_path)])
    assert [file.name for file in again] == ["c.zarr", "a.h5", "b.h5ad", "d"]


def test_a_file_is_read_once_whatever_it_is_called(tmp_path, caplog):
    caplog.set_level("INFO", "rankformer")
    make_adata().write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "link.h5ad").symlink_to("a.h5ad")
    names = [file.name for file in find_files([tmp_path / "a.h5ad", tmp_path])]
    assert names == ["a.h5ad"]
    assert "link.h5ad is named more than once" in caplog.text


def test_a_damaged_tenx_file_in_a_folder_is_an_error(tmp_path):
    make_adata().write_h5ad(tmp_path / "a.h5ad")
    sound = write_tenx_h5(tmp_path / "b.h5", make_adata()).read_bytes()
    assert len(find_files(tmp_path)) == 2
    for damaged in (sound[: len(sound) // 2], b"", b"version https://git-lfs.github.com/spec/v1\n"):
        write(tmp_path / "b.h5", damaged)
        with pytest.raises(CountsError, match=r"b\.h5"):
            find_files(tmp_path)


def test_what_is_left_out_of_a_folder_is_told(tmp_path, caplog):
    caplog.set_level("INFO", "rankformer")
    write_tenx_folder(tmp_path, make_adata(), prefix="GSM1_")
    write_tenx_folder(tmp_path, make_adata(), prefix="GSM2_")
    write(tmp_path / ".DS_Store", b"")
    assert len(find_files(tmp_path)) == 2
    assert caplog.text == ""
    h5_with(tmp_path, "barcode_idx", "umi")
    write(tmp_path / "notes.txt", b"no cells")
    assert len(find_files(tmp_path)) == 2
    assert f"Left out of the folder {tmp_path}: notes.txt, x.h5." in caplog.text


def test_cell_rangers_folder_gives_the_filtered_matrix_once(tmp_path):
    for name in ("raw", "filtered"):
        write_tenx_h5(tmp_path / f"{name}_feature_bc_matrix.h5", make_adata())
        write_tenx_folder(tmp_path / f"{name}_feature_bc_matrix", make_adata())
    h5_with(tmp_path, "barcode_idx", "umi")
    assert [file.name for file in find_files(tmp_path)] == ["filtered_feature_bc_matrix.h5"]


def test_several_prefixed_matrices_in_a_folder(tmp_path):
    for sample in ("GSM1_", "GSM2_"):
        write_tenx_folder(tmp_path / "geo", make_adata(), prefix=sample)
    files = find_files(tmp_path / "geo")
    assert [file.name for file in files] == ["GSM1_matrix.mtx.gz", "GSM2_matrix.mtx.gz"]
    for file in files:
        with open_cells(file) as cells:
            assert cells.n_cells == 60


def test_nothing_to_find(tmp_path):
    write(tmp_path / "notes.txt", b"no cells")
    with pytest.raises(CountsError, match=r"holds nothing readable: notes\.txt"):
        find_files(tmp_path)
    with pytest.raises(MissingFileError, match=r"does not exist"):
        find_files(tmp_path / "no")
    with pytest.raises(CountsError, match=r"No file was given"):
        find_files([])
