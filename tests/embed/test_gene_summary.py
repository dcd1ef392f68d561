"""Means and medians of gene vectors over cells, against numpy on all vectors at once."""

import numpy as np
import pytest

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.embed import gene_summary
from rankformer.embed.embedder import Embedder
from rankformer.embed.gene_summary import summarize_genes
from rankformer.errors import OutputError
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import open_tokens


@pytest.fixture
def parts(checkpoint_folder, small_adata):
    checkpoint = Checkpoint.open(checkpoint_folder)
    options = ReadingOptions(chunk_cells=7)
    embedder = Embedder(checkpoint, device="cpu", dtype="float32", batch_size=3)
    return open_tokens(small_adata, checkpoint.vocabulary, options), embedder


def all_vectors(stream, embedder):
    """Token → list of its vectors over all cells."""
    vectors = {}
    for part in stream.parts():
        for block in embedder.genes(part.cells.ragged(0, len(part.rows))):
            for token, vector in zip(block.tokens.tolist(), block.vectors, strict=True):
                vectors.setdefault(token, []).append(vector)
    return dict(sorted(vectors.items()))


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_equals_numpy_over_all_cells(parts, statistic, monkeypatch):
    monkeypatch.setattr(gene_summary, "_MEDIAN_BLOCK_BYTES", 1000)
    stream, embedder = parts
    vectors = all_vectors(stream, embedder)
    summary = summarize_genes([stream], embedder, statistic=statistic)
    names = stream.vocabulary.ensembl_id_of
    assert summary.ensembl_ids.tolist() == [names[token] for token in vectors]
    assert summary.n_cells.tolist() == [len(each) for each in vectors.values()]
    expected = [getattr(np, statistic)(np.array(each), axis=0) for each in vectors.values()]
    np.testing.assert_allclose(summary.vectors, expected, atol=1e-6)


def test_several_sources_are_summarised_together(parts, small_adata):
    stream, embedder = parts
    halves = [
        open_tokens(small_adata[rows].copy(), stream.vocabulary)
        for rows in (slice(0, 11), slice(11, 30))
    ]
    for statistic in ("mean", "median"):
        whole = summarize_genes([stream], embedder, statistic=statistic)
        joined = summarize_genes(halves, embedder, statistic=statistic)
        assert whole.ensembl_ids.tolist() == joined.ensembl_ids.tolist()
        np.testing.assert_allclose(joined.vectors, whole.vectors, atol=1e-5)


def test_a_disk_too_small_is_said_before_the_work(parts, monkeypatch, tmp_path):
    stream, embedder = parts
    usage = gene_summary.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(gene_summary.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="GB free"):
        summarize_genes([stream], embedder, statistic="median", scratch_folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
