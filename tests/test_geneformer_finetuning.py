"""The notebook's way of fine-tuning."""

import json
import logging

import anndata as ad
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from rankformer import GeneformerConfig, GeneformerFineTuningModel
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.errors import CheckpointError, SettingsError
from rankformer.finetuning.batches import LabelledBatches
from tests.conftest import save_small_checkpoint, small_vocabulary


@pytest.fixture(autouse=True)
def _one_thread():
    """More of them only wait for one another in a model so small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    shape = {"n_layers": 2, "dropout": 0.0, "attention_dropout": 0.0}
    folder = tmp_path_factory.mktemp("models") / "small"
    save_small_checkpoint(folder, small_vocabulary(), **shape)
    return GeneformerConfig(model_name=folder, batch_size=16, dtype="float32")


@pytest.fixture(scope="module")
def dataset(config):
    """200 cells of two kinds with a dose, the last 40 of which stay unseen by the tests."""
    rng = np.random.default_rng(0)
    kind, dose = rng.integers(0, 2, 200), rng.uniform(0, 1, 200)
    mean = np.full((200, 200), 0.05)
    mean[:, :60] = np.where(kind == 0, 0.6, 0.01)[:, None]
    mean[:, 60:120] = np.where(kind == 1, 0.6, 0.01)[:, None]
    mean[:, 120:160] = dose[:, None]
    adata = ad.AnnData(csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.var_names = list(small_vocabulary().symbols)
    cells = GeneformerFineTuningModel(config, output_size=2).process_data(adata)
    return cells.add_column("cell_types", kind).add_column("dose", dose)


def parts(dataset):
    return dataset.select(range(160)), dataset.select(range(160, 200))


def test_a_notebook_fine_tunes(config, dataset, caplog):
    train, validation = parts(dataset)
    model = GeneformerFineTuningModel(
        geneformer_config=config, fine_tuning_head="classification", output_size=2
    )
    before = model.get_embeddings(validation)
    with caplog.at_level(logging.INFO, "rankformer"):
        model.train(
            train_dataset=train, validation_dataset=validation, label="cell_types", epochs=6,
            freeze_layers=0, optimizer=torch.optim.AdamW, optimizer_params={"lr": 3e-3},
            loss_function=torch.nn.CrossEntropyLoss(),
            lr_scheduler_params={"name": "linear", "num_warmup_steps": 2},
        )  # fmt: skip
    outputs = model.get_outputs(validation)
    assert outputs.shape == (40, 2)
    assert (outputs.argmax(axis=1) == validation["cell_types"]).mean() > 0.9
    # Embeddings are those of the encoder that was trained.
    assert np.abs(model.get_embeddings(validation) - before).max() > 0.01
    assert "on held-out cells: loss" in caplog.text


def test_numbers(config, dataset):
    train, validation = parts(dataset)
    model = GeneformerFineTuningModel(config, "regression", 1)
    model.train(train, label="dose", epochs=12, freeze_layers=0, optimizer_params={"lr": 3e-3})
    found = model.get_outputs(validation)
    assert found.shape == (40, 1)
    assert np.corrcoef(found[:, 0], validation["dose"])[0, 1] > 0.5


def test_a_head_of_ones_own(config, dataset):
    train, validation = parts(dataset)
    head = torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
    model = GeneformerFineTuningModel(config, head)
    model.train(train, epochs=6, freeze_layers=0, optimizer_params={"lr": 3e-3})
    outputs = model.get_outputs(validation)
    assert (outputs.argmax(axis=1) == validation["cell_types"]).mean() > 0.9


def test_training_goes_on_and_frozen_layers_stay(config, dataset):
    model = GeneformerFineTuningModel(config, output_size=2)
    model.train(dataset, epochs=1)
    first = {name: each.clone() for name, each in model.embedder.encoder.state_dict().items()}
    model.train(dataset, epochs=1, freeze_layers=0)
    second = model.embedder.encoder.state_dict()
    start = model.checkpoint.encoder().state_dict()
    # Two layers are frozen unless said otherwise, and this model has no more.
    assert all(torch.equal(first[name], tensor) for name, tensor in start.items())
    assert any(not torch.equal(second[name], tensor) for name, tensor in start.items())


def test_it_trains_in_train_mode_and_shuffles(config, dataset, monkeypatch):
    """What Helical's does not do."""
    model = GeneformerFineTuningModel(config, output_size=2)
    seen = []
    hook = model.fine_tuning_head.register_forward_pre_hook(
        lambda module, _: seen.append(module.training) if torch.is_grad_enabled() else None
    )
    orders = []
    make = LabelledBatches.__call__
    monkeypatch.setattr(
        LabelledBatches,
        "__call__",
        lambda self, draws: (orders.extend(draws), make(self, draws))[1],
    )
    model.train(dataset, epochs=1)
    hook.remove()
    assert seen
    assert all(seen)
    rows = np.array(orders) % 200
    assert sorted(rows) == list(range(200))
    assert (rows != np.arange(200)).mean() > 0.9


def test_saved_and_opened_it_says_the_same_bits(config, dataset, tmp_path):
    _, validation = parts(dataset)
    model = GeneformerFineTuningModel(config, output_size=2)
    model.train(dataset, epochs=1, freeze_layers=0)
    model.save_model(tmp_path / "tuned")
    opened = FineTunedModel.open(tmp_path / "tuned")
    again = GeneformerFineTuningModel(
        GeneformerConfig(model_name=tmp_path / "tuned", batch_size=16, dtype="float32"),
        opened.modules[0],
    )
    np.testing.assert_array_equal(again.get_outputs(validation), model.get_outputs(validation))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"fine_tuning_head": "ranking"}, "fine_tuning_head is 'ranking'"),
        ({"output_size": None}, "output_size is None for a head of classification"),
        ({"fine_tuning_head": "regression", "output_size": 3}, "output_size is 3"),
    ],
)
def test_heads_that_there_are_not(config, arguments, sentence):
    with pytest.raises(SettingsError, match=sentence):
        GeneformerFineTuningModel(config, **arguments)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("celltypes", "dataset has no column 'celltypes'"),
        ("three", r"'three' holds 2, and the head has 2 outputs"),
        ("letters", r"'letters' has 4 classes: a, b, c, d; the head has 2 outputs"),
        ("none", "No cell of train_dataset has a label"),
    ],
)
def test_labels_that_cannot_be_trained_on(config, dataset, label, sentence):
    odd = dataset.add_column("three", [0, 1, 2, 1] * 50).add_column("letters", list("abcd") * 50)
    odd = odd.add_column("none", [float("nan")] * 200)
    with pytest.raises(SettingsError, match=sentence):
        GeneformerFineTuningModel(config, output_size=2).train(odd, label=label)


def test_embedding_in_half_precision_leaves_what_is_trained_alone(config, dataset):
    half = GeneformerConfig(model_name=config.model_name, batch_size=16, dtype="bfloat16")
    model = GeneformerFineTuningModel(half, output_size=2)
    model.train(dataset, epochs=1, freeze_layers=0)
    model.get_outputs(dataset)
    assert model._trained.embeddings.token.weight.dtype == torch.float32


def test_another_layer_than_the_head_is_trained_on(config):
    other = GeneformerConfig(model_name=config.model_name, emb_layer=1)
    with pytest.raises(SettingsError, match="emb_layer is 1"):
        GeneformerFineTuningModel(other, output_size=2)


def test_in_mode_gene_a_head_of_cells_is_trained_as_in_mode_cell(config, dataset, tmp_path):
    train, validation = parts(dataset)
    genes = GeneformerConfig(
        model_name=config.model_name, batch_size=16, dtype="float32", emb_mode="gene"
    )
    of_genes, of_cells = (
        GeneformerFineTuningModel(each, output_size=2) for each in (genes, config)
    )
    for each in (of_genes, of_cells):
        each.train(train, epochs=1, freeze_layers=0, optimizer_params={"lr": 3e-3})
    outputs = of_genes.get_outputs(validation)
    np.testing.assert_array_equal(outputs, of_cells.get_outputs(validation))
    # Embeddings are of genes: a cell's are as many as it has tokens, without <cls> and <eos>.
    vectors = of_genes.get_embeddings(validation)
    assert [len(each) for each in vectors] == [each - 2 for each in validation["length"]]
    of_genes.save_model(tmp_path / "tuned")
    of_cells.load_model(tmp_path / "tuned")
    np.testing.assert_array_equal(of_cells.get_outputs(validation), outputs)


def test_one_class_is_trained_and_told_to_teach_nothing(config, dataset, caplog):
    """As in a notebook that is tried out with ten cells of one kind."""
    few = dataset.select(range(10)).remove_columns("cell_types")
    few = few.add_column("cell_types", ["T cell"] * 10)
    model = GeneformerFineTuningModel(config, "classification", output_size=1)
    assert "A head of one class has nothing to learn" in caplog.text
    model.train(few, few)
    assert model.get_outputs(few).shape == (10, 1)


def test_the_head_can_be_looked_at(config, dataset, tmp_path):
    model = GeneformerFineTuningModel(config, output_size=2)
    before = model.fine_tuning_head.weight.detach().clone()
    model.train(dataset, optimizer_params={"lr": 3e-3})
    model.save_model(tmp_path / "tuned")
    after = model.fine_tuning_head.weight
    assert not torch.equal(after, before)
    loaded = GeneformerFineTuningModel(config, output_size=2)
    loaded.load_model(tmp_path / "tuned")
    assert torch.equal(loaded.fine_tuning_head.weight, after)


def test_a_validation_set_of_one_kind(config, dataset, caplog):
    """A donor of whom there are only T cells is a fair one to validate on."""
    rows = np.flatnonzero(np.array(dataset["cell_types"]) == 1)[:20]
    with caplog.at_level(logging.INFO, "rankformer"):
        GeneformerFineTuningModel(config, output_size=2).train(dataset, dataset.select(rows))
    assert "on held-out cells: loss" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"optimizer_params": {"learning_rate": 1e-3}}, "optimizer_params has 'learning_rate'"),
        ({"lr_scheduler_params": {"warmup": 3}}, "lr_scheduler_params has 'warmup'"),
        (
            {"lr_scheduler_params": {"name": "polynom"}},
            r"lr_scheduler_params has the name 'polynom'\. .*linear, cosine, constant",
        ),
        (
            {"lr_scheduler_params": {"name": "linear", "num_training_steps": -5}},
            "num_training_steps -5",
        ),
        (
            {"lr_scheduler_params": {"name": "linear", "num_warmup_steps": "5"}},
            "num_warmup_steps '5'",
        ),
    ],
    ids=str,
)
def test_parameters_that_there_are_not(config, dataset, arguments, sentence):
    with pytest.raises(SettingsError, match=sentence):
        GeneformerFineTuningModel(config, output_size=2).train(dataset, **arguments)


class _Wrapped(torch.optim.AdamW):
    """An optimizer whose arguments cannot be known."""

    def __init__(self, params, **more):
        super().__init__(params, **more)


def test_an_optimizer_that_takes_anything(config, dataset):
    model = GeneformerFineTuningModel(config, output_size=2)
    model.train(dataset, optimizer=_Wrapped, optimizer_params={"betas": (0.8, 0.9)})
    assert np.isfinite(model.get_outputs(dataset)).all()


@pytest.fixture(scope="module")
def three_kinds(config):
    """150 cells of three kinds, named as text, each with genes of its own."""
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 150)
    mean = np.full((150, 200), 0.05)
    for each in range(3):
        mean[kind == each, each * 60 : each * 60 + 60] = 0.8
    adata = ad.AnnData(csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata.var_names = list(small_vocabulary().symbols)
    names = np.array(["T cell", "B cell", "NK"])[kind]
    model = GeneformerFineTuningModel(config, output_size=3)
    return model.process_data(adata).add_column("cell_type", names.tolist())


@pytest.fixture(scope="module")
def trained_on_names(config, three_kinds):
    model = GeneformerFineTuningModel(config, output_size=3)
    model.train(
        three_kinds.select(range(110)), three_kinds.select(range(110, 150)), label="cell_type",
        epochs=8, freeze_layers=0, optimizer_params={"lr": 3e-3},
        lr_scheduler_params={"name": "linear", "num_warmup_steps": 0, "num_training_steps": 100},
    )  # fmt: skip
    return model


def test_labels_as_text_are_classes_in_the_order_of_the_alphabet(trained_on_names, three_kinds):
    held = three_kinds.select(range(110, 150))
    found = trained_on_names.get_outputs(held).argmax(axis=1)
    names = np.array(["B cell", "NK", "T cell"])
    assert (names[found] == np.array(held["cell_type"])).mean() > 0.9


def test_what_was_saved_is_loaded_with_the_same_outputs(
    trained_on_names, three_kinds, config, tmp_path
):
    trained_on_names.save_model(tmp_path / "tuned")
    loaded = GeneformerFineTuningModel(config, output_size=3)
    loaded.load_model(tmp_path / "tuned")
    expected = trained_on_names.get_outputs(three_kinds)
    np.testing.assert_array_equal(loaded.get_outputs(three_kinds), expected)
    embeddings = trained_on_names.get_embeddings(three_kinds)
    np.testing.assert_array_equal(loaded.get_embeddings(three_kinds), embeddings)
    # Its classes have their names, in whatever reads the folder, and are trained on further.
    (head,) = FineTunedModel.open(tmp_path / "tuned").heads
    assert (head.name, head.classes) == ("cell_type", ("B cell", "NK", "T cell"))
    loaded.train(three_kinds, label="cell_type", epochs=1)
    other = three_kinds.remove_columns("cell_type").add_column("cell_type", ["myeloid"] * 150)
    with pytest.raises(SettingsError, match="'myeloid', which the head was not trained on"):
        loaded.train(other, label="cell_type")


def test_a_saved_model_of_numbers_is_loaded_in_its_own_units(config, dataset, tmp_path):
    model = GeneformerFineTuningModel(config, "regression", 1)
    model.train(dataset, label="dose", epochs=1)
    model.save_model(tmp_path / "tuned")
    described = json.loads((tmp_path / "tuned" / "heads.json").read_text())
    described["heads"][0].update(mean=10.0, scale=2.0)
    (tmp_path / "tuned" / "heads.json").write_text(json.dumps(described))
    loaded = GeneformerFineTuningModel(config, "regression", 1)
    loaded.load_model(tmp_path / "tuned")
    expected = 10 + 2 * model.get_outputs(dataset)
    np.testing.assert_allclose(loaded.get_outputs(dataset), expected, rtol=1e-5)


def test_a_saved_model_that_does_not_fit_is_refused(trained_on_names, config, tmp_path):
    trained_on_names.save_model(tmp_path / "tuned")
    with pytest.raises(CheckpointError, match=r"outputs \[3\].*outputs \[2\]"):
        GeneformerFineTuningModel(config, output_size=2).load_model(tmp_path / "tuned")
    with pytest.raises(CheckpointError, match="no fine-tuned model"):
        GeneformerFineTuningModel(config, output_size=2).load_model(config.model_name)
    width = trained_on_names.checkpoint.spec.d_model
    own = torch.nn.Sequential(torch.nn.Linear(width, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3))
    with pytest.raises(CheckpointError, match="The head of this model is a Sequential"):
        GeneformerFineTuningModel(config, own).load_model(tmp_path / "tuned")


def test_text_for_a_head_of_numbers_is_told_in_words_of_python(config, three_kinds):
    with pytest.raises(SettingsError, match='fine_tuning_head="classification"') as raised:
        GeneformerFineTuningModel(config, "regression", 1).train(three_kinds, label="cell_type")
    assert "--" not in str(raised.value)


@pytest.mark.parametrize(
    ("params", "factor"),
    [
        (None, lambda step: 1.0),
        ({"name": "constant"}, lambda step: 1.0),
        ({"name": "linear", "num_warmup_steps": 2, "num_training_steps": 40},
         lambda step: step / 2 if step < 2 else (40 - step) / 38),
        ({"name": "linear", "num_warmup_steps": 0}, lambda step: (13 - step) / 13),
    ],
    ids=["none", "constant", "longer than the training", "of the training"],
)  # fmt: skip
def test_the_schedule_runs_over_the_steps_that_were_asked_for(config, dataset, params, factor):
    """Rates as the words of `transformers.get_scheduler` define them, for 13 batches of 200."""
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, *arguments, **more):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*arguments, **more)

    GeneformerFineTuningModel(config, output_size=2).train(
        dataset, optimizer=Watched, optimizer_params={"lr": 0.5}, lr_scheduler_params=params
    )
    np.testing.assert_allclose(rates, [0.5 * factor(step) for step in range(13)], rtol=1e-6)
