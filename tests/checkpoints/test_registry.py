"""The table of published models, against the facts restated here and the published configs."""

import pytest
import torch
from tests.conftest import published_config
from transformers import BertConfig, BertForMaskedLM

import rankformer
from rankformer.checkpoints.known_models import list_models
from rankformer.checkpoints.registry import MODELS, find_model, require_model
from rankformer.errors import CheckpointError
from rankformer.model.spec import EncoderSpec

# Every name of one model: the notebook's, Helical's newer one, the hub's folders.
SAME_MODEL = [
    ("gf-6L-30M-i2048", "gf-6L-10M-i2048", "Geneformer-V1-10M"),
    ("gf-12L-30M-i2048", "gf-12L-40M-i2048", "geneformer-12L-30M"),
    ("gf-12L-95M-i4096", "gf-12L-38M-i4096"),
    ("gf-12L-95M-i4096-CLcancer", "gf-12L-38M-i4096-CLcancer", "gf-12L-95M-i4096_CLcancer"),
    ("gf-20L-95M-i4096", "gf-20L-151M-i4096"),
    ("gf-12L-104M-i4096", "Geneformer-V2-104M"),
    ("gf-12L-104M-i4096-CLcancer", "Geneformer-V2-104M_CLcancer"),
    ("gf-18L-316M-i4096", "Geneformer-V2-316M"),
    ("gf-12L-40M-i2048-CZI-CellxGene",),
    ("gf-12L-95M-i4096_MTLCellClassifier_CELLxGENE_240522",),
]
# As lists of Helical's and of the hub's repository have them, restated here.
HELICAL = {
    "gf-6L-10M-i2048", "gf-12L-40M-i2048", "gf-12L-40M-i2048-CZI-CellxGene", "gf-12L-38M-i4096",
    "gf-12L-38M-i4096-CLcancer", "gf-20L-151M-i4096", "gf-12L-104M-i4096",
    "gf-12L-104M-i4096-CLcancer", "gf-18L-316M-i4096",
}  # fmt: skip
HUB = {"Geneformer-V1-10M", "Geneformer-V2-104M", "Geneformer-V2-104M_CLcancer",
       "Geneformer-V2-316M"}  # fmt: skip
# The published configuration of each model that has one, and the facts' count of parameters.
CONFIGS = {
    "gf-6L-30M-i2048": ("Geneformer-V1-10M", 10_288_722),
    "gf-12L-30M-i2048": ("gf-12L-30M-i2048", 39_591_250),
    "gf-12L-95M-i4096": ("gf-12L-95M-i4096", 37_997_363),
    "gf-12L-95M-i4096-CLcancer": ("gf-12L-95M-i4096_CLcancer", 37_997_363),
    "gf-20L-95M-i4096": ("gf-20L-95M-i4096", 151_313_459),
    "gf-12L-104M-i4096": ("Geneformer-V2-104M", 104_386_867),
    "gf-12L-104M-i4096-CLcancer": ("Geneformer-V2-104M_CLcancer", 104_386_867),
    "gf-18L-316M-i4096": ("Geneformer-V2-316M", 316_354_867),
}


@pytest.mark.parametrize("names", SAME_MODEL, ids=lambda names: names[0])
def test_every_name_of_a_model_resolves_to_it(names):
    found = {find_model(spelled) for name in names for spelled in (name, name.upper())}

    assert [each.name for each in found] == [names[0]]
    assert set(names) <= set(require_model(names[-1]).names)


def test_no_name_is_two_models():
    names = [name.lower() for model in MODELS for name in model.names]

    assert len(names) == len(set(names))
    assert [model.name for model in MODELS] == [names[0] for names in SAME_MODEL]


def test_it_is_told_which_names_are_helicals_and_which_the_hubs():
    newest = {model.helical_names[0] for model in MODELS if model.helical_names}
    assert newest == HELICAL
    assert {model.package_names[0] for model in MODELS if model.package_names} >= HUB
    mixed = find_model("gf-12L-38M-i4096-CLcancer")
    assert mixed.package_names == ("gf-12L-95M-i4096_CLcancer",)


def test_every_model_says_what_it_was_trained_on_and_under_which_licence():
    for each in list_models():
        assert each.trained_on
        assert each.licence
        assert each.dictionary
    told = {each.name: each for each in list_models()}
    assert "104 million" in told["gf-18L-316M-i4096"].trained_on
    assert told["gf-12L-104M-i4096-CLcancer"].left_out is None
    assert told["gf-12L-95M-i4096"].dictionary == "V2, 20,271 genes"
    assert told["gf-6L-30M-i2048"].dictionary == "V1, 25,424 genes"
    mini = rankformer.Checkpoint.open("rankformer-mini").vocabulary
    assert told["rankformer-mini"].dictionary == f"of its own, {len(mini.ensembl_ids):,} genes"


@pytest.mark.parametrize("name", CONFIGS)
def test_shapes_and_parameters_are_those_of_the_published_configuration(name):
    config_name, n_parameters = CONFIGS[name]
    model, config = find_model(name), BertConfig(**published_config(config_name))
    with torch.device("meta"):
        reference = BertForMaskedLM(config)

    assert model.n_parameters == reference.num_parameters() == n_parameters
    assert (model.n_layers, model.d_model) == (config.num_hidden_layers, config.hidden_size)
    assert (model.n_heads, model.d_ff) == (config.num_attention_heads, config.intermediate_size)
    assert model.release.size == config.vocab_size
    assert model.release.input_length == config.max_position_embeddings


@pytest.mark.parametrize("config_name", sorted({config for config, _ in CONFIGS.values()}))
def test_published_configurations_are_read(tmp_path, config_name):
    import json

    config = published_config(config_name)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    spec = EncoderSpec.read(path)

    assert (spec.vocab_size, spec.n_layers) == (config["vocab_size"], config["num_hidden_layers"])
    assert (spec.d_model, spec.n_heads) == (config["hidden_size"], config["num_attention_heads"])
    assert (spec.d_ff, spec.max_positions) == (
        config["intermediate_size"],
        config["max_position_embeddings"],
    )
    assert (spec.activation, spec.layer_norm_eps, spec.pad_token) == ("relu", 1e-12, 0)
    assert (spec.dropout, spec.attention_dropout) == (
        config["hidden_dropout_prob"],
        config["attention_probs_dropout_prob"],
    )
    # What is written describes the same model to transformers.
    again = BertConfig(**spec.to_config()).to_dict()
    reference = BertConfig(**config).to_dict()
    for key in config.keys() - {"gradient_checkpointing", "transformers_version", "torch_dtype"}:
        if key in reference and key != "_name_or_path":
            assert again[key] == reference[key], key


@pytest.mark.parametrize("name", ["gf-6L", "", "bert-base-uncased", "gf-6L-30M-i2048 "])
def test_an_unknown_name_lists_the_known_ones(name):
    assert find_model(name) is None
    with pytest.raises(CheckpointError, match="gf-20L-95M-i4096") as caught:
        require_model(name)
    assert "rankformer models" in caught.value.fix
