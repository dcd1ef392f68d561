"""Vectors on their way lie in a file, and hardly any of them in the memory of the process."""

import re
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed.cells import fill_vectors
from rankformer.embed.embedder import Embedder
from rankformer.results.cell_embeddings import CellEmbeddings, write_cell_vectors
from rankformer.results.gene_embeddings import GeneVectors, gene_tables
from rankformer.results.parquet_tables import write_tables
from rankformer.scratch import release_pages, scratch_array
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_tokens

SMAPS = Path("/proc/self/smaps")
pytestmark = pytest.mark.skipif(not SMAPS.is_file(), reason="memory of a map as Linux shows it")
N_CELLS, D_MODEL = 20_000, 256


def resident_kb(file: Path) -> int:
    """Memory of this process that pages of `file` take."""
    header = re.compile(r"^[0-9a-f]+-[0-9a-f]+ .*$", re.MULTILINE)
    text = SMAPS.read_text()
    starts = [*(match.start() for match in header.finditer(text)), len(text)]
    maps = [text[start:stop] for start, stop in pairwise(starts)]
    return sum(int(re.search(r"^Rss: +(\d+) kB", each, re.MULTILINE)[1])
               for each in maps if str(file) in each.partition("\n")[0])  # fmt: skip


@pytest.fixture
def mapped(tmp_path):
    vectors = scratch_array(tmp_path / "vectors", (N_CELLS, D_MODEL))
    vectors[:] = np.random.default_rng(0).normal(size=vectors.shape)
    return vectors


def test_released_pages_leave_the_memory_and_keep_their_values(mapped, tmp_path):
    before = np.array(mapped)
    assert resident_kb(tmp_path / "vectors") > 0.9 * mapped.nbytes / 1024
    release_pages(mapped[100:200])
    assert resident_kb(tmp_path / "vectors") == 0
    np.testing.assert_array_equal(mapped, before)


def test_changes_that_no_file_holds_are_kept(mapped, tmp_path):
    copy = np.memmap(tmp_path / "vectors", np.float32, "c", shape=mapped.shape)
    copy[:] = 7
    release_pages(copy[5:])
    assert (copy == 7).all()


def read_back(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".parquet":
        flat = pq.read_table(path)["vector"].combine_chunks().flatten()
        return flat.to_numpy().reshape(-1, D_MODEL)
    read = ad.read_h5ad if path.suffix == ".h5ad" else ad.read_zarr
    return read(path).obsm["X_geneformer"]


@pytest.mark.parametrize("suffix", [".npy", ".parquet", ".h5ad", ".zarr"])
def test_written_vectors_do_not_stay_in_memory(mapped, tmp_path, suffix):
    names = pd.DataFrame(index=[f"cell{i}" for i in range(N_CELLS)])
    missing = np.full(N_CELLS, None, dtype=object)
    embeddings = CellEmbeddings(mapped, missing, names, {"mode": "cell"})
    write_cell_vectors(tmp_path / f"out{suffix}", embeddings)
    assert resident_kb(tmp_path / "vectors") == 0
    np.testing.assert_array_equal(read_back(tmp_path / f"out{suffix}"), mapped)


def test_filling_leaves_nothing_in_memory(small_adata, checkpoint_folder, tmp_path):
    embedder = Embedder(Checkpoint.open(checkpoint_folder), device="cpu", dtype="float32")
    options = ReadingOptions(chunk_cells=5)
    with closing(open_tokens(small_adata, embedder.checkpoint.vocabulary, options)) as stream:
        vectors = scratch_array(tmp_path / "vectors", (len(stream), embedder.d_model))
        fill_vectors(vectors, [stream], embedder, mode="cell")
    assert resident_kb(tmp_path / "vectors") == 0
    assert np.abs(vectors).max() > 0


def test_genes_are_written_in_few_row_groups_whatever_the_blocks(tmp_path, vocabulary, monkeypatch):
    """Each row group costs memory to the end; blocks are cut where a group is full."""
    monkeypatch.setattr("rankformer.results.gene_embeddings._ROW_GROUP_BYTES", 4 * 8 * 100)
    rng = np.random.default_rng(1)
    blocks, first = [], 0
    for n_cells in (1, 30, 2, 50):
        lengths = rng.integers(0, 9, n_cells)
        tokens = rng.choice(vocabulary.tokens, lengths.sum())
        vectors = rng.normal(size=(lengths.sum(), 8)).astype(np.float32)
        rows = np.arange(first, first + n_cells)
        blocks.append((rows, GeneVectors(0, np.append(0, lengths.cumsum()), tokens, vectors)))
        first += n_cells
    cells = {"cell": np.array([f"c{i}" for i in range(first)], dtype=object)}
    tables = gene_tables(blocks, cells, vocabulary, 8)
    write_tables(tmp_path / "genes.parquet", tables, {"mode": "gene"})
    file = pq.ParquetFile(tmp_path / "genes.parquet")
    rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert set(rows[:-1]) == {100}
    assert 0 < rows[-1] <= 100
    table = file.read()
    lengths = np.concatenate([np.diff(genes.offsets) for _, genes in blocks])
    assert table["cell"].to_pylist() == [f"c{i}" for i, n in enumerate(lengths) for _ in range(n)]
    assert table["rank"].to_pylist() == [rank for n in lengths for rank in range(1, n + 1)]
    ids = [vocabulary.ensembl_id_of[token] for _, genes in blocks for token in genes.tokens]
    assert table["ensembl_id"].to_pylist() == ids
    written = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, 8)
    np.testing.assert_array_equal(written, np.concatenate([genes.vectors for _, genes in blocks]))
