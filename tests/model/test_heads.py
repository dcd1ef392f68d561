"""Heads and their losses against `transformers` and plain formulas."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import save_small_checkpoint, small_vocabulary
from torch.nn import functional
from transformers import BertModel

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import FineTunedModel, write_finetuned
from rankformer.errors import CheckpointError, SettingsError
from rankformer.model.encoder import PackedBatch
from rankformer.model.heads import (
    FineTuningLoss,
    Head,
    HeadedEncoder,
    cross_entropy,
    draw_head,
    squared_error,
)

LENGTHS = (40, 3, 17)


@pytest.fixture
def checkpoint(tmp_path):
    shape = {"dropout": 0.0, "attention_dropout": 0.0}
    return Checkpoint.open(save_small_checkpoint(tmp_path / "model", small_vocabulary(), **shape))


@pytest.fixture
def cells(checkpoint):
    vocabulary, rng = checkpoint.vocabulary, np.random.default_rng(0)
    genes = [rng.permutation(vocabulary.tokens)[:n] for n in LENGTHS]
    return [np.array([vocabulary.cls_token, *own, vocabulary.eos_token]) for own in genes]


def pack(cells):
    values = np.concatenate(cells).astype(np.int32)
    return PackedBatch.pack((values, np.cumsum([0, *map(len, cells)])), 0, len(cells))


def headed(checkpoint, unit="cell", mode="cell", sizes=(3,)):
    torch.manual_seed(1)
    modules = [draw_head(checkpoint.spec.d_model, size, 0.5) for size in sizes]
    special = list(checkpoint.vocabulary.special_tokens.values())
    return HeadedEncoder(
        checkpoint.encoder(), modules, unit=unit, mode=mode, special_tokens=special,
        dropout=0.0,
    )  # fmt: skip


def hidden_states(checkpoint, cells):
    """By transformers, a cell at a time: no padding to go wrong."""
    bert = BertModel.from_pretrained(checkpoint.folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        return [bert(torch.from_numpy(cell)[None]).last_hidden_state[0] for cell in cells]


@pytest.mark.parametrize("mode", ["cell", "cls"])
def test_outputs_of_cells_are_those_of_bert(checkpoint, cells, mode):
    model = headed(checkpoint, mode=mode)
    states = hidden_states(checkpoint, cells)
    vectors = [each[0] if mode == "cls" else each[1:-1].mean(dim=0) for each in states]
    with torch.inference_mode():
        (found,) = model(pack(cells), torch.empty(0, dtype=torch.int64))
        expected = model.heads[0](torch.stack(vectors))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_outputs_of_genes_are_those_of_bert(checkpoint, cells):
    model = headed(checkpoint, unit="gene")
    joined = torch.cat(hidden_states(checkpoint, cells))
    places = torch.tensor([1, 7, 44, 60])
    with torch.inference_mode():
        (found,) = model(pack(cells), places)
        torch.testing.assert_close(found, model.heads[0](joined[places]), atol=1e-5, rtol=0)


def test_losses_are_weighted_and_units_without_a_label_are_left_out(checkpoint, cells):
    model = headed(checkpoint, sizes=(3, 1))
    objective = FineTuningLoss(model, [cross_entropy(), squared_error], [1.0, 0.25])
    batch, nan = pack(cells), float("nan")
    truth = torch.tensor([[2.0, nan, 0.0], [nan, -1.0, 0.5]])
    places = torch.empty(0, dtype=torch.int64)
    inputs = batch.tokens_T, batch.positions_T, torch.tensor(batch.offsets), places
    classes, numbers = model(batch, places)
    expected = functional.cross_entropy(classes[[0, 2]], torch.tensor([2, 0])) + 0.25 * (
        ((numbers[1, 0] + 1) ** 2 + (numbers[2, 0] - 0.5) ** 2) / 2
    )
    torch.testing.assert_close(objective(*inputs, truth)["loss"], expected)
    without = objective(*inputs, torch.full((2, 3), nan))["loss"]
    without.backward()
    assert without == 0
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    assert not any(each.isnan().any() for each in gradients)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, (0.1, 2.0, 0.7)])
@pytest.mark.parametrize("known", [(0, 2, 3, 6), (4,), ()])
def test_the_loss_of_classes_is_torchs_over_those_that_are_known(weights, smoothing, known):
    torch.manual_seed(0)
    outputs = torch.randn(7, 3, requires_grad=True)
    classes = torch.tensor([2, 0, 1, 1, 2, 0, 0])
    truth = torch.full((7,), torch.nan)
    truth[list(known)] = classes[list(known)].float()
    weights = None if weights is None else torch.tensor(weights)
    loss = cross_entropy(weights, smoothing)(outputs, truth)
    (gradient,) = torch.autograd.grad(loss, outputs)
    expected = 0.0 * outputs.sum()
    if known:
        expected = functional.cross_entropy(
            outputs[list(known)], classes[list(known)], weight=weights, label_smoothing=smoothing
        )
    (expected_gradient,) = torch.autograd.grad(expected, outputs)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_a_cell_without_genes_breaks_no_gradient(checkpoint, cells):
    vocabulary = checkpoint.vocabulary
    empty = np.array([vocabulary.cls_token, vocabulary.eos_token])
    model = headed(checkpoint)
    (outputs,) = model(pack([cells[0], empty]), torch.empty(0, dtype=torch.int64))
    functional.cross_entropy(outputs, torch.tensor([0, 1])).backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())


@pytest.fixture
def saved(checkpoint, tmp_path):
    folder = tmp_path / "tuned"
    folder.mkdir()
    model = headed(checkpoint, sizes=(3, 1))
    heads = [Head("kind", ("a", "b", "c"), temperature=2.0), Head("age", mean=40.0, scale=9.0)]
    write_finetuned(folder, model.encoder, heads, model.heads, checkpoint.vocabulary,
                    unit="cell", mode="cell")  # fmt: skip
    return folder, heads, model


def test_saved_and_opened(saved, checkpoint):
    folder, heads, model = saved
    opened = FineTunedModel.open(folder)
    assert list(opened.heads) == heads
    assert opened.checkpoint.vocabulary.sha256 == checkpoint.vocabulary.sha256
    vectors = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
    vectors[2] = np.nan
    for found, module in zip(opened.outputs(vectors), model.heads, strict=True):
        expected = module(torch.from_numpy(vectors)).detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(opened.checkpoint.encoder().state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("heads.json", lambda text: text[: len(text) // 2], "could not be read"),
        ("heads.json", lambda text: text.replace(b'"cell"', b'"donor"'), "unit 'donor'"),
        ("heads.json", lambda text: text.replace(b"2.0", b"0.0"), "temperature"),
        ("heads.json", lambda text: text.replace(b'"c"', b'"c", "d"'), "heads.safetensors"),
        ("heads.safetensors", lambda text: text[:-8], "heads.safetensors could not be read"),
        ("heads.safetensors", lambda _: None, "heads.safetensors could not be read"),
        (
            "heads.safetensors",
            lambda text: text[:-1] + bytes([text[-1] ^ 1]),
            "heads.safetensors has the hash",
        ),
        ("heads.safetensors.sha256", lambda text: b"0" + text[1:], "heads.safetensors has the"),
        ("heads.json", lambda _: None, "is no fine-tuned model"),
    ],
)
def test_damage(saved, file, damage, sentence):
    folder, _, _ = saved
    content = damage((folder / file).read_bytes())
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=sentence):
        FineTunedModel.open(folder)


def test_a_folder_that_is_not_there_is_told_as_such(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        FineTunedModel.open(tmp_path / "nowhere")


def test_heads_that_are_not_finite_are_refused_where_their_hash_is_not_known(saved):
    folder, _, _ = saved
    tensors = load_file(folder / "heads.safetensors")
    tensors["1.weight"][0, 3] = float("nan")
    save_file(tensors, folder / "heads.safetensors")
    (folder / "heads.safetensors.sha256").unlink()
    with pytest.raises(CheckpointError, match=r"heads\.safetensors holds NaN"):
        FineTunedModel.open(folder)


def test_a_head_of_other_code_is_not_saved(checkpoint, tmp_path):
    head = torch.nn.Sequential(torch.nn.Linear(32, 3))
    with pytest.raises(SettingsError, match=r"no code is saved"):
        write_finetuned(tmp_path, checkpoint.encoder(), [Head("kind", ("a", "b", "c"))], [head],
                        checkpoint.vocabulary, unit="cell", mode="cell")  # fmt: skip
