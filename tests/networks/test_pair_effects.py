"""What genes of a cell do to each other, beside runs in transformers."""

import numpy as np
import pytest
import torch
from tests.perturb.test_exact import expected_of, frame_cell, hidden, make_cells, pack
from transformers import BertModel

from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.networks.pair_effects import (
    AttentionEffects,
    PerturbationEffects,
    SimilarityEffects,
)


@pytest.fixture(scope="module")
def bert(checkpoint_folder):
    model = BertModel.from_pretrained(
        checkpoint_folder, attn_implementation="eager", add_pooling_layer=False
    )
    return model.eval().double()


class Wrapped:
    """`hidden` asks for a model with a masked-LM head."""

    def __init__(self, bert):
        self.bert = bert


def embedder_of(folder):
    return Embedder(folder, device="cpu", dtype="float32")


@pytest.mark.parametrize("kind", ["delete", "overexpress", "inhibit", "activate"])
def test_movements_are_those_of_cells_run_one_at_a_time(vocabulary, checkpoint_folder, bert, kind):
    cells = make_cells(vocabulary, (64, 9, 5))
    effects = PerturbationEffects(embedder_of(checkpoint_folder), kind)
    measured = {each.cell: each for each in effects.measure(pack(cells, vocabulary))}
    for cell in (1, 2):
        genes, pairs = cells[cell], measured[cell]
        assert pairs.effects.shape == (len(pairs.ranks), len(genes))
        for row, rank in enumerate(pairs.ranks):
            _, moved, _ = expected_of(
                Wrapped(bert), genes, [genes[rank]], kind, vocabulary, [], "gene"
            )
            own = [1 - moved.get(gene, 1.0) for gene in genes]
            np.testing.assert_allclose(pairs.effects[row], own, atol=1e-5)
    assert len(measured[0].ranks) >= len(cells[0]) - 1


def test_named_genes_are_measured_beside_others_of_all_ranks(vocabulary, checkpoint_folder):
    cells = make_cells(vocabulary, (64, 40))
    asked = np.array([cells[0][11]])
    embedder = embedder_of(checkpoint_folder)
    everything = next(iter(PerturbationEffects(embedder).measure(pack(cells, vocabulary))))
    effects = PerturbationEffects(embedder, tokens=asked)
    measured = list(effects.measure(pack(cells, vocabulary)))
    assert [each.cell for each in measured] == [
        place for place, genes in enumerate(cells) if asked[0] in genes
    ]
    (row,) = np.flatnonzero(measured[0].ranks == 11)
    np.testing.assert_allclose(measured[0].effects[row], everything.effects[11], atol=1e-6)
    assert (np.diff(measured[0].ranks) > 0).all()


@pytest.mark.parametrize(("layers", "heads"), [((-1,), ()), ((1, 3), (1,)), ((2, -1), (0, 1))])
def test_attention_is_that_of_transformers(vocabulary, checkpoint_folder, bert, layers, heads):
    cells = make_cells(vocabulary, (20, 7))
    effects = AttentionEffects(embedder_of(checkpoint_folder), layers, heads)
    for pairs in effects.measure(pack(cells, vocabulary)):
        tokens = torch.tensor([frame_cell(cells[pairs.cell], vocabulary)])
        with torch.no_grad():
            weights = bert(tokens, output_attentions=True).attentions
        chosen = [weights[layer - 1 if layer > 0 else layer][0] for layer in layers]
        mean = torch.stack([each[list(heads) or [0, 1]].mean(0) for each in chosen]).mean(0)
        first = int(vocabulary.cls_token is not None)
        stop = first + len(cells[pairs.cell])
        # Row i of the weights attends; here it is acted upon.
        expected = mean[first:stop, first:stop].T
        np.testing.assert_allclose(pairs.effects, expected.numpy(), atol=1e-6)
        np.testing.assert_allclose(pairs.compared, np.log2(pairs.effects))
        assert pairs.ranks.tolist() == list(range(len(cells[pairs.cell])))


@pytest.mark.parametrize(("layers", "heads"), [((0,), ()), ((4,), ()), ((), ()), ((-1,), (2,))])
def test_layers_and_heads_that_there_are_not(checkpoint_folder, layers, heads):
    with pytest.raises(SettingsError):
        AttentionEffects(embedder_of(checkpoint_folder), layers, heads)


def test_a_layer_of_vectors_says_nothing_of_attention(checkpoint_folder):
    with pytest.raises(SettingsError, match="--attention-layer"):
        AttentionEffects(Embedder(checkpoint_folder, emb_layer=1, device="cpu"))


def test_similarity_is_the_cosine_of_vectors_of_transformers(vocabulary, checkpoint_folder, bert):
    cells = make_cells(vocabulary, (20, 7))
    effects = SimilarityEffects(embedder_of(checkpoint_folder))
    embeddings = bert.embeddings.word_embeddings.weight.detach().numpy()
    for pairs in effects.measure(pack(cells, vocabulary)):
        genes = cells[pairs.cell]
        vectors, _ = hidden(Wrapped(bert), genes, vocabulary)
        unit = vectors / vectors.norm(dim=1, keepdim=True)
        np.testing.assert_allclose(pairs.effects, (unit @ unit.T).numpy(), atol=1e-5)
        # What is compared is what the embeddings, the same in each cell, do not explain.
        static = np.array([[cosine_of(embeddings[a], embeddings[b]) for b in genes] for a in genes])
        upper = np.triu_indices(len(genes), 1)
        line = np.polynomial.Polynomial.fit(static[upper], pairs.effects[upper], 1)
        residual = pairs.effects[upper] - line(static[upper])
        np.testing.assert_allclose(pairs.compared[upper], residual, atol=1e-6)


def cosine_of(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_without_context_there_is_no_similarity_to_speak_of(checkpoint_folder):
    with pytest.raises(SettingsError, match="embedding layer"):
        SimilarityEffects(Embedder(checkpoint_folder, emb_layer=0, device="cpu"))
