"""Every option of every command arrives at the task that it is for.

Each command is run with its tasks replaced by recorders: first as it stands, then once with each of
its own options set to a value that is not the default. What the tasks receive must then differ, and
hold the value. An option that is new, and reaches nothing, fails here without a line about it.
"""

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
import typer

from rankformer.cli import app, main
from rankformer.perturb.files import Estimate
from rankformer.summary import Summary
from tests.conftest import save_small_checkpoint, small_vocabulary

TP53 = "ENSG00000000001"
# What a command calls, and what comes back. Whatever comes before (checks) or behind (files beside
# the output, screens) is recorded too, as some options are for these.
SHARED = {
    "rankformer.results.gene_report.check_gene_report": None,
    "rankformer.results.gene_report.write_gene_report": None,
    "rankformer.report.files.report_file": SimpleNamespace(n_cells=1, n_shown=1, cautions=()),
    "torch.set_num_threads": None,
    # Of files that recorders do not write.
    "rankformer.show.summary_screen.summary_text": "",
}
TASKS = {
    "report": {
        "rankformer.report.files.report_file": SimpleNamespace(n_cells=1, n_shown=1, cautions=())
    },
    "example": {"rankformer.datasets.write_blood_cells": None},
    "embed": {
        "rankformer.embed.files.embed_files": Summary(),
        "rankformer.cli.embed.check_report": None,
    },
    "annotate": {
        "rankformer.annotate.files.annotate_files": Summary(),
        "rankformer.cli.annotate.check_report": None,
    },
    "tokenize": {"rankformer.runs.token_runs.tokenize_files": Summary()},
    "inspect": {
        "rankformer.tokens.inspection.inspect_file": SimpleNamespace(arguments=None),
        "rankformer.show.inspect_screen.render_inspection": None,
        "rankformer.show.inspect_screen.inspection_tables": ({}, {}),
    },
    "pretrain": {
        "rankformer.pretraining.pretrain.pretrain": None,
        "rankformer.pretraining.pretrain.draw_model": "a network",
        "rankformer.pretraining.pretrain.continue_model": ("a network", small_vocabulary()),
    },
    "finetune": {
        "rankformer.finetuning.finetune.finetune": None,
        "rankformer.finetuning.finetune.cross_validate": None,
        "rankformer.finetuning.finetune.search_hyperparameters": "hyperparameters",
        "rankformer.finetuning.finetune.found_hyperparameters": "hyperparameters",
        "rankformer.finetuning.finetune.check_searched": None,
    },
    "predict": {"rankformer.finetuning.predict.predict_files": Summary()},
    "evaluate": {
        "rankformer.evaluate.embeddings.evaluate_embeddings": None,
        "rankformer.evaluate.predictions.evaluate_predictions": None,
        "rankformer.evaluate.finetuned.evaluate_finetuned": None,
        "rankformer.results.output_checks.check_folder_target": None,
        "rankformer.show.evaluation_folder.write_embeddings": None,
        "rankformer.show.evaluation_folder.write_classifier": None,
        "rankformer.show.evaluation_screen.render_embeddings": None,
        "rankformer.show.evaluation_screen.render_classifier": None,
        "rankformer.show.evaluation_screen.embedding_tables": ({}, {}),
        "rankformer.show.evaluation_screen.classifier_tables": ({}, {}),
    },
    "perturb": {
        "rankformer.perturb.files.perturb_files": Summary(),
        "rankformer.perturb.files.estimate_files": Estimate(1, 1, 1.0, 1),
        "rankformer.cli.perturb.check_report": None,
    },
    "perturb-test": {
        "rankformer.perturb.tested_files.check_outputs": None,
        "rankformer.perturb.result_files.read_results": "a table",
        "rankformer.perturb.statistics.compare_genes": [],
        "rankformer.perturb.tested_files.write_tested": None,
        "rankformer.perturb.tested_files.summarize_tested": Summary(),
        "rankformer.show.perturbation_plots.write_volcano": None,
    },
    "network": {"rankformer.networks.network_files.network_files": Summary()},
    "bench": {
        "rankformer.embed.embedder.open_embedder": None,
        "rankformer.embed.bench.run_bench": None,
        "rankformer.show.bench_screen.render_bench": None,
        "rankformer.show.bench_screen.bench_figures": {},
    },
    "mcp": {"rankformer.mcp.server.serve": None},
    "merge": {"rankformer.merge.merge_run": Summary()},
    "models": {"rankformer.show.models_screen.render_models": None},
    "models fetch": {"rankformer.checkpoints.hub.fetch": "a folder"},
    "vocabulary build": {
        "rankformer.corpus.build_vocabulary.build_vocabulary": SimpleNamespace(
            ensembl_ids=[], sha256="", save=lambda path: path.touch()
        ),
        "rankformer.scratch.whole_or_nothing": "as it is",
    },
    "vocabulary sketch": {
        "rankformer.corpus.sketch_expression.sketch_expression": SimpleNamespace(
            ensembl_ids=[], n_cells=0, save=lambda path: path.touch()
        ),
        "rankformer.scratch.whole_or_nothing": "as it is",
    },
    "vocabulary show": {
        "rankformer.show.vocabulary_screen.render_vocabulary": None,
        "rankformer.show.vocabulary_screen.vocabulary_figures": {},
    },
}
BASE = {
    "report": "cells.h5ad -o out.html",
    "example": "-o out.h5ad",
    "embed": "cells.h5ad -o out.h5ad -m model",
    "annotate": "cells.h5ad -o out.h5ad -m model -r reference.h5ad --label cell_type",
    "tokenize": "cells.h5ad -o out -m model",
    "inspect": "cells.h5ad",
    "pretrain": "cells.h5ad -o out --vocabulary vocabulary.parquet --preset gf-6L-30M-i2048",
    "finetune": "cells.h5ad -o out -m model --label cell_type",
    "predict": "cells.h5ad -o out.h5ad -m tuned",
    "evaluate": "cells.h5ad -o out --label cell_type --key X_a --batch sample",
    "perturb": "cells.h5ad -o out.parquet -m model",
    "perturb-test": "perturbed.parquet -o out.csv",
    "mcp": "--folder .",
    "merge": "run -o out.h5ad",
    "network": "cells.h5ad -o out.parquet -m model",
    "bench": "-m model",
    "models": "",
    "models fetch": "gf-6L-30M-i2048",
    "vocabulary build": "cells.h5ad -o out.parquet",
    "vocabulary sketch": "cells.h5ad -o out.sketch",
    "vocabulary show": "model",
}
STATES = "cells.h5ad -o out.parquet -m model --state stage --start young --goal old"
# Options that need another beside them, or stand in the place of another: words that replace BASE.
INSTEAD = {
    ("pretrain", "model"): "cells.h5ad -o out",
    ("pretrain", "more_genes"): "cells.h5ad -o out --model model",
    ("pretrain", "vocabulary"): "cells.h5ad -o out --preset gf-6L-30M-i2048",
    ("finetune", "lora_alpha"): f"{BASE['finetune']} --lora-rank 8",
    ("finetune", "genes"): "cells.h5ad -o out -m model --label kind",
    ("finetune", "gene_column"): "cells.h5ad -o out -m model --label kind --genes genes.csv",
    ("finetune", "label_weight"): "cells.h5ad -o out -m model --label cell_type",
    **{
        ("perturb", name): f"{BASE['perturb']} --method screen"
        for name in ("top", "exact_cells", "exact_runs", "directions")
    },
    **{
        ("perturb", name): STATES
        for name in ("state", "start", "goal", "alternative", "state_statistic")
    },
    **{
        ("network", name): f"{BASE['network']} --by attention"
        for name in ("attention_layer", "head")
    },
    **{
        (name, option): f"{BASE[name]} --engine ray"
        for name in ("annotate", "embed", "perturb", "predict", "tokenize")
        for option in ("address", "gpus_per_worker", "workers")
    },
    ("evaluate", "predicted"): "cells.h5ad -o out --label cell_type",
    ("evaluate", "classifier"): "cells.h5ad -o out --label cell_type",
    ("evaluate", "baseline"): "cells.h5ad -o out --label cell_type --predicted called",
    **{
        (name, column): f"{BASE[name]} --gene-table table.csv"
        for name in BASE
        for column in ("identifier_column", "ensembl_column")
    },
    **{
        (name, option): f"{BASE[name]} {beside}"
        for name in BASE
        for option, beside in (
            ("species", "--orthologs orthologs.txt"),
            ("orthologs", "--species mouse"),
            ("ortholog_choice", "--species mouse --orthologs orthologs.txt"),
        )
    },
}
# Values that must be there, be of a kind, or mean something; all others are made up.
VALUES = {
    "gene_table": "table.csv", "genes": "genes.csv", "more_genes": "more.parquet",
    "species": "mouse", "orthologs": "orthologs.txt",
    "names_from": "model", "identifier_column": "probe", "ensembl_column": "other_id",
    "vocabulary": "more.parquet", "preset": "gf-12L-95M-i4096", "held_out_by": "donor",
    "threads": "1", "device": "cuda:7", "attribute": "new=cell_type", "where": "stage=old",
    "beside": "harmony", "thinnest_view": "0.25", "objective": "mlm+contrastive", "model": "other",
    "classifier": "tuned", "seconds": "7.5", "shard": "2/37",
    "output": {"embed": "other.npy", "annotate": "other.csv", "predict": "other.csv",
               "example": "other.h5ad",
               "perturb": "other.parquet", "network": "other.graphml", "perturb-test": "other.csv",
               "vocabulary build": "other.parquet", "vocabulary sketch": "other.sketch"},
    "groups": "genes.csv", "share": "0.23",
    "freeze_layers": "1", "folds": "7", "validation_share": "0.23", "test_share": "0.23",
    "patience": "7", "search": "7", "min_recognised": "0.23", "dropout": "0.23",
    "label_smoothing": "0.23", "epochs": "7", "gene_column": "other_id", "resume": None,
    "ensembl_release": None,
}  # fmt: skip
# What becomes of values on their way: files are read, names looked up.
ARRIVES_AS = {
    "identifier_column": "symbols.7_at", "ensembl_column": f"{TP53[:-1]}2", "genes": "genes.csv",
    "vocabulary": "ENSG00000000300", "more_genes": "ENSG00000000300", "preset": "d_model=512",
    "shard": "of=37", "groups": "ENSG", "names_from": "small-v2", "gene_column": "other_id",
}  # fmt: skip
# What is said or set for the whole process is held by tests of its own.
ELSEWHERE = {
    "help": "test_every_command_explains_each_of_its_options",
    "quiet": "tests/test_cli.py::test_quiet_is_quiet",
    "json": "tests/test_json.py",
    "help_all": "tests/test_help.py",
    "ensembl_release": "tests/genes/test_tables.py: needs a database of pyensembl",
}


def commands():
    """Name → command, those of groups by both words."""

    def walk(command, name):
        if hasattr(command, "commands"):
            for key, each in command.commands.items():
                yield from walk(each, f"{name} {key}".strip())
        else:
            yield name, command

    return dict(walk(typer.main.get_command(app), ""))


COMMANDS = commands()
OPTIONS = [
    (name, option.name)
    for name, command in COMMANDS.items()
    for option in command.params
    if option.param_type_name == "option" and option.name not in ELSEWHERE
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """What options name."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("model", "other", "tuned"):
        save_small_checkpoint(folder / name, small_vocabulary(), seed=len(name))
    small_vocabulary().save(folder / "vocabulary.parquet")
    small_vocabulary(n_genes=300).save(folder / "more.parquet")
    (folder / "table.csv").write_text(
        f"symbol,probe,ensembl_id,other_id\nTP53,7_at,{TP53},{TP53[:-1]}2\n"
    )
    (folder / "orthologs.txt").write_text(
        "human_ensembl_gene\thuman_symbol\tmouse_ensembl_gene\tmouse_symbol\tsupport\n"
        f"{TP53}\tTP53\tENSMUSG00000059552\tTrp53\tOMA,Panther\n"
    )
    (folder / "genes.csv").write_text(f"ensembl_id,kind,other_id\n{TP53},a,{TP53}\n")
    return folder


def received(words, name, desk, monkeypatch):
    """Everything that the tasks of a command are called with, as flat texts."""
    calls = []
    monkeypatch.chdir(desk)
    with monkeypatch.context() as patched:
        for place, result in {**SHARED, **TASKS[name]}.items():
            module, _, function = place.rpartition(".")
            patched.setattr(
                importlib.import_module(module), function, recorder(place, result, calls)
            )
        patched.setattr(sys, "argv", ["rankformer", *name.split(), *words])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code, words
    assert any(place in TASKS[name] for place, _ in calls)
    return [f"{place} {each}" for place, given in calls for each in flat(given)]


def recorder(place, result, calls):
    def record(*arguments, **settings):
        calls.append((place, (arguments, settings)))
        if place.endswith("whole_or_nothing"):
            return KeepNothing()
        return result

    return record


class KeepNothing:
    def __enter__(self):
        return Path("/dev/null")

    def __exit__(self, *_):
        pass


def flat(value, within=""):
    """Leaves of nested arguments with their names, as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from flat(each, f"{within}.{key}")
    elif isinstance(value, list | tuple | set | frozenset):
        for place, each in enumerate(value):
            yield from flat(each, f"{within}.{place}")
    elif isinstance(value, np.ndarray | torch.Tensor):
        yield f"{within}={value.shape}"
    elif callable(value):
        yield f"{within}={getattr(value, '__name__', value)}"
    else:
        yield f"{within}={value}"


def set_option(option, name):
    """Words that set an option to what is not its default, and a text that must then arrive."""
    flag = max(option.opts, key=len)
    if option.is_flag:
        turned = option.secondary_opts and option.default
        return [option.secondary_opts[0] if turned else flag], str(not option.default)
    given = VALUES.get(option.name)
    given = given.get(name, "elsewhere") if isinstance(given, dict) else given
    if given is None:
        given = made_up(option, name)
    return [flag, given], ARRIVES_AS.get(option.name, given.rpartition("=")[2])


def made_up(option, name):
    """A value of the option's type."""
    signature = inspect.signature(COMMANDS[name].callback)
    kinds = set(kinds_of(get_args(signature.parameters[option.name].annotation)[0]))
    words = [each for each in kinds if isinstance(each, str) and each != option.default]
    if words:
        return max(words)
    return "37" if int in kinds else "0.37" if float in kinds else "made-up"


def kinds_of(hint):
    """``list[Path] | None`` → Path; ``Literal["a", "b"]`` → its words."""
    inner = get_args(hint)
    if not inner:
        yield hint
    for each in inner:
        yield from kinds_of(each)


@pytest.mark.parametrize(("name", "option"), OPTIONS, ids=lambda each: each)
def test_an_option_reaches_what_it_is_for(name, option, desk, monkeypatch):
    (parameter,) = (each for each in COMMANDS[name].params if each.name == option)
    words, expected = set_option(parameter, name)
    base = INSTEAD.get((name, option), BASE[name]).split()
    before = received(BASE[name].split(), name, desk, monkeypatch)
    base = replaced(base, parameter)
    after = received([*base, *words], name, desk, monkeypatch)
    new = [text for text in after if text not in before]
    assert new, f"{' '.join(words)} changes nothing of what {name} does"
    assert any(expected in text for text in new), (expected, new[:5])


def replaced(base, parameter):
    """The words of a command without those that set an option."""
    kept = list(base)
    for flag in parameter.opts:
        if flag in kept:
            place = kept.index(flag)
            del kept[place : place + 2]
    return kept


def test_every_command_is_here():
    assert set(COMMANDS) | {"models"} == set(BASE) == set(TASKS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_each_of_its_options(name, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, shown, _ = command(*name.split(), "--help-all")
    assert status == 0
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), parameter.name
        if parameter.param_type_name == "option":
            assert max(parameter.opts, key=len) in shown


def test_the_help_says_what_a_command_does(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = command("--help")
    for name in COMMANDS:
        assert name.split()[0] in shown
    assert all(inspect.getdoc(each.callback) for each in COMMANDS.values())
