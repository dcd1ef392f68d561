"""rankformer-mini, the model that ships: small, whole, and better than chance on unseen cells."""

import zlib

import numpy as np
import pytest
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from transformers import BertForMaskedLM

import rankformer
from rankformer.checkpoints.find import packaged_folder
from rankformer.pretraining.pretrain import draw_model


@pytest.fixture(scope="module")
def mini():
    return rankformer.Checkpoint.open("rankformer-mini")


def test_it_is_small_and_says_what_it_is(mini):
    files = list(packaged_folder().iterdir())
    # In the wheel, which is compressed as this is.
    assert sum(len(zlib.compress(file.read_bytes(), 6)) for file in files) < 5e6
    card = (packaged_folder() / "README.md").read_text()
    assert "not for discovery" in card
    for source in ("pbmc_donor_a", "lung_lavage", "breast_tumours", "hek293t", "tumour_t_cells"):
        assert f"{source}.h5ad |" in card
    assert "/" not in card.split("| source | cells |")[1].split("##")[0]


def test_it_knows_genes_by_symbol_and_by_id(mini):
    import pandas as pd

    names = ["CD3E", "ENSG00000105374", "ms4a1", "LYZ", "ENSG00000142541.17"]
    var = pd.DataFrame(index=names)
    mapping = rankformer.map_genes(var, mini.vocabulary)
    assert mapping.ensembl_ids.tolist() == [
        "ENSG00000198851", "ENSG00000105374", "ENSG00000156738", "ENSG00000090382",
        "ENSG00000142541",
    ]  # fmt: skip
    assert (mapping.tokens >= 0).all()


def test_it_opens_in_transformers(mini):
    model = BertForMaskedLM.from_pretrained(mini.folder)
    assert model.config.vocab_size == mini.vocabulary.size


def test_it_tells_cells_apart_that_it_never_saw(mini, tmp_path):
    """Nearest neighbours name the kind of a blood cell better than with random weights."""
    sc = pytest.importorskip("scanpy")
    adata = sc.datasets.pbmc68k_reduced()
    labels = adata.obs["bulk_labels"].to_numpy(str)
    shape = {name: getattr(mini.spec, name) for name in ("n_layers", "d_model", "n_heads", "d_ff")}
    random = draw_model(mini.vocabulary, shape, seed=0)
    rankformer.save_checkpoint(tmp_path / "random", random, mini.vocabulary)

    def macro_f1(model):
        found = rankformer.tl.embed(adata, model=model, use_raw=True, undo_log1p=True, copy=True)
        vectors = found.obsm["X_geneformer"]
        assert np.isfinite(vectors).all()
        guessed = cross_val_predict(KNeighborsClassifier(10), vectors, labels, cv=5)
        return f1_score(labels, guessed, average="macro")

    assert macro_f1(mini) > macro_f1(tmp_path / "random") + 0.1
