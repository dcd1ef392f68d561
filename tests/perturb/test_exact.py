"""Edited cells beside one-at-a-time runs in transformers."""

import numpy as np
import pytest
import torch
from tests.tokens.test_edits import plain_edit
from transformers import BertForMaskedLM

from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.perturb.exact import ExactPerturber
from rankformer.ragged import join_ragged
from rankformer.tokens.edits import Frame, plan_edits

KINDS = ("delete", "overexpress", "inhibit", "activate")


@pytest.fixture(scope="module")
def reference(checkpoint_folder):
    return BertForMaskedLM.from_pretrained(checkpoint_folder).eval().double()


def make_cells(vocabulary, lengths=(64, 63, 62, 61, 20, 3), seed=0):
    """Cells of as many tokens, at and just below the input length among them."""
    rng = np.random.default_rng(seed)
    frame = Frame.of(vocabulary)
    cells = []
    for length in lengths:
        genes = rng.choice(vocabulary.tokens, max(length - frame.n_tokens, 1), replace=False)
        cells.append(genes.tolist())
    return cells


def frame_cell(genes, vocabulary):
    if vocabulary.cls_token is None:
        return genes
    return [vocabulary.cls_token, *genes, vocabulary.eos_token]


def pack(cells, vocabulary):
    rows = [np.array(frame_cell(genes, vocabulary), np.int32) for genes in cells]
    return join_ragged([(row, np.array([0, len(row)])) for row in rows])


@torch.no_grad()
def hidden(model, genes, vocabulary):
    """(n_genes, D) of genes, and the vector of <cls> where there is one."""
    tokens = torch.tensor([frame_cell(genes, vocabulary)])
    states = model.bert(tokens).last_hidden_state[0]
    n_before = int(vocabulary.cls_token is not None)
    return states[n_before : n_before + len(genes)], states[0]


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def expected_of(model, genes, group, kind, vocabulary, states, read_out):
    """(cosine, gene cosines, shifts) of one cell, one gene or group, run by itself."""
    frame = Frame.of(vocabulary)
    edited = plain_edit(genes, group, kind, 0.25, 64 - frame.n_tokens)
    kept = [gene for gene in genes if gene in edited or gene in group]
    after, cls_after = hidden(model, edited, vocabulary)
    before, cls_before = hidden(model, kept, vocabulary)
    vectors = (cls_after, cls_before) if read_out == "cls" else (after.mean(0), before.mean(0))
    genes_moved = {
        gene: cosine(after[edited.index(gene)], before[kept.index(gene)])
        for gene in edited
        if gene not in group
    }
    shifts = [cosine(vectors[0], state) - cosine(vectors[1], state) for state in states]
    return cosine(*vectors), genes_moved, shifts


@pytest.mark.parametrize("read_out", ["cell", "cls", "gene"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("asked", ["all", "groups", "anchor"])
def test_equal_to_runs_one_at_a_time(
    vocabulary, checkpoint_folder, reference, read_out, kind, asked
):
    if read_out == "cls" and vocabulary.cls_token is None:
        pytest.skip("V1 has no <cls>")
    cells = make_cells(vocabulary)
    states = torch.randn(2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    embedder = Embedder(checkpoint_folder, device="cpu", dtype="float32")
    perturber = ExactPerturber(embedder, read_out, states.numpy())
    ragged, frame = pack(cells, vocabulary), perturber.frame
    groups, anchor = None, None
    if asked == "groups":
        # Expressed in the first cell alone, or not at all: put in where it is overexpressed.
        absent = [int(each) for each in vocabulary.tokens if each not in cells[0]][:2]
        groups = [[cells[0][5]], [cells[0][-1], cells[0][3]], [absent[0]], [cells[0][7], absent[1]]]
    elif asked == "anchor":
        anchor, cells = cells[0][4], cells[:1]
        ragged = pack(cells, vocabulary)
    edits = plan_edits(ragged, frame, kind, groups=groups, anchor=anchor)
    chosen = np.unique(np.linspace(0, len(edits) - 1, 40).astype(int))
    edits = edits.select(chosen)
    n_seen = 0
    for start, stop, responses in perturber.run(ragged, edits):
        for edit in range(start, stop):
            n_seen += 1
            genes = cells[edits.cells[edit]]
            group = edits.tokens[edits.offsets[edit] : edits.offsets[edit + 1]].tolist()
            own, moved, shifts = expected_of(
                reference, genes, group, kind, vocabulary, states, read_out
            )
            assert responses.cosines[edit - start] == pytest.approx(own, abs=1e-5)
            np.testing.assert_allclose(responses.shifts[edit - start], shifts, atol=1e-5)
            if read_out != "cls":
                mean = np.mean(list(moved.values())) if moved else np.nan
                found = responses.gene_cosines[edit - start]
                assert found == pytest.approx(mean, abs=1e-5, nan_ok=True)
            if read_out == "gene":
                place = slice(*responses.affected.offsets[edit - start : edit - start + 2])
                tokens = responses.affected.tokens[place].tolist()
                cosines = responses.affected.cosines[place]
                assert dict(zip(tokens, cosines, strict=True)) == pytest.approx(moved, abs=1e-5)
    assert n_seen == len(edits) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_batches_change_nothing(vocabulary, checkpoint_folder, kind):
    cells = make_cells(vocabulary, (64, 64, 50, 30))
    found = []
    for n_tokens, batch_size in ((2048, None), (2048, 1), (200, None)):
        embedder = Embedder(checkpoint_folder, device="cpu", dtype="float32", batch_size=batch_size)
        embedder.budget.n_tokens = n_tokens
        perturber = ExactPerturber(embedder, "cell", np.eye(32)[:2])
        ragged = pack(cells, vocabulary)
        edits = plan_edits(ragged, perturber.frame, kind)
        parts = [each for *_, each in perturber.run(ragged, edits)]
        found.append(
            np.column_stack(
                [
                    np.concatenate([each.cosines for each in parts]),
                    np.concatenate([each.gene_cosines for each in parts]),
                    np.concatenate([each.shifts for each in parts]),
                ]
            )
        )
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    np.testing.assert_allclose(found[2], found[0], atol=1e-6)


def test_a_read_out_that_there_is_not(checkpoint_folder):
    embedder = Embedder(checkpoint_folder, device="cpu", dtype="float32")
    with pytest.raises(SettingsError, match=r"'mean'.*One of cell, cls, gene"):
        ExactPerturber(embedder, "mean")
    if embedder.checkpoint.vocabulary.cls_token is None:
        with pytest.raises(SettingsError, match="no <cls> token"):
            ExactPerturber(embedder, "cls")
