"""Checkpoints: found in every layout, bound to their vocabulary, saved whole or not at all."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.conftest import save_small_checkpoint, shared_path, small_vocabulary
from tests.damage import TABLES, flip_byte, largest_file, little_memory, tables_of, write_tables
from transformers import BertForMaskedLM

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.find import find_folder
from rankformer.checkpoints.registry import MODELS, find_model
from rankformer.checkpoints.save import save_checkpoint
from rankformer.checkpoints.weights import read_tensors
from rankformer.errors import CheckpointError, OutputError, RankformerError, VocabularyError
from rankformer.model.encoder import Encoder, MaskedLanguageModel, PackedBatch
from rankformer.model.spec import EncoderSpec
from rankformer.vocabulary.vocabulary import Vocabulary

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
V1_NAME, V2_NAME = "gf-6L-30M-i2048", "gf-12L-95M-i4096"
TINY = {"n_layers": 1, "d_model": 4, "d_ff": 4}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return small_vocabulary()


@pytest.fixture(scope="module")
def checkpoint_folder(vocabulary, tmp_path_factory) -> Path:
    return save_small_checkpoint(tmp_path_factory.mktemp("models") / "small", vocabulary)


@pytest.fixture
def small(checkpoint_folder, tmp_path) -> Path:
    """A copy of the small checkpoint, to be spoiled."""
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "small"))


@pytest.fixture(scope="session")
def tiny_published(v1, v2, tmp_path_factory) -> dict[str, Path]:
    """Folders with config and random weights alone, one a generation, of few numbers."""
    root = tmp_path_factory.mktemp("tiny")
    folders = {}
    for name, vocabulary in ((V1_NAME, v1), (V2_NAME, v2)):
        positions = vocabulary.input_length
        folders[name] = save_small_checkpoint(
            root / name, vocabulary, max_positions=positions, **TINY
        )
        (folders[name] / "vocabulary.parquet").unlink()
        edit_config(folders[name], rankformer=None)
    return folders


def edit_config(folder: Path, **changes) -> None:
    """Change entries of config.json; None drops one."""
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def published_tables(series: str) -> dict[str, Path]:
    """Table name → published pickle."""
    folder = shared_path("geneformer", series)
    return {name: next(folder.glob(f"{name}*")) for name in TABLES}


@cache
def published_json(series: str) -> dict[str, str]:
    """Table name → the published table as JSON."""
    tables = tables_of(Vocabulary.load(shared_path("geneformer", series)))
    return {name: json.dumps(table) for name, table in tables.items()}


def lay_tables(series: str, folder: Path, suffix: str) -> Path:
    """The published dictionaries, under other file names; as JSON where the suffix says so."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in published_tables(series).items():
        if suffix.endswith(".json"):
            (folder / f"{name}{suffix}").write_text(published_json(series)[name])
        else:
            shutil.copyfile(file, folder / f"{name}{suffix}")
    return folder


# Layouts.


HELICAL_NAMES = {"v1": "gf-6L-10M-i2048", "v2": "gf-12L-38M-i4096"}


def _hub(root, weights, series):
    lay_tables("v2", root / "geneformer", "_gc104M.pkl")
    lay_tables("v1", root / "geneformer" / "gene_dictionaries_30m", "_gc30M.pkl")
    return shutil.copytree(weights, root / "Geneformer-any")


def _helical(root, weights, series):
    lay_tables(series, root / series, ".pkl")
    return shutil.copytree(weights, root / series / HELICAL_NAMES[series])


def _helical_json(root, weights, series):
    lay_tables(series, root / series, ".json")
    return shutil.copytree(weights, root / series / HELICAL_NAMES[series])


def _beside(root, weights, series):
    folder = shutil.copytree(weights, root / "mine")
    lay_tables(series, folder, "_gc30M.pkl")
    return folder


def _linked(root, weights, series):
    """A link to a model of the hub's repository."""
    (root / "links").mkdir()
    link = root / "links" / "favourite"
    link.symlink_to(_hub(root / "repository", weights, series))
    return link


@pytest.mark.parametrize("lay", [_hub, _helical, _helical_json, _beside, _linked])
@pytest.mark.parametrize(("name", "series"), [(V1_NAME, "v1"), (V2_NAME, "v2")])
def test_every_layout_gives_the_same_model(request, tiny_published, tmp_path, lay, name, series):
    expected = request.getfixturevalue(series)
    folder = Path(lay(tmp_path, tiny_published[name], series))
    checkpoint = Checkpoint.open(folder)

    assert checkpoint.vocabulary.sha256 == expected.sha256
    assert checkpoint.vocabulary.input_length == expected.input_length
    assert dict(checkpoint.vocabulary.symbols) == dict(expected.symbols)
    assert checkpoint.vocabulary.aliases == expected.aliases
    assert checkpoint.vocabulary.name in {series, "gc30M", "gc104M"}
    weights = load_file(tiny_published[name] / "model.safetensors")
    token = checkpoint.encoder().embeddings.token.weight
    assert torch.equal(token, weights["bert.embeddings.word_embeddings.weight"])


def test_one_that_is_sent_to_another_process_is_found_there(small, tmp_path, monkeypatch):
    """The processes of a cluster have other working directories."""
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(Checkpoint.open("small"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    received = pickle.loads(sent)  # our own
    assert received.weights_sha256 == Checkpoint.open(small).weights_sha256
    received.encoder()


def test_our_layout_and_bin_weights(small, vocabulary):
    own = Checkpoint.open(small)
    assert own.vocabulary.sha256 == vocabulary.sha256
    assert own.weights_file.name == "model.safetensors"

    before = own.encoder().state_dict()
    torch.save(dict(read_tensors(small / "model.safetensors")), small / "pytorch_model.bin")
    (small / "model.safetensors").unlink()
    again = Checkpoint.open(small)
    assert again.weights_file.name == "pytorch_model.bin"
    for name, tensor in again.encoder().state_dict().items():
        assert torch.equal(tensor, before[name]), name


# Names.


@pytest.fixture
def caches(tmp_path, monkeypatch) -> Path:
    """A home folder of its own, empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


# Folder and series of each of Helical's names: benchmarks/peers/README.md.
HELICAL_FOLDERS = [
    ("gf-6L-30M-i2048", "v1/gf-6L-10M-i2048"),
    ("gf-12L-30M-i2048", "v1/gf-12L-40M-i2048"),
    ("gf-12L-40M-i2048-CZI-CellxGene", "v1/gf-12L-40M-i2048-CZI-CellxGene"),
    ("gf-12L-95M-i4096", "v2/gf-12L-38M-i4096"),
    ("gf-12L-95M-i4096-CLcancer", "v2/gf-12L-38M-i4096-CLcancer"),
    ("gf-20L-95M-i4096", "v2/gf-20L-151M-i4096"),
    ("gf-12L-104M-i4096", "v3/gf-12L-104M-i4096"),
    ("gf-12L-104M-i4096-CLcancer", "v3/gf-12L-104M-i4096-CLcancer"),
    ("gf-18L-316M-i4096", "v3/gf-18L-316M-i4096"),
]


@pytest.mark.parametrize(("name", "folder"), HELICAL_FOLDERS)
def test_helicals_cache_is_found_under_every_name(caches, tiny_published, name, folder):
    series = "v1" if folder.startswith("v1") else "v2"
    place = caches / ".cache" / "helical" / "models" / "geneformer" / folder
    place.parent.mkdir(parents=True)
    for table, file in published_tables(series).items():
        if table != "gene_name_id_dict":  # Helical has none
            shutil.copyfile(file, place.parent / f"{table}.pkl")
    shutil.copytree(tiny_published[V1_NAME if series == "v1" else V2_NAME], place)

    checkpoint = Checkpoint.open(find_model(name).names[-1])
    assert (checkpoint.folder, checkpoint.name) == (place, name)
    assert {find_folder(find_model(spelled)) for spelled in find_model(name).names} == {place}


def test_the_users_own_folder_is_looked_into_as_named(caches, tiny_published, monkeypatch):
    for root in (caches / ".cache/rankformer/models", caches / "mine"):
        lay_tables("v2", Path(shutil.copytree(tiny_published[V2_NAME], root / V2_NAME)), ".pkl")

    assert Checkpoint.open(V2_NAME).folder == caches / ".cache/rankformer/models" / V2_NAME
    monkeypatch.setenv("RANKFORMER_MODELS", str(caches / "mine"))
    assert Checkpoint.open("gf-12L-38M-i4096").folder == caches / "mine" / V2_NAME


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_a_model_that_is_not_here_comes_with_its_remedy(caches, model):
    assert find_folder(model) is None
    with pytest.raises(CheckpointError, match="is not on this machine") as caught:
        Checkpoint.open(model.names[-1])
    fetchable = f"rankformer models fetch {model.name}" in caught.value.fix
    assert fetchable == (model.name != "gf-12L-40M-i2048-CZI-CellxGene")
    assert str(caches / ".cache/rankformer/models" / model.name) in caught.value.fix


def test_a_folder_without_weights_is_not_taken_for_the_model(caches, tiny_published):
    """An interrupted copy by hand."""
    place = caches / ".cache/rankformer/models" / V2_NAME
    shutil.copytree(tiny_published[V2_NAME], place)
    (place / "model.safetensors").unlink()

    with pytest.raises(CheckpointError, match="is not on this machine"):
        Checkpoint.open(V2_NAME)


def test_finding_a_model_loads_no_torch(small):
    code = (
        "import sys; from rankformer.checkpoints.checkpoint import Checkpoint; "
        f"Checkpoint.open({str(small)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Wrong pairings.


@pytest.mark.parametrize(
    ("name", "series", "found", "wanted"),
    [(V1_NAME, "v2", "20,275", "25,426"), (V2_NAME, "v1", "25,426", "20,275")],
)
@pytest.mark.parametrize("suffix", ["_gc30M.pkl", ".json"])
def test_the_other_generations_dictionaries_are_refused(
    tiny_published, tmp_path, name, series, found, wanted, suffix
):
    folder = Path(shutil.copytree(tiny_published[name], tmp_path / "model"))
    lay_tables(series, folder, suffix)

    with pytest.raises(VocabularyError, match=wanted) as caught:
        Checkpoint.open(folder)
    assert found in str(caught.value)
    assert "release" in caught.value.fix


def test_the_other_generations_vocabulary_file_is_refused(tiny_published, tmp_path, v1):
    folder = Path(shutil.copytree(tiny_published[V2_NAME], tmp_path / "model"))
    v1.save(folder)

    with pytest.raises(VocabularyError, match="25,426 tokens, the model 20,275"):
        Checkpoint.open(folder)


def _two_tokens_swapped(tables):
    tokens = tables["token_dictionary"]
    first, second = list(tokens)[10:12]
    tokens[first], tokens[second] = tokens[second], tokens[first]


def _a_median_off_by_one_bit(tables):
    medians = tables["gene_median_dictionary"]
    gene = next(name for name in tables["token_dictionary"] if name.startswith("ENSG"))
    medians[gene] = float(np.nextafter(medians[gene], 0))


def _another_gene(tables):
    gene, token = tables["token_dictionary"].popitem()
    tables["token_dictionary"]["ENSG99999999999"] = token
    tables["gene_median_dictionary"]["ENSG99999999999"] = tables["gene_median_dictionary"][gene]


CHANGES = [_two_tokens_swapped, _a_median_off_by_one_bit, _another_gene]


@pytest.mark.parametrize("change", CHANGES)
def test_a_published_name_is_bound_to_the_published_tables(tiny_published, tmp_path, v2, change):
    folder = Path(shutil.copytree(tiny_published[V2_NAME], tmp_path / V2_NAME))
    tables = tables_of(v2)
    change(tables)
    write_tables(folder, tables)

    with pytest.raises(VocabularyError, match="was made with 4f263d49"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("change", CHANGES)
def test_our_checkpoint_is_bound_to_its_own_tables(small, vocabulary, change):
    tables = tables_of(vocabulary)
    change(tables)
    Vocabulary.from_tables(
        tables["token_dictionary"], tables["gene_median_dictionary"], input_length=64
    ).save(small)

    with pytest.raises(VocabularyError, match=f"was made with {vocabulary.sha256[:8]}"):
        Checkpoint.open(small)


def test_own_medians_are_allowed_where_nothing_is_bound(tiny_published, tmp_path, v2):
    """A lab's own pretraining in the published layout: size and specials are all there is."""
    folder = Path(shutil.copytree(tiny_published[V2_NAME], tmp_path / "our-own"))
    tables = tables_of(v2)
    _a_median_off_by_one_bit(tables)
    write_tables(folder, tables)

    assert Checkpoint.open(folder).name == "our-own"


def test_another_pad_token_is_refused(small):
    edit_config(small, pad_token_id=1)

    with pytest.raises(VocabularyError, match="<pad> = 0, the model 1"):
        Checkpoint.open(small)


def test_a_model_with_too_few_positions_is_refused(small):
    edit_config(small, max_position_embeddings=32)

    with pytest.raises(VocabularyError, match="cells of up to 64 tokens, the model 32"):
        Checkpoint.open(small)


def test_a_model_without_any_vocabulary_says_where_to_put_it(tiny_published, tmp_path):
    folder = shutil.copytree(tiny_published[V2_NAME], tmp_path / "model")

    with pytest.raises(VocabularyError, match="No vocabulary lies in or near"):
        Checkpoint.open(folder)


@QUICK
@given(
    table=st.sampled_from(TABLES[:2]),
    place=st.floats(0, 1, exclude_max=True),
    change=st.integers(1, 255),
)
def test_a_changed_byte_of_a_bound_dictionary_never_changes_a_token(
    bound_pickles, tmp_path, table, place, change
):
    folder, vocabulary = bound_pickles
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    file = copy / f"{table}_gc30M.pkl"
    file.write_bytes(flip_byte(file.read_bytes(), place, change))

    try:
        with little_memory():
            found = Checkpoint.open(copy).vocabulary
    except RankformerError:
        return
    assert found.token_of == vocabulary.token_of
    assert found.medians.tolist() == vocabulary.medians.tolist()


@pytest.fixture(scope="module")
def bound_pickles(tmp_path_factory):
    vocabulary = small_vocabulary(special=False, n_genes=20)
    folder = save_small_checkpoint(
        tmp_path_factory.mktemp("bound") / "model", vocabulary, max_positions=2048, **TINY
    )
    (folder / "vocabulary.parquet").unlink()
    return write_tables(folder, tables_of(vocabulary)), vocabulary


# Folders that are no checkpoint.


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "holds no config.json"),
        (b"", "config.json could not be read"),
        (b"{", "config.json could not be read"),
        (b"[]", "config.json could not be read"),
        (b"null", "config.json could not be read"),
        (b"\xff\xfe", "config.json could not be read"),
        (b"{}", "config.json could not be read: KeyError"),
        (b"[" * 100_000, "config.json could not be read"),
        (b"version https://git-lfs.github.com/spec/v1\n", "config.json could not be read"),
    ],
    ids=["missing", "empty", "cut", "list", "null", "binary", "no-keys", "deep", "git-lfs"],
)
def test_a_damaged_configuration_is_named(small, content, sentence):
    (small / "config.json").unlink()
    if content is not None:
        (small / "config.json").write_bytes(content)

    with pytest.raises(CheckpointError, match=sentence):
        Checkpoint.open(small)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model_type": "gpt2"}, "model_type = 'gpt2'"),
        ({"model_type": "roberta"}, "model_type = 'roberta'"),
        ({"hidden_act": "silu"}, "hidden_act = 'silu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"is_decoder": True}, "is_decoder = True"),
        ({"num_attention_heads": 5}, "hidden_size = 32, num_attention_heads = 5"),
        ({"num_attention_heads": 0}, "num_attention_heads = 0"),
        ({"num_hidden_layers": -1}, "num_hidden_layers = -1"),
        ({"num_hidden_layers": 2.5}, "2.5 where a whole number is to be"),
        ({"num_attention_heads": True}, "True where a whole number is to be"),
        ({"layer_norm_eps": -1}, "layer_norm_eps = -1.*eps above 0"),
        ({"layer_norm_eps": 0}, "layer_norm_eps = 0"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps = nan"),
        ({"hidden_dropout_prob": 1}, "hidden_dropout_prob = 1.*to below 1"),
        ({"attention_probs_dropout_prob": -0.1}, "attention_probs_dropout_prob = -0.1"),
        ({"initializer_range": 0}, "initializer_range = 0"),
        ({"pad_token_id": -1}, "pad_token_id = -1.*from 0 to"),
        ({"hidden_size": 10**12}, "hidden_size = 1,000,000,000,000"),
        ({"vocab_size": "many"}, "could not be read"),
        ({"vocab_size": float("inf")}, "could not be read"),
        ({"vocab_size": [3]}, "could not be read"),
        ({"rankformer": "yes"}, "names no vocabulary"),
        ({"rankformer": {"vocabulary_sha256": 7}}, "names no vocabulary"),
    ],
    ids=repr,
)
def test_a_configuration_of_another_model_is_refused(small, changes, sentence):
    edit_config(small, **changes)

    with pytest.raises(CheckpointError, match=sentence):
        Checkpoint.open(small)


def test_missing_weights_and_the_whole_repository_are_told(small, tmp_path):
    (small / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no weights"):
        Checkpoint.open(small)
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        Checkpoint.open(tmp_path)


@pytest.mark.parametrize("model", ["gf-6L", "./nowhere", "/no/such/folder", "bert-base-uncased"])
def test_neither_folder_nor_name(model):
    with pytest.raises(CheckpointError, match="neither a folder nor a known model"):
        Checkpoint.open(model)


def test_weights_of_another_shape_are_told_when_loaded(small):
    tensors = load_file(small / "model.safetensors")
    tensors["bert.embeddings.word_embeddings.weight"] = torch.zeros(7, 32)
    save_file(tensors, small / "model.safetensors")

    with pytest.raises(CheckpointError, match=r"word_embeddings\.weight .*shape \(7, 32\)"):
        Checkpoint.open(small).encoder()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["encoder.layer.1.output.dense.bias", "embeddings.LayerNorm.weight"]
)
def test_weights_that_are_not_finite_are_told_when_loaded(small, name, value):
    tensors = load_file(small / "model.safetensors")
    tensors[f"bert.{name}"][3] = value
    save_file(tensors, small / "model.safetensors")

    with pytest.raises(CheckpointError, match=f"{name} holds NaN or infinite"):
        Checkpoint.open(small).encoder()


def test_weights_are_those_that_were_written(small):
    """One flipped bit of a mantissa, which nothing else would show."""
    path = small / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-4] ^= 1
    path.write_bytes(content)
    for load in (Checkpoint.encoder, Checkpoint.masked_language_model):
        with pytest.raises(CheckpointError, match="The weights as they were written, of the hash"):
            load(Checkpoint.open(small))
    (small / "model.safetensors.sha256").unlink()
    Checkpoint.open(small).encoder()


def test_a_cut_download_is_told_when_loaded(small):
    path = small / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])

    with pytest.raises(CheckpointError, match="cut short"):
        Checkpoint.open(small).encoder()


# Saving.


def test_a_saved_folder_opens_in_transformers_and_gives_the_same_logits(small):
    theirs, report = BertForMaskedLM.from_pretrained(small, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]

    checkpoint = Checkpoint.open(small)
    ours = checkpoint.masked_language_model()
    rng = np.random.default_rng(0)
    for length in (1, 2, 50, 64):
        tokens = rng.choice(checkpoint.vocabulary.tokens, length).astype(np.int32)
        batch = PackedBatch.pack((tokens, np.array([0, length])), 0, 1)
        with torch.no_grad():
            expected = theirs.eval()(torch.from_numpy(tokens).long()[None]).logits[0]
            torch.testing.assert_close(ours(batch), expected, atol=1e-5, rtol=0)
            assert expected.std() > 0.01


def test_a_model_of_transformers_survives_us_and_back(small, tmp_path, vocabulary):
    reference = BertForMaskedLM.from_pretrained(small)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter))
    reference.save_pretrained(tmp_path / "theirs")
    vocabulary.save(tmp_path / "theirs")

    model = Checkpoint.open(tmp_path / "theirs").masked_language_model()
    again = BertForMaskedLM.from_pretrained(save_checkpoint(tmp_path / "ours", model, vocabulary))
    for name, tensor in reference.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert again.config.num_hidden_layers == reference.config.num_hidden_layers
    assert again.config.hidden_act == "relu"


def test_weights_are_bit_equal_after_a_round_trip(small, tmp_path, vocabulary):
    model = Checkpoint.open(small).masked_language_model()
    save_checkpoint(tmp_path / "again", model, vocabulary)

    before, after = (load_file(each / "model.safetensors") for each in (small, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (
        Checkpoint.open(tmp_path / "again").weights_sha256 == Checkpoint.open(small).weights_sha256
    )


def test_saving_half_precision_keeps_it(small, tmp_path, vocabulary):
    model = Checkpoint.open(small).masked_language_model().bfloat16()
    folder = save_checkpoint(tmp_path / "half", model, vocabulary)

    assert {t.dtype for t in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert Checkpoint.open(folder).encoder().embeddings.token.weight.dtype == torch.float32


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_never_overwritten(small, tmp_path, vocabulary, kind):
    model = Checkpoint.open(small).masked_language_model()
    target = tmp_path / "target"
    if kind == "folder":
        target.mkdir()
        (target / "mine.txt").write_text("precious")
    else:
        target.write_text("precious")

    with pytest.raises(OutputError, match="exists already"):
        save_checkpoint(target, model, vocabulary)
    assert (target / "mine.txt" if kind == "folder" else target).read_text() == "precious"


def test_a_vocabulary_of_another_model_is_not_saved_with_it(small, tmp_path):
    model = Checkpoint.open(small).masked_language_model()

    with pytest.raises(VocabularyError, match="the model"):
        save_checkpoint(tmp_path / "target", model, small_vocabulary(n_genes=7))
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "vocabulary.parquet"])
def test_a_full_disk_leaves_nothing(tmp_path, file):
    """The largest file that may be written stands for the space that is left."""
    vocabulary = small_vocabulary(n_genes=3000)
    spec = EncoderSpec(vocab_size=3004, n_layers=1, d_model=2, n_heads=1, d_ff=2, max_positions=64)
    model = MaskedLanguageModel(Encoder(spec)).bfloat16()
    whole = save_checkpoint(tmp_path / "whole", model, vocabulary)
    sizes = {each.name: each.stat().st_size for each in whole.iterdir()}
    limit = sizes[file] - 1
    assert sizes["config.json"] < sizes["model.safetensors"] < sizes["vocabulary.parquet"]

    target = tmp_path / "new" / "target"
    with (
        pytest.raises(OutputError, match="could not be written") as caught,
        largest_file(limit),
    ):
        save_checkpoint(target, model, vocabulary)
    assert "Free space" in caught.value.fix
    assert not list(target.parent.iterdir())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_to_is_told(small, tmp_path, vocabulary):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="could not be written"):
        save_checkpoint(
            tmp_path / "locked" / "x", Checkpoint.open(small).masked_language_model(), vocabulary
        )


def test_a_parent_that_is_a_file_is_told(small, tmp_path, vocabulary):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        save_checkpoint(
            tmp_path / "file" / "x", Checkpoint.open(small).masked_language_model(), vocabulary
        )


def test_provenance_names_weights_and_vocabulary(small, vocabulary):
    import hashlib

    provenance = Checkpoint.open(small).provenance()
    digest = hashlib.sha256((small / "model.safetensors").read_bytes()).hexdigest()
    assert provenance["weights_sha256"] == digest
    assert provenance["vocabulary_sha256"] == vocabulary.sha256
    assert provenance["model"] == "small"
