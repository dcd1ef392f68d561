"""Packages that evaluations may stand beside, run on the real blood cells that scanpy ships."""

from importlib.util import find_spec

import numpy as np
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from rankformer.annotate.harmony import integrate_harmony
from rankformer.annotate.neighbours import NeighbourIndex, scale_to_unit
from rankformer.evaluate import integration
from rankformer.evaluate.batch_mixing import score_batch_mixing
from rankformer.evaluate.integration import integrate_scvi, score_by_scib

KINDS = ("CD14+ Monocyte", "CD19+ B")
N_COMPONENTS = 20


@pytest.fixture(scope="module")
def blood():
    """Monocytes and B cells, log-normalised, 765 genes."""
    adata = sc.datasets.pbmc68k_reduced()
    adata = adata[adata.obs["bulk_labels"].isin(KINDS)]
    return adata.raw.to_adata()


@pytest.fixture(scope="module")
def codes(blood):
    return (blood.obs["bulk_labels"] == KINDS[0]).to_numpy().astype(np.int64)


@pytest.fixture(scope="module")
def batches(blood):
    return np.random.default_rng(0).integers(0, 2, blood.n_obs)


@pytest.fixture(scope="module")
def torn(blood, batches):
    """Components in which a batch lies beside the other."""
    components = PCA(N_COMPONENTS, random_state=0).fit_transform(blood.X.toarray())
    components[:, 1] += 2 * components[:, 1].std() * batches
    return components.astype(np.float32)


def names(batches):
    return np.array(["first", "second"], dtype=object)[batches]


def known_by_neighbours(vectors, codes):
    """Share of cells whose kind the other half's neighbours name."""
    half = len(codes) // 2
    probe = KNeighborsClassifier(5).fit(vectors[:half], codes[:half])
    return probe.score(vectors[half:], codes[half:])


def test_harmony_mixes_batches_and_keeps_kinds(torn, batches, codes):
    pytest.importorskip("harmonypy")
    mixed = integrate_harmony(torn, names(batches), seed=0)
    assert mixed.shape == torn.shape
    before, after = (score_batch_mixing(each, codes, batches) for each in (torn, mixed))
    assert before < 0.5
    assert after > 0.9
    assert known_by_neighbours(mixed, codes) > 0.9


def test_scvi_mixes_batches_and_keeps_kinds(blood, batches, codes):
    pytest.importorskip("scvi")
    counts = np.round(np.expm1(blood.X.toarray()))
    # Half of the genes are three times as high in the second batch.
    counts[:, ::2] *= 1 + 2 * batches[:, None]
    genes = np.arange(300)
    logs = PCA(N_COMPONENTS, random_state=0).fit_transform(np.log1p(counts[:, genes]))
    latent = integrate_scvi(csr_matrix(counts.astype(np.float32)), genes, names(batches), seed=0)
    assert latent.shape == (blood.n_obs, 10)
    before, after = (score_batch_mixing(each, codes, batches) for each in (logs, latent))
    assert after > before + 0.2
    assert known_by_neighbours(latent, codes) > 0.9


@pytest.mark.slow
def test_scib_metrics_tell_mixed_from_torn(torn, batches, codes, monkeypatch):
    """Marked as slow for the minute in which scib-metrics compiles."""
    pytest.importorskip("scib_metrics")
    monkeypatch.setattr(integration, "find_spec", find_spec)
    apart = torn + 50 * batches[:, None].astype(np.float32)
    drawn = np.random.default_rng(1).permutation(batches)
    found, by_chance = score_by_scib(apart, codes, batches), score_by_scib(apart, codes, drawn)
    assert found.keys() == by_chance.keys() == {"ilisi_scib", "kbet_scib"}
    for name, value in found.items():
        assert value < 0.1, name
        assert by_chance[name] > 0.7, name


def test_a_graph_finds_the_neighbours_of_real_cells(torn):
    pytest.importorskip("usearch")
    vectors = np.tile(torn, (3, 1)) + np.random.default_rng(2).normal(0, 0.05, (3 * len(torn), 1))
    vectors = vectors.astype(np.float32)
    scale_to_unit(vectors)
    exact, _ = NeighbourIndex.build(vectors).search(vectors, 5)
    by_graph, _ = NeighbourIndex.build(vectors, exact_up_to=10).search(vectors, 5)
    assert np.mean([len(set(a) & set(b)) for a, b in zip(exact, by_graph, strict=True)]) > 4.9
