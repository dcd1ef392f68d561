"""The public functions of Python: what they take, what they refuse, hints that can be read."""

import inspect
import json
import subprocess
import sys
from typing import get_type_hints

import numpy as np
import pytest

import rankformer
from rankformer import datasets, pl, tl
from rankformer.errors import CheckpointError, RankformerError

FUNCTIONS = [name for name in rankformer.__all__ if inspect.isfunction(getattr(rankformer, name))]
CLASSES = [name for name in rankformer.__all__ if inspect.isclass(getattr(rankformer, name))]


@pytest.mark.parametrize("name", [*FUNCTIONS, *CLASSES])
def test_type_hints_of_public_names_can_be_read(name):
    public = getattr(rankformer, name)
    hints = get_type_hints(public.__init__ if inspect.isclass(public) else public)
    own = inspect.signature(public).parameters
    # A class without an __init__ of its own has the parameters of another one.
    assert inspect.isclass(public) or set(own) <= set(hints)
    get_type_hints(public)


IN_MODULES = [(module, name) for module in (datasets, tl) for name in module.__all__]


@pytest.mark.parametrize(("module", "name"), IN_MODULES)
def test_type_hints_of_modules(module, name):
    function = getattr(module, name)
    assert set(inspect.signature(function).parameters) <= set(get_type_hints(function))


@pytest.mark.parametrize("face", [datasets, tl, pl], ids=["datasets", "tl", "pl"])
def test_a_face_lists_its_functions(face):
    own = [
        name for name, each in vars(face).items()
        if inspect.isfunction(each) and each.__module__ == face.__name__ and name[0] != "_"
    ]  # fmt: skip
    assert sorted(face.__all__) == sorted(own)
    assert dir(face) == sorted(face.__all__)


@pytest.mark.parametrize("name", pl.__all__)
def test_type_hints_of_pl(name):
    """matplotlib need not be there: its types are named where a type checker looks."""
    from matplotlib.axes import Axes

    function = getattr(pl, name)
    hints = get_type_hints(function, localns={"Axes": Axes})
    assert set(inspect.signature(function).parameters) <= set(hints)
    assert hints["return"] is Axes


@pytest.mark.parametrize("public", [*FUNCTIONS, *(f"tl.{name}" for name in tl.__all__)])
def test_no_function_takes_any_keyword(public):
    """A misspelt one is then an error that names the function, as everywhere in Python."""
    function = getattr(tl, public[3:]) if public.startswith("tl.") else getattr(rankformer, public)
    kinds = {each.kind for each in inspect.signature(function).parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_a_model_by_name_or_folder_where_a_vocabulary_is_taken(checkpoint_folder, small_adata):
    vocabulary = rankformer.Checkpoint.open(checkpoint_folder).vocabulary
    mapping = rankformer.map_genes(small_adata.var, vocabulary)
    counts = small_adata.X
    expected = rankformer.encode_rank_values(counts, mapping.tokens, vocabulary)
    for model in (
        checkpoint_folder,
        str(checkpoint_folder),
        rankformer.Checkpoint.open(checkpoint_folder),
    ):
        own = rankformer.map_genes(small_adata, model)
        np.testing.assert_array_equal(own.tokens, mapping.tokens)
        values, offsets = rankformer.encode_rank_values(counts, own.tokens, model)
        np.testing.assert_array_equal(values, expected[0])
        np.testing.assert_array_equal(offsets, expected[1])
        cells = rankformer.tokenize_cells(small_adata, model)
        np.testing.assert_array_equal(np.concatenate([cells.cell(i) for i in range(30)]), values)
        with rankformer.open_tokens(small_adata, model).source as opened:
            assert opened.n_cells == 30


def test_a_model_by_name_or_folder_where_an_embedder_is_taken(checkpoint_folder, small_adata):
    checkpoint = rankformer.Checkpoint.open(checkpoint_folder)
    expected = rankformer.embed_cells(small_adata, rankformer.Embedder(checkpoint)).vectors
    for model in (checkpoint_folder, str(checkpoint_folder), checkpoint):
        found = rankformer.embed_cells(small_adata, model).vectors
        np.testing.assert_array_equal(found, expected)
        assert rankformer.Embedder(model).checkpoint.weights_sha256 == checkpoint.weights_sha256
    stream = rankformer.open_tokens(small_adata, checkpoint_folder)
    summary = rankformer.summarize_genes(stream, checkpoint_folder)
    assert summary.vectors.shape == (len(summary.ensembl_ids), 32)


def test_the_model_that_ships_by_its_name(small_adata):
    small_adata.var_names = real_symbols(small_adata.n_vars)
    assert rankformer.embed_cells(small_adata, "rankformer-mini").vectors.shape == (30, 160)
    assert len(rankformer.tokenize_cells(small_adata, "rankformer-mini")) == 30
    assert rankformer.Embedder("rankformer-mini").d_model == 160


def real_symbols(n):
    vocabulary = rankformer.Checkpoint.open("rankformer-mini").vocabulary
    return [
        vocabulary.symbol_of[gene]
        for gene in vocabulary.ensembl_ids
        if gene in vocabulary.symbol_of
    ][:n]


def test_a_reference_of_one_source_and_one_label(checkpoint_folder, small_adata, tmp_path):
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    listed = rankformer.build_reference([small_adata], checkpoint_folder, ["cell_type"])
    for source in (small_adata, tmp_path / "cells.h5ad", str(tmp_path / "cells.h5ad")):
        one = rankformer.build_reference(source, checkpoint_folder, "cell_type")
        np.testing.assert_array_equal(one.index.vectors, listed.index.vectors)
        np.testing.assert_array_equal(one.codes["cell_type"], listed.codes["cell_type"])
        assert len(one.provenance["sources"]) == 1
    rankformer.save_reference(listed, tmp_path / "reference")
    named = rankformer.annotate_cells(
        small_adata, tmp_path / "reference", checkpoint_folder, {"cell_type": "called"}
    )
    assert set(named.labels) == {"called"}


def test_a_vocabulary_of_one_source(small_adata, tmp_path):
    ids = [f"ENSG{i:011d}" for i in range(1, small_adata.n_vars + 1)]
    small_adata.var_names = ids
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    listed = rankformer.build_vocabulary([tmp_path / "cells.h5ad"], min_cells=1)
    for source in (small_adata, str(tmp_path / "cells.h5ad"), tmp_path / "cells.h5ad"):
        assert rankformer.build_vocabulary(source, min_cells=1).sha256 == listed.sha256
        assert rankformer.sketch_expression(source).n_cells == 30


def test_one_source_to_learn_from(checkpoint_folder, small_adata, tmp_path):
    """And the card lists it as one, not each of its cells."""
    settings = rankformer.FineTuningSettings(
        rankformer.FineTuningHyperparameters(max_steps=1, batch_size=4), device="cpu"
    )
    task = rankformer.CellTask(labels="cell_type")
    assert task == rankformer.CellTask(labels=["cell_type"])
    tuned = rankformer.finetune(small_adata, tmp_path / "tuned", checkpoint_folder, task, settings)
    assert tuned.heads[0].classes == ("B", "T")
    record = json.loads((tmp_path / "tuned" / "training.json").read_text())
    assert [each["source"] for each in record["sources"]] == ["AnnData"]
    hyperparameters = rankformer.PretrainingHyperparameters(
        max_steps=2, warmup_steps=0, batch_size=4, held_out_share=0.0
    )
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    trained = rankformer.pretrain(
        str(tmp_path / "cells.h5ad"), tmp_path / "trained", checkpoint_folder,
        settings=rankformer.PretrainingSettings(hyperparameters, device="cpu"),
    )  # fmt: skip
    start = rankformer.Checkpoint.open(checkpoint_folder)
    assert trained.vocabulary.sha256 == start.vocabulary.sha256
    assert trained.weights_sha256 != start.weights_sha256
    assert start.name in (tmp_path / "trained" / "README.md").read_text()
    model, vocabulary = rankformer.continue_model(checkpoint_folder, checkpoint_folder)
    assert model.encoder.spec.vocab_size == vocabulary.size


WRONG = {
    "tokenize_cells": lambda adata: rankformer.tokenize_cells(adata, 42),
    "map_genes": lambda adata: rankformer.map_genes(adata.var, None),
    "embed_cells": lambda adata: rankformer.embed_cells(adata, 42),
    "Embedder": lambda _: rankformer.Embedder(object()),
    "Checkpoint": lambda _: rankformer.Checkpoint.open(3.5),
    "build_reference": lambda adata: rankformer.build_reference(adata, adata, "cell_type"),
    "open_reference": lambda _: rankformer.open_reference(7),
    "finetune": lambda adata: rankformer.finetune(adata, "out", 7, rankformer.CellTask("x")),
    "pretrain": lambda adata: rankformer.pretrain(adata, "out", 7),
    "continue_model": lambda _: rankformer.continue_model([]),
    "finetune without a task": lambda adata: rankformer.finetune(
        adata, "out", "rankformer-mini", "cell_type"
    ),
    "summarize_genes": lambda adata: rankformer.summarize_genes(adata, "rankformer-mini"),
    "summarize_genes of several": lambda adata: rankformer.summarize_genes(
        [adata], "rankformer-mini"
    ),
    "save_checkpoint": lambda _: rankformer.save_checkpoint(
        "out", "rankformer-mini", "rankformer-mini"
    ),
    "draw_model": lambda _: rankformer.draw_model("rankformer-mini", {"n_layers": 1}, 0),
    "draw_model with a typo": lambda _: rankformer.draw_model(
        "rankformer-mini", {"n_layers": 1, "d_model": 8, "n_heads": 1, "d_ff": 8, "layer": 1}, 0
    ),
    "encode_rank_values": lambda adata: rankformer.encode_rank_values(
        adata.X, [0.5] * adata.n_vars, "rankformer-mini"
    ),
    "encode_rank_values of an array": lambda adata: rankformer.encode_rank_values(
        adata.X.toarray(), np.full(adata.n_vars, -1), "rankformer-mini"
    ),
    "CellTask": lambda _: rankformer.CellTask(labels=7),
    "open_cells": lambda _: rankformer.open_cells(7),
    "build_vocabulary": lambda _: rankformer.build_vocabulary(7),
    "build_vocabulary of nothing": lambda _: rankformer.build_vocabulary([]),
    "tl.embed": lambda _: tl.embed("cells.h5ad", model="rankformer-mini"),
    "tl.embed with a word for a layer": lambda adata: tl.embed(
        adata, model="rankformer-mini", emb_layer="last"
    ),
    "tl.embed with a word for a number": lambda adata: tl.embed(
        adata, model="rankformer-mini", batch_size="big"
    ),
    "tl.predict by nothing": lambda adata: tl.predict(adata, model="not-there"),
    "Geneformer": lambda _: rankformer.Geneformer("rankformer-mini"),
    "tl.annotate": lambda adata: tl.annotate("cells.h5ad", reference=adata, model="small"),
    "tl.predict": lambda _: tl.predict("cells.h5ad", model="tuned"),
    "tl.predict with a number": lambda adata: tl.predict(adata, model=7),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("vocabulary", ["v2-like"], indirect=True)
def test_a_wrong_type_is_told_in_the_usual_sentence(call, small_adata, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RankformerError) as raised:
        call(small_adata)
    assert raised.value.expected
    assert raised.value.fix
    assert not list(tmp_path.iterdir())


@pytest.fixture
def vocabulary(request):
    from tests.conftest import small_vocabulary

    return small_vocabulary(special=getattr(request, "param", "v2-like") == "v2-like")


@pytest.fixture
def checkpoint_folder(vocabulary, tmp_path):
    from tests.conftest import save_small_checkpoint

    return save_small_checkpoint(tmp_path / "small", vocabulary)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rankformer_mini", "rankformer-mini"),
        ("Rankformer-Mini", "rankformer-mini"),
        ("gf-12L-95M-4096", "gf-12L-95M-i4096"),
        ("gf_6L_30M_i2048", "gf-6L-30M-i2048"),
        ("Geneformer-V2-104", "Geneformer-V2-104M"),
    ],
)
def test_a_misspelt_name_gets_the_nearest_one(typed, meant):
    for resolve in (rankformer.Checkpoint.open, rankformer.Embedder):
        with pytest.raises(CheckpointError, match=f"Did you mean {meant}?"):
            resolve(typed)
    with pytest.raises(CheckpointError, match=f"Did you mean {meant}?"):
        rankformer.build_vocabulary("cells.h5ad", names_from=typed)


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(CheckpointError) as raised:
        rankformer.Checkpoint.open("scgpt")
    assert "Did you mean" not in str(raised.value)


def test_models_are_listed_with_what_is_here(tmp_path, monkeypatch, checkpoint_folder):
    monkeypatch.setenv("RANKFORMER_MODELS", str(tmp_path))
    listed = {model.name: model for model in rankformer.list_models()}
    assert listed["rankformer-mini"].folder == rankformer.Checkpoint.open("rankformer-mini").folder
    assert listed["gf-12L-95M-i4096"].folder is None
    checkpoint_folder.rename(tmp_path / "gf-12L-95M-i4096")
    again = {model.name: model for model in rankformer.list_models()}
    assert again["gf-12L-95M-i4096"].folder == tmp_path / "gf-12L-95M-i4096"
    # The table of the published checkpoints (Theodoris et al.; the hub's model card).
    known = again["gf-20L-95M-i4096"]
    assert (known.n_layers, known.d_model, known.input_length) == (20, 896, 4096)


def test_data_alone_loads_no_torch():
    code = (
        "import rankformer, sys, anndata, numpy\n"
        "v = rankformer.Checkpoint.open('rankformer-mini').vocabulary\n"
        "names = [v.symbol_of[g] for g in v.ensembl_ids if g in v.symbol_of][:300]\n"
        "a = anndata.AnnData(numpy.eye(300, dtype='float32') * 2 + 1)\n"
        "a.var_names = names\n"
        "rankformer.map_genes(a, 'rankformer-mini')\n"
        "rankformer.tokenize_cells(a, 'rankformer-mini')\n"
        "rankformer.list_models()\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_misspelt_keyword_is_named_with_the_function(small_adata):
    with pytest.raises(TypeError, match=r"embed\(\) got an unexpected keyword argument 'modle'"):
        tl.embed(small_adata, modle="rankformer-mini")
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'inplace'"):
        tl.embed(small_adata, model="rankformer-mini", inplace=False)


def test_each_part_of_an_error_ends_with_one_full_stop():
    error = rankformer.RankformerError("It broke: not found..", "A file", "Wait …")
    assert (error.found, error.expected, error.fix) == ("It broke: not found.", "A file.", "Wait …")
