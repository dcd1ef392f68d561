"""What is another than it was, named as the commands name it."""

from dataclasses import asdict

import pytest
from tests.test_options import COMMANDS

from rankformer.annotate.settings import NeighbourVote
from rankformer.perturb.settings import Perturbation, States
from rankformer.runs.manifest import Work
from rankformer.runs.option_names import name_option, tell_difference
from rankformer.runs.options import as_plain, plain_reading

STATES = States(state="stage", start="young", goal="old", alternatives=("middle",))
# As each command describes its work.
OPTIONS = {
    "embed": {"mode": "cell", "layer": 3, "dtype": "float32"},
    "annotate": {
        "mode": "cell", "layer": 3, "dtype": "float32", "references": [], "labels": [], "keys": [],
        "unlabelled": [], "vote": asdict(NeighbourVote()),
    },
    "predict": {"dtype": "float32", "prefix": "p", "threshold": 0.5},
    "perturb": {
        **asdict(Perturbation(states=STATES)), "layer": 3, "dtype": "float32", "n_affected": 9,
        "attributes": {"new": "old"},
    },
    "tokenize": {"reading": {"attributes": {"new": "old"}}},
}  # fmt: skip


def keys_of(values, prefix):
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from keys_of(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}"


@pytest.mark.parametrize("task", OPTIONS)
def test_each_option_of_a_run_is_one_of_its_command(task):
    flags = {flag for each in COMMANDS[task].params for flag in (*each.opts, *each.secondary_opts)}
    plain = as_plain({"reading": plain_reading(None), **OPTIONS[task]})
    for key in ("shard_cells", *keys_of(plain, "options")):
        # Only tokens carry attributes of their own over.
        if task in ("embed", "annotate", "predict") and key.endswith("attributes"):
            continue
        _, flag = name_option(key)
        assert flag in flags, key


def test_what_differs_is_told_in_values():
    first = Work("embed", {}, {"layer": 3, "reading": {"layer": None}}, 10)
    second = Work("embed", {}, {"layer": 2, "reading": {"layer": "counts"}}, 10)
    assert first.differences(second) == [
        "emb_layer (--emb-layer) is 2 now, and was 3",
        'layer (--layer) is "counts" now, and was not given',
    ]
    assert first.differences(first) == []


def test_long_values_that_begin_alike_are_not_shown_as_one():
    genes = '["' + '", "'.join(f"G{i}" for i in range(90))
    told = tell_difference("options.genes", f'{genes}"]', f'{genes}", "TP53"]')
    assert told == "genes (--genes) is another than it was"


def test_hashes_are_not_shown():
    for key, what in (
        ("model.weights_sha256", "the hash of the weights of the model (--model)"),
        ("model.vocabulary_sha256", "the hash of the vocabulary of the model (--model)"),
        ("options.heads.weights_sha256", "the hash of the weights of the model (--model)"),
        ("options.reading.gene_table", "gene_table (--gene-table)"),
    ):
        assert tell_difference(key, '"aa"', '"bb"') == f"{what} is another than it was"
    assert tell_difference("model.model", '"a"', '"b"') == (
        'model (--model) is "b" now, and was "a"'
    )
