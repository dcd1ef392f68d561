"""Numbers that the published package gave on tiny models and real cells (see the data's README)."""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from tests.conftest import SHARED, shared_path
from transformers import BertConfig, BertForMaskedLM

from rankformer.embed.embedder import Embedder
from rankformer.perturb.published import PublishedPerturber
from rankformer.ragged import join_ragged
from rankformer.tokens.edits import Frame, plan_edits
from rankformer.vocabulary.vocabulary import Vocabulary

FILES = sorted(path.stem for path in (SHARED / "perturbation").glob("*.json"))


def draw_published(vocab_size: int, n_positions: int) -> BertForMaskedLM:
    """The model of the reference numbers, as their README says that its weights were drawn."""
    config = BertConfig(
        vocab_size=vocab_size, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=n_positions, hidden_act="relu",
        layer_norm_eps=1e-12, pad_token_id=0,
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    rng = np.random.default_rng(7)
    state = model.state_dict()
    for name in sorted(state):
        tied = name in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
        if tied or not state[name].is_floating_point():
            continue
        drawn = rng.normal(0, 0.3, state[name].shape).astype(np.float32)
        state[name].copy_(torch.from_numpy(drawn) + float("LayerNorm.weight" in name))
    model.tie_weights()
    return model


@lru_cache
def checkpoint(release: str, n_positions: int, folder: str) -> str:
    vocabulary = Vocabulary.load(shared_path("geneformer", release.lower()))
    draw_published({"V1": 25_426, "V2": 20_275}[release], n_positions).save_pretrained(folder)
    replace(vocabulary, input_length=n_positions).save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.mark.parametrize("name", FILES)
def test_numbers_of_the_published_package(name, folder):
    reference = json.loads(shared_path("perturbation", f"{name}.json").read_text())
    settings, n_positions = reference["settings"], reference["n_positions"]
    release = settings["model_version"]
    model = checkpoint(release, n_positions, str(folder / f"{release}-{n_positions}"))
    embedder = Embedder(
        model,
        emb_layer=settings["emb_layer"],
        layer_numbering="published",
        device="cpu",
        dtype="float32",
    )
    vocabulary = embedder.checkpoint.vocabulary
    # The package runs long cells first, and lists its results so.
    cells = sorted(reference["tokens"], key=len, reverse=True)
    tokens = [np.array(each, np.int32) for each in cells]
    ragged = join_ragged([(each, np.array([0, len(each)])) for each in tokens])
    asked, anchor = settings["genes_to_perturb"], settings["anchor_gene"]
    groups = None if asked == "all" else [[vocabulary.token_of[gene] for gene in asked]]
    edits = plan_edits(
        ragged, Frame.of(vocabulary), settings["perturb_type"], groups=groups,
        anchor=None if anchor is None else vocabulary.token_of[anchor],
    )  # fmt: skip
    states = settings.get("state_embs_dict", {})
    vectors = np.array(list(states.values())) if states else None
    wants_genes = settings["emb_mode"].endswith("_and_gene")
    read_out = "cls" if settings["emb_mode"].startswith("cls") else "cell"
    found: dict[str, list[float]] = {}
    affected: dict[str, list[float]] = {}
    perturber = PublishedPerturber(embedder, read_out, vectors)
    for start, stop, responses in perturber.run(ragged, edits):
        cosines = responses.cosines if read_out == "cls" else responses.gene_cosines
        for edit in range(start, stop):
            key = list(key_of(edits, edit, anchor and vocabulary.token_of[anchor]))
            for state, shift in zip(states, responses.shifts[edit - start], strict=True):
                text = f'"{state}" > {json.dumps([unpacked(key), "cell_emb"])}'
                found.setdefault(text, []).append(shift)
            if not states:
                text = json.dumps([unpacked(key), "cell_emb"])
                found.setdefault(text, []).append(cosines[edit - start])
    compare(found, reference["result"]["cell"])
    if wants_genes:
        for start, stop, responses in PublishedPerturber(embedder, "gene").run(ragged, edits):
            genes = responses.affected
            for edit in range(start, stop):
                key = unpacked(list(key_of(edits, edit, None)))
                own = slice(*genes.offsets[edit - start : edit - start + 2])
                for token, cosine in zip(genes.tokens[own], genes.cosines[own], strict=True):
                    affected.setdefault(json.dumps([key, int(token)]), []).append(cosine)
        compare(affected, reference["result"]["gene"])


def key_of(edits, edit, anchor):
    genes = edits.tokens[edits.offsets[edit] : edits.offsets[edit + 1]]
    return [int(each) for each in genes if each != anchor]


def unpacked(key):
    return key[0] if len(key) == 1 else key


def compare(found, expected):
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(found[key], values, atol=1e-5, err_msg=key)
