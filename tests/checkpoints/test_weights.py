"""Weights files: the same tensors from every kind, and damage or lies told."""

import json
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file
from tests.damage import PAYLOADS, Payload, flip_byte, little_memory, payloads
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
)

from rankformer.checkpoints.weights import (
    hugging_face_tensors,
    load_encoder,
    load_masked_language_model,
    read_tensors,
)
from rankformer.errors import CheckpointError
from rankformer.model.encoder import PackedBatch
from rankformer.model.spec import EncoderSpec

CONFIG = {
    "vocab_size": 30, "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2,
    "intermediate_size": 12, "max_position_embeddings": 16, "hidden_act": "relu",
    "pad_token_id": 0, "layer_norm_eps": 1e-12,
}  # fmt: skip
SPEC = EncoderSpec(
    vocab_size=30, n_layers=2, d_model=8, n_heads=2, d_ff=12, max_positions=16
)  # fmt: skip
QUICK = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def reference(kind=BertForMaskedLM, **settings):
    """A BERT of transformers, no two of whose weights are alike, biases and norms included."""
    torch.manual_seed(3)
    model = kind(BertConfig(**CONFIG, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture(scope="module")
def bert():
    return reference()


def tensors_of(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}


def hidden_of_reference(model, tokens: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model.bert(torch.tensor([tokens])).last_hidden_state[0]


def hidden_of_ours(encoder, tokens: list[int]) -> torch.Tensor:
    ragged = np.array(tokens, dtype=np.int32), np.array([0, len(tokens)])
    with torch.no_grad():
        return encoder(PackedBatch.pack(ragged, 0, 1))


TOKENS = [5, 9, 29, 1, 17]


def _as_safetensors(tensors, folder):
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


def _as_bin(tensors, folder):
    torch.save(OrderedDict(tensors), folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def _as_old_bin(tensors, folder):
    """As torch before 1.6 wrote it."""
    path = folder / "pytorch_model.bin"
    torch.save(OrderedDict(tensors), path, _use_new_zipfile_serialization=False)
    return path


WRITERS = [_as_safetensors, _as_bin, _as_old_bin]


@pytest.mark.parametrize("write", WRITERS)
def test_every_kind_of_file_gives_the_tensors_it_was_made_of(bert, tmp_path, write):
    model = load_masked_language_model(write(tensors_of(bert), tmp_path), SPEC)

    ours = hugging_face_tensors(model)
    for name, tensor in tensors_of(bert).items():
        if name not in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
            assert torch.equal(ours[name], tensor), name
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("write", WRITERS)
def test_hidden_states_are_those_of_transformers(bert, tmp_path, write):
    encoder = load_encoder(write(tensors_of(bert), tmp_path), SPEC)

    torch.testing.assert_close(
        hidden_of_ours(encoder, TOKENS), hidden_of_reference(bert, TOKENS), atol=1e-5, rtol=0
    )


def test_buffers_of_old_files_do_no_harm(bert, tmp_path):
    tensors = tensors_of(bert)
    tensors["bert.embeddings.position_ids"] = torch.arange(16)[None]
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]

    encoder = load_encoder(_as_bin(tensors, tmp_path), SPEC)
    assert torch.equal(hidden_of_ours(encoder, TOKENS), _hidden(bert, tmp_path))


def _hidden(bert, folder: Path) -> torch.Tensor:
    return hidden_of_ours(load_encoder(_as_safetensors(tensors_of(bert), folder), SPEC), TOKENS)


def test_a_bert_without_prefix_or_head(bert, tmp_path):
    """As `BertModel.save_pretrained` writes it."""
    bert.bert.save_pretrained(tmp_path)
    assert "embeddings.word_embeddings.weight" in load_file(tmp_path / "model.safetensors")

    encoder = load_encoder(tmp_path / "model.safetensors", SPEC)
    assert torch.equal(hidden_of_ours(encoder, TOKENS), _hidden(bert, tmp_path))
    with pytest.raises(CheckpointError, match=r"cls\.predictions\.transform\.dense\.weight is"):
        load_masked_language_model(_saved_without_head(bert, tmp_path), SPEC)


def _saved_without_head(bert, folder: Path) -> Path:
    bert.bert.save_pretrained(folder)
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForTokenClassification])
def test_a_fine_tuned_model_gives_its_encoder(tmp_path, kind):
    model = reference(kind, num_labels=3)
    model.save_pretrained(tmp_path)

    encoder = load_encoder(tmp_path / "model.safetensors", SPEC)
    torch.testing.assert_close(
        hidden_of_ours(encoder, TOKENS), hidden_of_reference(model, TOKENS), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(bert, tmp_path, dtype):
    tensors = {name: tensor.to(dtype) for name, tensor in tensors_of(bert).items()}
    encoder = load_encoder(_as_safetensors(tensors, tmp_path), SPEC)

    name = "bert.embeddings.word_embeddings.weight"
    assert encoder.embeddings.token.weight.dtype == torch.float32
    assert torch.equal(encoder.embeddings.token.weight, tensors[name].float())


# Tensors that do not fit.

QUERY = "bert.encoder.layer.1.attention.self.query.weight"
KEY = QUERY.replace("query", "key")


@pytest.mark.parametrize(
    ("name", "tensor", "sentence"),
    [
        (QUERY, None, "query.weight or .*key.weight or .*value.weight is missing"),
        (QUERY, torch.zeros(8, 7), r"query.weight .*shape \(8, 7\)"),
        (QUERY, torch.zeros(4, 8), r"query.weight .*shape \(4, 8\)"),
        (QUERY, torch.tensor(1.0), r"query.weight .*shape \(\)"),
        (QUERY, torch.zeros(8, 8, dtype=torch.int32), "the type int32"),
        ("bert.embeddings.LayerNorm.bias", None, "LayerNorm.bias is missing"),
        ("bert.embeddings.word_embeddings.weight", torch.zeros(29, 8), r"shape \(29, 8\)"),
        ("bert.embeddings.position_embeddings.weight", torch.zeros(15, 8), r"shape \(15, 8\)"),
    ],
)
@pytest.mark.parametrize("write", WRITERS[:2])
def test_tensors_that_do_not_fit_are_named(bert, tmp_path, write, name, tensor, sentence):
    tensors = tensors_of(bert)
    tensors.pop(name)
    if tensor is not None:
        tensors[name] = tensor

    with pytest.raises(CheckpointError, match=sentence) as caught:
        load_encoder(write(tensors, tmp_path), SPEC)
    assert "config.json" in str(caught.value)


def test_query_and_key_of_shapes_that_only_add_up_are_refused(bert, tmp_path):
    tensors = tensors_of(bert)
    tensors[QUERY], tensors[KEY] = torch.zeros(6, 8), torch.zeros(10, 8)

    with pytest.raises(CheckpointError, match=r"shape \(6, 8\)"):
        load_encoder(_as_safetensors(tensors, tmp_path), SPEC)


# Files that are no weights.


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4365ba23\nsize 151989452\n",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"null",
    ],
    ids=["empty", "git-lfs", "html", "zip", "zeros", "endless-header", "list", "null"],
)
def test_a_file_that_is_no_weights_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CheckpointError, match=name) as caught, little_memory():
        load_encoder(tmp_path / name, SPEC)
    assert "Git LFS" in caught.value.fix or "config.json" in str(caught.value)


def _header(tensors) -> tuple[dict, bytes]:
    content = save(tensors)
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _with_header(header: dict, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "lie",
    [
        {"dtype": "I32"},
        {"dtype": "F64"},
        {"shape": [8, 9]},
        {"shape": [2**40, 2**40]},
        {"shape": [64]},
        {"data_offsets": [0, 2**40]},
        {"data_offsets": [256, 0]},
        {"data_offsets": [-256, 0]},
        {"dtype": "EVIL"},
    ],
    ids=repr,
)
def test_a_lying_header_is_told(bert, tmp_path, lie):
    header, body = _header(tensors_of(bert))
    header[QUERY].update(lie)
    path = tmp_path / "model.safetensors"
    path.write_bytes(_with_header(header, body))

    with pytest.raises(CheckpointError, match=r"model\.safetensors"), little_memory():
        load_encoder(path, SPEC)


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"a": 1}, torch.zeros(3), {"a": "b"}, None])
def test_a_bin_file_of_something_else_is_told(tmp_path, content):
    path = tmp_path / "pytorch_model.bin"
    torch.save(content, path)

    with pytest.raises(CheckpointError, match="could not be read"):
        read_tensors(path)


def test_a_file_that_goes_away_while_it_is_read(bert, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({name: each.contiguous() for name, each in bert.bert.state_dict().items()}, path)
    tensors = read_tensors(path)
    with pytest.raises(KeyError):
        tensors["none of them"]
    path.unlink()
    with pytest.raises(CheckpointError, match="could not be read"):
        tensors[next(iter(tensors))]


def test_a_whole_pickled_model_is_refused(bert, tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save(bert, path)

    with pytest.raises(CheckpointError, match="no code is run"):
        load_encoder(path, SPEC)


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("zipped", [True, False])
def test_no_weights_file_runs_code(bert, tmp_path, name, zipped):
    marker, path = tmp_path / "marker", tmp_path / "pytorch_model.bin"
    if zipped:
        torch.save(tensors_of(bert), path)
        _replace_pickle(path, payloads(marker)[name])
    else:
        path.write_bytes(payloads(marker)[name])

    with pytest.raises(CheckpointError, match="no code is run") as caught:
        load_encoder(path, SPEC)
    assert not marker.exists()
    assert "weights_only" not in str(caught.value), "torch's advice to believe the file"


def test_a_payload_among_the_tensors_does_not_run(bert, tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "pytorch_model.bin"
    torch.save({**tensors_of(bert), "x": Payload(os.system, f"touch {marker}")}, path)

    with pytest.raises(CheckpointError, match="no code is run"):
        load_encoder(path, SPEC)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file would have run code where it is believed"


def _replace_pickle(path: Path, payload: bytes) -> None:
    import zipfile

    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, payload if name.endswith("data.pkl") else content)


# Any cut or changed byte.


@pytest.fixture(scope="module")
def sound(bert, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    files = [write(tensors_of(bert), folder) for write in WRITERS[:2]]
    return {file.name: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def sound_hidden(bert, tmp_path_factory) -> torch.Tensor:
    return _hidden(bert, tmp_path_factory.mktemp("sound-hidden"))


def _load(path: Path):
    try:
        with little_memory(4):
            return load_encoder(path, SPEC)
    except CheckpointError as error:
        return None if error.found and error.fix else pytest.fail("says nothing")


@QUICK
@given(data=st.data(), name=st.sampled_from(["model.safetensors", "pytorch_model.bin"]))
def test_a_cut_file_is_told(sound, tmp_path, data, name):
    length = data.draw(st.integers(0, len(sound[name]) - 1))
    (tmp_path / name).write_bytes(sound[name][:length])

    assert _load(tmp_path / name) is None


@settings(QUICK, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_of_a_safetensors_header_gives_the_same_or_is_told(
    sound, sound_hidden, tmp_path, place, change
):
    content = sound["model.safetensors"]
    (length,) = struct.unpack("<Q", content[:8])
    header, body = content[: 8 + length], content[8 + length :]
    path = tmp_path / "model.safetensors"
    path.write_bytes(flip_byte(header, place, change) + body)

    encoder = _load(path)
    assert encoder is None or torch.equal(hidden_of_ours(encoder, TOKENS), sound_hidden)


@settings(QUICK, max_examples=100)
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_a_changed_byte_of_a_bin_file_never_ends_in_another_error(sound, tmp_path, place, change):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(flip_byte(sound["pytorch_model.bin"], place, change))

    _load(path)


def test_pickled_dictionaries_are_no_weights(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps({"<pad>": 0}))

    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        load_encoder(path, SPEC)
