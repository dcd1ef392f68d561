"""What `rankformer.tl` hands on, call by call, and where what comes back is put."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from rankformer import tl
from rankformer.annotate.reference import Reference
from rankformer.annotate.settings import Labelling
from rankformer.errors import SettingsError
from rankformer.tokens.reading_options import ReadingOptions

OPTIONS = ReadingOptions(layer="umi", n_threads=2)
READING = {"layer": "umi", "n_threads": 2}


class Ready(Reference):
    """A reference that is ready, of which only labels and dtype are looked at."""

    def __init__(self):
        object.__setattr__(self, "codes", {"kind": None, "stage": None})
        object.__setattr__(self, "provenance", {"dtype": "bfloat16"})


@pytest.fixture
def calls(monkeypatch):
    """Functions of `tl` replaced: what they were called with, given what each gives back."""

    def replace(**answers):
        found = {}

        def recorder(name, answer):
            def record(*arguments, **settings):
                found.setdefault(name, []).append((arguments, settings))
                return answer

            return record

        for name, answer in answers.items():
            monkeypatch.setattr(tl, name, recorder(name, answer))
        return found

    @contextmanager
    def shown(n_items, what):
        yield f"progress of {n_items}"

    monkeypatch.setattr(tl, "show_progress", shown)
    return replace


def test_annotate_builds_a_reference_and_votes(calls, small_adata):
    ready = Ready()
    found = calls(
        find_reference=["r.h5ad"], open_embedder="an embedder", build_reference=ready,
        annotate_cells="labels", store_labels_in=None, shared_genes_of=frozenset({"ENSG1"}),
    )  # fmt: skip
    returned = tl.annotate(
        small_adata, reference="r.h5ad", model="m", label=["kind", "stage"],
        key_added=["k", "s"], mode="cls", n_neighbors=9, min_share=0.3, distance_quantile=0.8,
        allow_shift=False, group="donor", unlabelled="none", emb_layer=-2,
        layer_numbering="published",
        device="cuda:3", dtype="float16", batch_size=6, **READING,
    )  # fmt: skip
    assert returned is None
    assert found["find_reference"] == [(("r.h5ad",), {})]
    running = {
        "emb_layer": -2, "layer_numbering": "published", "device": "cuda:3", "dtype": "float16",
        "batch_size": 6,
    }  # fmt: skip
    assert found["open_embedder"] == [(("m",), running)]
    [(asked, _)] = found["shared_genes_of"]
    assert (asked[0], asked[2], asked[3]) == (["r.h5ad"], "an embedder", OPTIONS)
    assert asked[1] is small_adata
    building = {
        "mode": "cls", "options": replace(OPTIONS, only_genes=frozenset({"ENSG1"})),
        "unlabelled": "none", "group": "donor",
    }  # fmt: skip
    given = (["r.h5ad"], "an embedder", ("kind", "stage"))
    assert found["build_reference"] == [(given, building)]
    [((adata, reference, embedder, keys), voting)] = found["annotate_cells"]
    assert adata is small_adata
    assert (reference, embedder) == (ready, "an embedder")
    assert keys == {"kind": "k", "stage": "s"}
    assert voting == {
        "mode": "cls", "options": OPTIONS,
        "vote": Labelling(
            n_neighbors=9, min_share=0.3, distance_quantile=0.8, allow_shift=False, group="donor"
        ),
        "progress": "progress of 30",
    }  # fmt: skip
    [((adata, cells), _)] = found["store_labels_in"]
    assert adata is small_adata
    assert cells == "labels"


def test_annotate_by_a_reference_that_is_ready_takes_its_dtype_and_labels(calls, small_adata):
    ready = Ready()
    found = calls(
        find_reference=ready, open_embedder="an embedder", annotate_cells="labels",
        store_labels_in=None,
    )  # fmt: skip
    copied = tl.annotate(small_adata, reference=ready, model="m", copy=True)
    assert found["open_embedder"][0][1]["dtype"] == "bfloat16"
    assert found["annotate_cells"][0][0][1] is ready
    assert found["annotate_cells"][0][0][3] == {
        "kind": "predicted_kind", "stage": "predicted_stage",
    }  # fmt: skip
    assert copied is not small_adata
    assert found["annotate_cells"][0][0][0] is found["store_labels_in"][0][0][0] is copied


@pytest.mark.parametrize("name", ["label", "key_added"])
def test_annotate_says_which_name_is_none(small_adata, name):
    with pytest.raises(SettingsError, match=f"^{name} is 7"):
        tl.annotate(small_adata, reference=small_adata, model="m", **{name: 7})


class Head:
    name = "kind"


class Tuned(tl.FineTunedModel):
    """A fine-tuned model, of which only heads and checkpoint are looked at."""

    def __init__(self):
        object.__setattr__(self, "heads", (Head(),))
        object.__setattr__(self, "checkpoint", "a checkpoint")


@pytest.mark.parametrize("copy", [False, True])
def test_predict(calls, small_adata, copy):
    tuned = Tuned()
    found = calls(Embedder="an embedder", predict_in_memory="labels", store_labels_in=None)
    returned = tl.predict(
        small_adata, model=tuned, threshold=0.9, prefix="said_", device="cuda:3", dtype="float16",
        batch_size=6, copy=copy, **READING,
    )  # fmt: skip
    running = {"device": "cuda:3", "dtype": "float16", "batch_size": 6}
    assert found["Embedder"] == [(("a checkpoint",), running)]
    [((adata, model, embedder), predicting)] = found["predict_in_memory"]
    assert (adata is small_adata) is not copy
    assert returned is (adata if copy else None)
    assert (model, embedder) == (tuned, "an embedder")
    assert predicting == {
        "prefix": "said_", "threshold": 0.9, "options": OPTIONS, "progress": "progress of 30",
    }  # fmt: skip
    [((stored_in, cells), _)] = found["store_labels_in"]
    assert stored_in is adata
    assert cells == "labels"


def test_predict_refuses_a_name_that_obs_cannot_have(calls, small_adata):
    tuned = Tuned()
    calls(Embedder="an embedder", predict_in_memory="labels", store_labels_in=None)
    with pytest.raises(SettingsError, match=r"obs.*predicted_cell_type"):
        tl.predict(small_adata, model=tuned, prefix="a/b_")
