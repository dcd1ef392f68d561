"""Derivatives beside finite differences of a plain float64 statement of the model."""

import numpy as np
import pytest
import torch
from torch.nn.functional import relu
from transformers import BertForMaskedLM

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.perturb.sensitivity import Riders, differentiate

STEP = 1e-5


@pytest.fixture(scope="module")
def bert(checkpoint_folder):
    return BertForMaskedLM.from_pretrained(checkpoint_folder).eval().double().bert


@torch.no_grad()
def plain_hidden(bert, tokens, summed_positions, presence):
    """(L, D): BERT as its paper has it, with the presence of each token in the attention."""
    embeddings = bert.embeddings
    x = embeddings.word_embeddings.weight[torch.tensor(tokens)] + summed_positions
    hidden = embeddings.LayerNorm(x + embeddings.token_type_embeddings.weight[0])
    n_heads = bert.config.num_attention_heads
    for layer in bert.encoder.layer:
        own = layer.attention.self
        query, key, value = (
            each(hidden).view(len(tokens), n_heads, -1).transpose(0, 1)
            for each in (own.query, own.key, own.value)
        )
        scores = torch.exp(query @ key.transpose(1, 2) / query.shape[-1] ** 0.5)
        weights = scores * torch.tensor(presence)
        mixed = (weights / weights.sum(dim=-1, keepdim=True)) @ value
        mixed = mixed.transpose(0, 1).reshape(len(tokens), -1)
        out = layer.attention.output
        hidden = out.LayerNorm(out.dense(mixed) + hidden)
        fed = layer.output.dense(relu(layer.intermediate.dense(hidden)))
        hidden = layer.output.LayerNorm(fed + hidden)
    return hidden


def make_cell(vocabulary, n_genes=12):
    genes = np.random.default_rng(4).choice(vocabulary.tokens, n_genes, replace=False).tolist()
    if vocabulary.cls_token is None:
        return genes, slice(0, n_genes)
    return [vocabulary.cls_token, *genes, vocabulary.eos_token], slice(1, n_genes + 1)


@pytest.mark.parametrize("mode", ["cell", "cls"])
@pytest.mark.parametrize("is_moved", [False, True])
@pytest.mark.parametrize("step", [-1, 1])
def test_derivatives_are_those_of_the_model(
    vocabulary, checkpoint_folder, bert, mode, is_moved, step
):
    encoder = Checkpoint.open(checkpoint_folder).encoder(torch.float32).eval()
    tokens, genes = make_cell(vocabulary)
    n, first = len(tokens), 2
    directions = np.random.default_rng(5).normal(size=(3, 32))
    rider, rider_place = int(vocabulary.tokens[-1]), 3
    table = bert.embeddings.position_embeddings.weight.detach()
    places = torch.arange(n)
    moved = torch.where(places >= first, places + step, places)
    here, there = (moved, places) if is_moved else (places, moved)

    def embed(presence, positions, with_rider=0.0):
        all_tokens = [*tokens, rider]
        all_positions = torch.cat([positions, table[rider_place : rider_place + 1]])
        hidden = plain_hidden(bert, all_tokens, all_positions, [*presence, with_rider])
        own = hidden[:n]
        vector = own[genes].mean(dim=0) if mode == "cell" else own[0]
        return directions @ vector.numpy(), directions @ hidden.numpy().T

    found = differentiate(
        encoder, 3, np.array(tokens, np.int32), directions,
        genes=genes if mode == "cell" else None, step=step, first_moved=first,
        is_moved=is_moved, riders=Riders(np.array([rider]), np.array([rider_place])),
    )  # fmt: skip
    ones = np.ones(n)
    vector, hidden = embed(ones, table[here])
    np.testing.assert_allclose(directions @ found.vector, vector, atol=1e-4)
    np.testing.assert_allclose(found.hidden, hidden[:, :n], atol=1e-4)
    np.testing.assert_allclose(found.rider_hidden[:, 0], hidden[:, n], atol=1e-4)
    # The way that a token goes: up or down by one, also from where all have gone.
    way = (table[there] - table[here]) * (-1 if is_moved else 1)
    for place in range(n):
        more = ones + STEP * (np.arange(n) == place)
        expected = (embed(more, table[here])[0] - vector) / STEP
        np.testing.assert_allclose(found.presence[:, place], expected, atol=1e-3)
        positions = table[here].clone()
        positions[place] += STEP * way[place]
        expected = (embed(ones, positions)[0] - vector) / STEP
        np.testing.assert_allclose(found.place[:, place], expected, atol=1e-3)
    expected = (embed(ones, table[here], STEP)[0] - vector) / STEP
    np.testing.assert_allclose(found.rider_presence[:, 0], expected, atol=1e-3)
