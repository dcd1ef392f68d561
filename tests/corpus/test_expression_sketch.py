"""Sketches of expression: against exact medians in float64, and the laws of merging."""

import tracemalloc

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from tests.conftest import shared_path, small_counts
from tests.damage import flip_byte, largest_file

from rankformer.corpus.expression_sketch import ExpressionSketch
from rankformer.errors import CountsError, GeneError, OutputError, VocabularyError
from rankformer.genes.identities import GeneIdentities, identify_genes

A, B, C = (f"ENSG0000000000{i}" for i in (1, 2, 3))
MOUSE = "ENSMUSG00000059552"
WITHIN = 0.01 + 1e-9


def identities(ensembl_ids, is_gene=None, symbols=None) -> GeneIdentities:
    ids = np.array([*ensembl_ids, None], dtype=object)[:-1]
    return GeneIdentities(
        ids, np.ones(len(ids), bool) if is_gene is None else np.array(is_gene), symbols or {}, {}
    )


def sketch_of(counts, ensembl_ids, is_gene=None, symbols=None) -> ExpressionSketch:
    sketch = ExpressionSketch()
    sketch.add_cells([csr_matrix(counts)], identities(ensembl_ids, is_gene, symbols))
    return sketch


def exact(counts, ensembl_ids, is_gene=None) -> tuple[dict, dict]:
    """The definition on a dense float64 matrix: gene → median, gene → cells."""
    dense = np.asarray(counts.todense() if hasattr(counts, "todense") else counts, np.float64)
    is_gene = np.ones(dense.shape[1], bool) if is_gene is None else np.array(is_gene, bool)
    n_counts = dense[:, is_gene].sum(axis=1, keepdims=True)
    medians, n_cells = {}, {}
    for gene in {each for each, yes in zip(ensembl_ids, is_gene, strict=True) if each and yes}:
        of_gene = [i for i, each in enumerate(ensembl_ids) if each == gene and is_gene[i]]
        summed = dense[:, of_gene].sum(axis=1)
        values = summed[summed > 0] / n_counts[summed > 0, 0] * 10_000
        n_cells[gene] = len(values)
        medians[gene] = np.median(values) if len(values) else np.nan
    return medians, n_cells


def check_against(sketch, medians, n_cells) -> None:
    assert sketch.ensembl_ids == tuple(sorted(medians))
    assert sketch.n_cells_of_genes().tolist() == [n_cells[gene] for gene in sketch.ensembl_ids]
    expected = np.array([medians[gene] for gene in sketch.ensembl_ids])
    np.testing.assert_allclose(sketch.medians(), expected, rtol=WITHIN)


@st.composite
def cells(draw, genes=(A, B, C, None)):
    n_cells, n_vars = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    ids = draw(st.lists(st.sampled_from(genes), min_size=n_vars, max_size=n_vars))
    is_gene = draw(st.lists(st.booleans(), min_size=n_vars, max_size=n_vars))
    values = st.one_of(st.just(0), st.integers(1, 5), st.integers(1, 10**6))
    counts = draw(st.lists(st.lists(values, min_size=n_vars, max_size=n_vars),
                           min_size=n_cells, max_size=n_cells))  # fmt: skip
    return np.array(counts, np.int64), ids, is_gene


@settings(max_examples=150, deadline=None)
@given(cells())
def test_medians_are_within_one_percent_and_detections_exact(drawn):
    counts, ids, is_gene = drawn
    check_against(sketch_of(counts, ids, is_gene), *exact(counts, ids, is_gene))


@pytest.mark.parametrize("name", ["sc_mixology", "pbmc3k", "pbmc_1k_5prime"])
def test_medians_of_real_cells(name):
    adata = ad.read_h5ad(shared_path("cells", f"{name}.h5ad"))
    genes = identify_genes(adata.var)
    sketch = ExpressionSketch()
    sketch.add_cells([adata.X[:500], adata.X[500:]], genes)
    gene_of_var, names = pd.factorize(genes.ensembl_ids)
    has_id = gene_of_var >= 0
    sums = csr_matrix((has_id[has_id], (np.flatnonzero(has_id), gene_of_var[has_id])))
    of_genes = (adata.X.astype(np.float64) @ sums).tocsc()
    n_counts = np.asarray(adata.X.sum(axis=1, dtype=np.float64)).ravel()
    of_genes.data = of_genes.data / n_counts[of_genes.indices] * 10_000
    columns = np.split(of_genes.data, of_genes.indptr[1:-1])
    n_cells = dict(zip(names, map(len, columns), strict=True))
    with_cells = [np.median(each) if len(each) else np.nan for each in columns]
    check_against(sketch, dict(zip(names, with_cells, strict=True)), n_cells)


@pytest.mark.parametrize("largest", [1, 10**4, 10**8 - 1])
def test_the_rarest_and_the_only_gene_of_a_cell(largest):
    sketch = sketch_of([[1, largest, 0], [0, 0, 7]], [A, B, C])
    n_counts = 1 + largest
    expected = [1e4 / n_counts, 1e4 * largest / n_counts, 1e4]
    np.testing.assert_allclose(sketch.medians(), expected, rtol=WITHIN)


def test_a_scaled_cell_is_the_same_cell():
    counts = small_counts(50, 3, seed=1, mean=3.0)
    scaled = counts.multiply(2.0 ** np.arange(-25, 25)[:, None]).tocsr()
    assert sketch_of(counts, [A, B, C]) == sketch_of(scaled, [A, B, C])


def save_bytes(sketch, folder, name="s") -> bytes:
    return sketch.save(folder / f"{name}.sketch").read_bytes()


@settings(max_examples=25, deadline=None)
@given(st.lists(cells(genes=(A, B, C)), min_size=3, max_size=3), st.permutations([0, 1, 2]))
def test_merging_does_not_know_order_or_grouping(tmp_path_factory, parts, order):
    folder = tmp_path_factory.mktemp("merge")

    def part(i):
        counts, ids, is_gene = parts[i]
        return sketch_of(counts, ids, is_gene, {ids[0]: {f"NAME{i % 2}"}})

    left, right = part(0), part(1)
    left.merge(part(1))
    left.merge(part(2))
    right.merge(part(2))
    first = part(0)
    first.merge(right)
    shuffled = part(order[0])
    shuffled.merge(part(order[1]))
    shuffled.merge(part(order[2]))
    assert left == first == shuffled
    assert save_bytes(left, folder) == save_bytes(first, folder) == save_bytes(shuffled, folder)


@settings(max_examples=25, deadline=None)
@given(cells(), st.integers(0, 12))
def test_halves_add_up_to_the_whole(drawn, cut):
    counts, ids, is_gene = drawn
    names = {A: {"G1", "OLD1"}}
    whole = sketch_of(counts, ids, is_gene, names)
    halves = [sketch_of(each, ids, is_gene, names) for each in (counts[:cut], counts[cut:])]
    halves[1].merge(halves[0])
    assert halves[1] == whole
    in_chunks = ExpressionSketch()
    chunks = [csr_matrix(counts[:cut]), csr_matrix(counts[cut:])]
    in_chunks.add_cells(chunks, identities(ids, is_gene, names))
    assert in_chunks == whole


def test_cells_of_two_species_are_refused_and_change_nothing():
    sketch = sketch_of([[1, 2]], [A, B])
    before = sketch_of([[1, 2]], [A, B])
    with pytest.raises(GeneError, match=r"of mouse \(ENSMUSG00000059552\).*genes are of human"):
        sketch.merge(sketch_of([[1]], [MOUSE]))
    with pytest.raises(GeneError, match="of mouse"):
        sketch.add_cells([csr_matrix([[1, 1]])], identities([C, MOUSE]))
    assert sketch == before


def test_more_cells_than_a_bucket_counts_are_refused():
    full, one = sketch_of([[1]], [A]), sketch_of([[1]], [A])
    full.n_cells = 2**32 - 1
    with pytest.raises(CountsError, match=r"4,294,967,296 cells"):
        full.merge(one)
    assert full.n_cells_of_genes().tolist() == [1]


@pytest.fixture
def saved(tmp_path):
    counts = small_counts(40, 3, seed=2, mean=2.0)
    sketch = sketch_of(counts, [B, A, None], symbols={A: {"G1"}, B: {"G2", "É"}})
    return sketch, sketch.save(tmp_path / "part.sketch")


def test_a_file_keeps_everything(saved):
    sketch, path = saved
    loaded = ExpressionSketch.load(path)
    assert loaded == sketch
    loaded.merge(sketch)
    assert loaded.n_cells == 80
    assert [each.name for each in path.parent.iterdir()] == ["part.sketch"]


def test_more_genes_than_are_written_at_once(tmp_path):
    n_genes = 9000
    counts = small_counts(3, n_genes, seed=3)
    sketch = sketch_of(counts, [f"ENSG{i:011d}" for i in range(n_genes, 0, -1)])
    assert ExpressionSketch.load(sketch.save(tmp_path / "a.sketch")) == sketch


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_told(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    sketch = sketch_of([[1, 2], [3, 4]], [A, B], symbols={A: {"G1"}})
    sound = save_bytes(sketch, folder)
    if data.draw(st.booleans()):
        damaged = sound[: data.draw(st.integers(0, len(sound) - 1))]
    else:
        damaged = flip_byte(
            sound, data.draw(st.floats(0, 1, exclude_max=True)), data.draw(st.integers(1, 255))
        )
    (folder / "damaged.sketch").write_bytes(damaged)
    try:
        loaded = ExpressionSketch.load(folder / "damaged.sketch")
    except VocabularyError:
        return
    assert loaded == sketch


def test_a_vocabulary_is_no_sketch(vocabulary, tmp_path):
    with pytest.raises(VocabularyError, match=r"is not a sketch.*columns ensembl_id, token"):
        ExpressionSketch.load(vocabulary.save(tmp_path / "v.parquet"))


def test_a_failed_save_leaves_nothing(saved, tmp_path):
    sketch, path = saved
    path.unlink()
    with pytest.raises(OutputError, match="could not be written"), largest_file(1000):
        sketch.save(path)
    with pytest.raises(OutputError, match="could not be written"):
        sketch.save(tmp_path / "nowhere" / "a.sketch")
    assert not list(tmp_path.iterdir())


def peak_of_sketching(n_chunks: int, genes: GeneIdentities) -> int:
    sketch = ExpressionSketch()
    chunk = small_counts(200, len(genes.ensembl_ids), seed=5)
    sketch.add_cells([chunk], genes)
    tracemalloc.start()
    sketch.add_cells((chunk for _ in range(n_chunks)), genes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sketch.n_cells == 200 * (n_chunks + 1)
    return peak


def test_memory_does_not_grow_with_the_cells():
    genes = identities([f"ENSG{i:011d}" for i in range(1000)])
    few, many = peak_of_sketching(2, genes), peak_of_sketching(200, genes)
    assert many < few + 100_000
