"""Every keyword of `tl` and of `GeneformerConfig` reaches what it names."""

import inspect
from contextlib import contextmanager
from dataclasses import fields

import numpy as np
import pytest

import rankformer
from rankformer import Geneformer, GeneformerConfig, tl
from rankformer.genes.orthologs import OrthologTable
from rankformer.genes.tables import GeneTable
from rankformer.tokens.reading_options import ReadingOptions

GENE_TABLE = GeneTable({}, {}, {}, "a table")
ORTHOLOGS = OrthologTable("mouse", "summed", (), {}, "a table of orthologs", "0")

# A value that is not the default, for each keyword; where it arrives if not under its own name.
READING = {
    "layer": "umi", "use_raw": True, "undo_log1p": True, "check": False, "gene_ids": "name",
    "estimated_counts": True,
    "gene_table": GENE_TABLE, "pyensembl_genome": "a genome", "min_recognised": 0.2,
    "orthologs": ORTHOLOGS, "n_threads": 2, "chunk_cells": 7,
    "only_genes": ("ENSG00000000003",),
}  # fmt: skip
RUNNING = {"device": "cuda:3", "dtype": "float16", "batch_size": 5}
LAYER = {"emb_layer": -2, "layer_numbering": "geneformer"}
VOTE = {"n_neighbors": 4, "min_share": 0.8, "distance_quantile": 0.5, "allow_shift": False,
        "method": "logistic", "group": "donor", "share_genes": False, "probabilities": True,
        "majority_vote": "cluster", "max_doubt": 1.7, "use_doubt": False,
        "integrate": "harmony"}  # fmt: skip
OPTIONS = {
    "embed": {"model": "a model", "mode": "cls", "key_added": "X_own", "copy": True}
    | LAYER | RUNNING | READING,
    "annotate": {"model": "a model", "reference": ["a file"], "label": "kind",
                 "key_added": "called", "mode": "cls", "unlabelled": "none", "copy": True}
    | VOTE | LAYER | RUNNING | READING,
    "predict": {"model": "a model", "threshold": 0.9, "prefix": "said_", "copy": True}
    | RUNNING | READING,
}  # fmt: skip
NAMES = {
    "embed": {"key_added": "key"},
    "annotate": {"key_added": "keys", "label": "labels", "reference": "given"},
    "predict": {"model": "opened"},
}
# In other words than those given.
WORDS = {("annotate", "label"): [("kind",)],
         ("annotate", "key_added"): [("called",), {"kind": "called"}]}  # fmt: skip


class _Head:
    name = "kind"


class _Tuned:
    heads = (_Head(),)
    checkpoint = "a checkpoint"


class _Reference(rankformer.Reference):
    """Only its type is looked at."""

    def __init__(self):
        object.__setattr__(self, "codes", {"kind": None})


@pytest.fixture
def arrived(monkeypatch):
    """What the functions that do the work were given: `tl` only hands on."""
    seen = {}

    def spy(name, answer):
        function = getattr(tl, name)

        def called(*given, **more):
            bound = inspect.signature(function).bind(*given, **more).arguments
            for key, value in {**bound.pop("settings", {}), **bound}.items():
                seen.setdefault(key, []).append(value)
            return answer(given)

        monkeypatch.setattr(tl, name, called)

    for name in ("open_embedder", "Embedder", "embed_cells", "annotate_cells", "predict_in_memory"):
        spy(name, lambda given: given)
    spy("find_reference", lambda given: given[0])
    spy("shared_genes_of", lambda given: given[3].only_genes)
    spy("build_reference", lambda _: _Reference())
    spy("name_keys", lambda given: dict(zip(given[0], given[1] or given[0], strict=True)))
    spy("add_vectors", lambda given: None)
    spy("add_to", lambda given: None)
    spy("store_labels_in", lambda given: None)

    def open_tuned(model):
        seen["opened"] = [model]
        return _Tuned()

    monkeypatch.setattr(tl.FineTunedModel, "open", open_tuned)
    return seen


@pytest.mark.parametrize("function", OPTIONS)
def test_every_keyword_is_tested(function):
    known = set(inspect.signature(getattr(tl, function)).parameters) - {"adata"}
    assert known == set(OPTIONS[function])
    assert {each.name for each in fields(ReadingOptions)} - {"attributes"} == set(READING)


@pytest.mark.parametrize(
    ("function", "keyword"),
    [(function, keyword) for function, own in OPTIONS.items() for keyword in own],
)
def test_keywords_of_tl_reach_the_work(arrived, small_adata, function, keyword):
    own = OPTIONS[function]
    value = own[keyword]
    if keyword != "model":
        default = inspect.signature(getattr(tl, function)).parameters[keyword].default
        assert value != default
    needed = {name: own[name] for name in ("model", "reference", "label") if name in own}
    returned = getattr(tl, function)(small_adata, **{**needed, keyword: value})
    assert (returned is not None) is (keyword == "copy")
    if keyword == "copy":
        return
    if keyword in READING:
        found = [getattr(each, keyword) for each in arrived["options"]]
    elif keyword in VOTE:
        found = [getattr(each, keyword) for each in arrived["vote"]]
    else:
        found = arrived[NAMES[function].get(keyword, keyword)]
    # Wherever it arrives, and that may be in two places, it is the value that was given.
    assert found
    assert all(each in WORDS.get((function, keyword), [value]) for each in found)


@pytest.mark.parametrize("function", OPTIONS)
def test_progress_is_counted_over_all_cells(arrived, small_adata, monkeypatch, function):
    shown = []

    @contextmanager
    def record(n_items, what):
        shown.append(n_items)
        yield "a function to call"

    monkeypatch.setattr(tl, "show_progress", record)
    own = OPTIONS[function]
    needed = {name: own[name] for name in ("model", "reference", "label") if name in own}
    getattr(tl, function)(small_adata, **needed)
    assert shown == [small_adata.n_obs]
    assert arrived["progress"] == ["a function to call"]


def test_what_one_run_says_of_itself_stays_beside_the_next(checkpoint_folder, small_adata):
    small_adata.uns["rankformer"] = {"of another tool": {"kept": "yes"}}
    tl.embed(small_adata, model=checkpoint_folder, key_added="X_first")
    tl.embed(small_adata, model=checkpoint_folder, key_added="X_second", emb_layer=0)
    said = small_adata.uns["rankformer"]
    assert set(said) == {"of another tool", "X_first", "X_second"}
    assert (said["X_first"]["layer"], said["X_second"]["layer"]) == (3, 0)
    assert said["of another tool"] == {"kept": "yes"}


def test_what_one_command_says_of_itself_stays_beside_the_next(
    checkpoint_folder, cells, tmp_path, command
):
    import anndata as ad

    first, second = tmp_path / "first.h5ad", tmp_path / "second.h5ad"
    for source, target, key in ((cells, first, "X_first"), (first, second, "X_second")):
        arguments = ("embed", source, "-o", target, "--model", checkpoint_folder, "--key", key)
        assert command(*arguments)[0] == 0
    found = ad.read_h5ad(second)
    assert set(found.uns["rankformer"]) == {"X_first", "X_second"}
    np.testing.assert_array_equal(found.obsm["X_first"], found.obsm["X_second"])


SETTINGS = {
    "model_name": "small",
    "batch_size": 3,
    "emb_layer": 1,
    "emb_mode": "gene",
    "device": "meta",
    "accelerator": True,
    "nproc": 2,
    "custom_attr_name_dict": {"label": "cell_type"},
    "output_attentions": True,
    "dtype": "bfloat16",
}


def test_every_setting_of_the_config_is_tested():
    assert {each.name for each in fields(GeneformerConfig)} == set(SETTINGS)


def config_of(folder, **settings):
    return GeneformerConfig(**{"model_name": folder, "dtype": "float32", **settings})


def test_settings_of_the_config_reach_the_model(checkpoint_folder, small_adata, monkeypatch):
    def made(**settings):
        return Geneformer(config_of(checkpoint_folder, **settings))

    assert made().checkpoint.folder == checkpoint_folder
    assert made(batch_size=3).embedder.budget.batch_size == 3
    assert made(emb_layer=1).embedder.layer == 1
    assert made(dtype="bfloat16").embedder.precision == "bfloat16"
    asked = []
    monkeypatch.setattr(
        "rankformer.embed.settled_model.choose_device",
        lambda device: (asked.append(device), rankformer.model.device.choose_device("cpu"))[1],
    )
    made(device="mps").embedder  # noqa: B018
    made(device="mps", accelerator=True).embedder  # noqa: B018
    assert asked == ["mps", "auto"]
    dataset = made(custom_attr_name_dict={"label": "cell_type"}).process_data(small_adata)
    assert dataset["label"][:] == small_adata.obs["cell_type"].tolist()
    assert isinstance(made(emb_mode="gene").get_embeddings(dataset), list)
    assert isinstance(made(output_attentions=True).get_embeddings(dataset), tuple)


def test_arguments_of_process_data_reach_the_reader(checkpoint_folder, small_adata, monkeypatch):
    seen = []

    def stop(adata, vocabulary, options):
        seen.append(options)
        raise InterruptedError

    monkeypatch.setattr("rankformer.tokens.tokenize.open_tokens", stop)
    geneformer = Geneformer(config_of(checkpoint_folder, nproc=2))
    for more in ({}, {"gene_names": "name"}, {"use_raw_counts": False}):
        with pytest.raises(InterruptedError):
            geneformer.process_data(small_adata, **more)
    assert [each.n_threads for each in seen] == [2, 2, 2]
    assert [each.gene_ids for each in seen] == ["index", "name", "index"]
    assert [each.check for each in seen] == [True, True, False]
    assert [each.layer for each in seen] == [None, None, "X"]
