"""What a command hands on when many of its options are given at once: the whole, item by item."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rankformer import (
    CellTask,
    FineTuningHyperparameters,
    FineTuningSettings,
    PretrainingHyperparameters,
    SplitPlan,
)
from rankformer.annotate.settings import AnnotateJob, Labelling
from rankformer.cli import main
from rankformer.cores import usable_cores
from rankformer.embed.settings import EmbedJob
from rankformer.finetuning.settings import GeneTask
from rankformer.pretraining.hyperparameters import published_hyperparameters
from rankformer.pretraining.pretrain import published_shape
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.runs.settings import TokenizeJob
from rankformer.show import summary_screen
from rankformer.summary import Summary
from rankformer.tokens.reading_options import ReadingOptions
from tests.conftest import save_small_checkpoint, small_vocabulary

READING = (
    "--layer counts --undo-log1p --no-check --gene-ids symbol --min-recognised 0.2 --threads 1"
)
OPTIONS = ReadingOptions(
    layer="counts", undo_log1p=True, check=False, gene_ids="symbol", min_recognised=0.2, n_threads=1
)
FILES = [Path("a.h5ad"), Path("b.h5ad")]
FINETUNING = (
    "finetune a.h5ad b.h5ad -o out -m model --label kind --label stage --regress age "
    "--label-weight 1 --label-weight 0.5 --label-weight 0.25 --unlabelled none --unlabelled other "
    "--group donor --mode cls --freeze-layers 1 --dropout 0.3 --class-weights "
    "--balanced-sampling --label-smoothing 0.1 --patience 4 --epochs 7 --max-steps 90 "
    "--batch-size 5 --accumulation 2 --learning-rate 0.002 --schedule cosine --warmup-steps 9 "
    "--weight-decay 0.04 --evaluate-steps 8 --log-steps 6 --recompute --seed 11 "
    f"--validation-share 0.15 --test-share 0.25 --device cuda:3 --dtype bfloat16 --workers 3 "
    f"{READING}"
)
TASK = CellTask(("kind", "stage"), ("age",), (1.0, 0.5, 0.25), ("none", "other"), "donor")
RECIPE = FineTuningHyperparameters(
    mode="cls", freeze_layers=1, dropout=0.3, class_weights=True, balanced_sampling=True,
    label_smoothing=0.1, patience=4, epochs=7.0, max_steps=90, batch_size=5, accumulation=2,
    learning_rate=0.002, schedule="cosine", warmup_steps=9, weight_decay=0.04, evaluate_steps=8,
    save_steps=8, log_steps=6, recompute=True, seed=11,
)  # fmt: skip
SETTINGS = FineTuningSettings(
    hyperparameters=RECIPE, plan=SplitPlan(0.15, 0.25, None, 11), options=OPTIONS, device="cuda:3",
    dtype="bfloat16", n_workers=3, resume=False,
)  # fmt: skip

# Where the functions of tasks are that commands call.
HOMES = {
    "annotate_files": "annotate.files",
    "check_gene_report": "results.gene_report",
    "check_searched": "finetuning.finetune",
    "continue_model": "pretraining.pretrain",
    "cross_validate": "finetuning.finetune",
    "draw_model": "pretraining.pretrain",
    "embed_files": "embed.files",
    "finetune": "finetuning.finetune",
    "found_hyperparameters": "finetuning.finetune",
    "pretrain": "pretraining.pretrain",
    "search_hyperparameters": "finetuning.finetune",
    "tokenize_files": "runs.token_runs",
    "write_gene_report": "results.gene_report",
}


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Run a command line with functions of its task replaced: what these were called with."""
    save_small_checkpoint(tmp_path / "model", small_vocabulary())
    small_vocabulary(n_genes=60).save(tmp_path / "genes.parquet")
    monkeypatch.chdir(tmp_path)
    found = {"threads": [], "summaries": []}
    monkeypatch.setattr(torch, "set_num_threads", found["threads"].append)

    def text(summary, *_):
        found["summaries"].append(summary)
        return ""

    monkeypatch.setattr(summary_screen, "summary_text", text)

    def run(words, **answers):
        for name, answer in answers.items():
            found[name] = []
            home = importlib.import_module(f"rankformer.{HOMES[name]}")
            monkeypatch.setattr(home, name, recorder(found[name], answer))
        monkeypatch.setattr(sys, "argv", ["rankformer", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return found

    return run


def recorder(calls, answer):
    def record(*arguments, **settings):
        calls.append((arguments, settings))
        return answer

    return record


def test_finetune(calls):
    found = calls(FINETUNING, finetune=None, cross_validate=None)
    [((files, output, checkpoint, task, settings), more)] = found["finetune"]
    assert (files, output, checkpoint.folder, more) == (FILES, Path("out"), Path("model"), {})
    assert (task, settings) == (TASK, SETTINGS)
    assert found["cross_validate"] == []
    assert found["threads"] == [min(1, usable_cores())]
    assert [each.path for each in found["summaries"][-1].written] == [Path("out")]


def test_finetune_by_folds(calls):
    words = f"{FINETUNING} --folds 4 --resume"
    found = calls(words, finetune=None, cross_validate=None)
    [((files, output, checkpoint, task, settings), more)] = found["cross_validate"]
    assert (files, output, checkpoint.folder, more) == (FILES, Path("out"), Path("model"), {})
    expected = replace(SETTINGS, plan=SplitPlan(0.15, 0.25, 4, 11), resume=True)
    assert (task, settings) == (TASK, expected)
    assert found["finetune"] == []


def test_finetune_takes_the_recipe_that_was_searched(calls):
    best = replace(RECIPE, learning_rate=0.5)
    words = FINETUNING.replace(" --max-steps 90", "")
    asked = replace(SETTINGS, hyperparameters=replace(RECIPE, max_steps=None))
    found = calls(
        f"{words} --search 5",
        finetune=None, search_hyperparameters=best, check_searched=None,
    )  # fmt: skip
    assert found["check_searched"] == [((asked,), {})]
    [((files, checkpoint, task, settings), more)] = found["search_hyperparameters"]
    assert (files, checkpoint.folder, more) == (FILES, Path("model"), {"n_trials": 5})
    assert (task, settings) == (TASK, asked)
    assert found["finetune"][0][0][-1] == replace(asked, hyperparameters=best)
    found = calls(
        f"{words} --search 5 --resume",
        finetune=None, search_hyperparameters=None, check_searched=None,
        found_hyperparameters=best,
    )  # fmt: skip
    assert found["search_hyperparameters"] == []
    assert found["found_hyperparameters"] == [((asked.hyperparameters, Path("out")), {})]
    assert found["finetune"][0][0][-1] == replace(asked, hyperparameters=best, resume=True)


def test_finetune_on_genes(calls):
    words = "finetune a.h5ad -o out -m model --genes genes.csv --label kind"
    found = calls(words, finetune=None)
    assert found["finetune"][0][0][3] == GeneTask(Path("genes.csv"), "ensembl_id", "kind", ())
    found = calls(f"{words} --gene-column id --unlabelled none", finetune=None)
    assert found["finetune"][0][0][3] == GeneTask(Path("genes.csv"), "id", "kind", ("none",))


@pytest.mark.parametrize(
    "more", ["", "--label a --label b", "--label a --regress b", "--label a --label-weight 1",
             "--label a --group b"],
)  # fmt: skip
def test_genes_have_one_label_and_nothing_of_cells(command, more):
    words = f"finetune a.h5ad -o out -m rankformer-mini --genes genes.csv {more}".split()
    status, _, said = command(*words)
    assert status == 2
    assert "Beside --genes, other than one --label was given" in said


def test_pretrain_from_scratch(calls):
    words = (
        "pretrain a.h5ad b.h5ad -o out --vocabulary genes.parquet --preset gf-6L-30M-i2048 "
        "--layers 3 --width 64 --heads 2 --feed-forward 96 --coexpression "
        "--objective mlm+contrastive --contrast-weight 0.7 --thinnest-view 0.2 --shortest-view 40 "
        "--epochs 7 --max-steps 90 --batch-size 5 --accumulation 2 --learning-rate 0.002 "
        "--schedule linear --warmup-steps 9 --weight-decay 0.04 --held-out-share 0.3 "
        "--held-out-by donor --save-steps 8 --evaluate-steps 12 --log-steps 6 --recompute "
        "--seed 11 --resume "
        f"--device cuda:3 --dtype bfloat16 --workers 3 {READING}"
    )
    found = calls(words, pretrain=None, draw_model="a network")
    shape = {"n_layers": 3, "d_model": 64, "n_heads": 2, "d_ff": 96}
    genes = small_vocabulary(n_genes=60)
    [((vocabulary, drawn, seed), _)] = found["draw_model"]
    assert vocabulary.sha256 == genes.sha256
    assert (drawn, seed) == ({**published_shape("gf-6L-30M-i2048"), **shape}, 11)
    [((files, output, network, vocabulary, settings), _)] = found["pretrain"]
    assert (files, output, network) == (FILES, Path("out"), "a network")
    assert vocabulary.sha256 == genes.sha256
    assert settings == PretrainingSettings(
        hyperparameters=PretrainingHyperparameters(
            objective="mlm+contrastive", contrast_weight=0.7, thinnest_view=0.2,
            shortest_view=40, epochs=7.0,
            max_steps=90, batch_size=5, accumulation=2, learning_rate=0.002, schedule="linear",
            warmup_steps=9, weight_decay=0.04, held_out_share=0.3, held_out_by="donor",
            save_steps=8, evaluate_steps=12, log_steps=6, recompute=True, seed=11,
            coexpression=True,
        ),
        options=OPTIONS, device="cuda:3", dtype="bfloat16", n_workers=3,
        resume=True, begun_from="random weights",
    )  # fmt: skip
    assert found["threads"] == [min(1, usable_cores())]
    assert [each.path for each in found["summaries"][-1].written] == [Path("out")]


def test_pretrain_with_nothing_but_a_shape(calls):
    words = (
        "pretrain a.h5ad -o out --vocabulary genes.parquet --layers 1 --width 8 --heads 1 "
        "--feed-forward 9"
    )
    found = calls(words, pretrain=None, draw_model="a network")
    shape = {"n_layers": 1, "d_model": 8, "n_heads": 1, "d_ff": 9}
    assert found["draw_model"][0][0][1:] == (shape, 0)
    [((*_, settings), _)] = found["pretrain"]
    assert settings.hyperparameters == published_hyperparameters(small_vocabulary())
    assert (settings.options, settings.resume, settings.n_workers) == (ReadingOptions(), False, 0)


def test_pretrain_from_a_checkpoint(calls):
    genes = small_vocabulary(n_genes=60)
    words = "pretrain a.h5ad -o out --model model --more-genes genes.parquet"
    found = calls(
        words,
        pretrain=None,
        continue_model=("a network", genes),
    )
    [((checkpoint, more_genes), _)] = found["continue_model"]
    assert (checkpoint.folder, more_genes.sha256) == (Path("model"), genes.sha256)
    [((_, _, network, vocabulary, settings), _)] = found["pretrain"]
    assert (network, vocabulary, settings.begun_from) == ("a network", genes, "model")
    found = calls(
        "pretrain a.h5ad -o out --model model",
        pretrain=None, continue_model=("a network", genes),
    )  # fmt: skip
    assert found["continue_model"][0][0][1] is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--more-genes genes.parquet", "--more-genes was given without --model"),
        ("--model rankformer-mini --coexpression", "--coexpression was given with --model"),
    ],
)
def test_what_the_other_way_to_begin_would_not_read_is_refused(command, words, told):
    status, _, said = command("pretrain", "a.h5ad", "-o", "out", *words.split())
    assert status == 2
    assert told in said


MODEL = "--emb-layer -2 --layer-numbering published --device cuda:3 --dtype float16 --batch-size 6"
EMBEDDER = {
    "emb_layer": -2, "layer_numbering": "published", "device": "cuda:3", "dtype": "float16",
    "batch_size": 6,
}  # fmt: skip


def test_embed(calls):
    words = (
        "embed a.h5ad b.h5ad -o out.parquet -m model --mode gene --summary mean --key X_new "
        f"--overwrite {MODEL} {READING}"
    )
    found = calls(words, embed_files=Summary())
    job = EmbedJob(
        sources=tuple(FILES), output=Path("out.parquet"), mode="gene", summary="mean",
        key="X_new", overwrite=True,
    )  # fmt: skip
    assert found["embed_files"] == [((job, "model", OPTIONS), EMBEDDER)]
    assert found["threads"] == [min(1, usable_cores())]
    found = calls("embed a.h5ad -o out.npy -m model", embed_files=Summary())
    assert found["embed_files"][0][0][0] == EmbedJob(sources=(FILES[0],), output=Path("out.npy"))


def test_annotate(calls):
    words = (
        "annotate a.h5ad b.h5ad -r r.h5ad -r s.h5ad -o out.csv -m model --label kind --label stage "
        "--key k --key s --mode cls --n-neighbors 9 --min-share 0.3 --distance-quantile 0.8 "
        "--method pca --group donor --all-genes --probabilities --majority-vote computed "
        "--max-doubt 1.7 --integrate harmony "
        f"--no-shift --unlabelled none --save-reference saved --overwrite {MODEL} {READING}"
    )
    found = calls(words, annotate_files=Summary())
    job = AnnotateJob(
        queries=tuple(FILES), references=(Path("r.h5ad"), Path("s.h5ad")), output=Path("out.csv"),
        labels=("kind", "stage"), keys=("k", "s"), mode="cls",
        vote=Labelling(
            n_neighbors=9, min_share=0.3, distance_quantile=0.8, allow_shift=False,
            method="pca", group="donor", share_genes=False, probabilities=True,
            majority_vote="computed", max_doubt=1.7, integrate="harmony",
        ), unlabelled=("none",), save_to=Path("saved"),
        overwrite=True,
    )  # fmt: skip
    assert found["annotate_files"] == [((job, "model", OPTIONS), EMBEDDER)]
    assert found["threads"] == [min(1, usable_cores())]


def test_tokenize(calls):
    words = f"tokenize a.h5ad b.h5ad -o out -m model --attribute kind=cell_type {READING}"
    found = calls(words, tokenize_files=Summary())
    options = replace(OPTIONS, attributes={"kind": "cell_type"})
    job = TokenizeJob(sources=tuple(FILES), output=Path("out"))
    assert found["tokenize_files"] == [((job, "model", options), {})]


@pytest.mark.parametrize("name", ["embed", "annotate -r r.h5ad", "tokenize"])
def test_the_report_on_genes_is_checked_before_the_work_and_written_after(calls, name):
    command, *more = name.split()
    words = f"{command} a.h5ad b.h5ad -o out.npy -m model --gene-report genes.tsv"
    overwrites = {"overwrite": command != "tokenize"}
    more += ["--overwrite"] if overwrites["overwrite"] else []
    summary = Summary(figures={"n_cells": 3}, sources=["a stream"])
    found = calls(
        " ".join([words, *more]), **{f"{command}_files": summary},
        check_gene_report=None, write_gene_report=None,
    )  # fmt: skip
    assert [each.path for each in found["summaries"][-1].written] == [Path("genes.tsv")]
    [((path, files), settings)] = found["check_gene_report"]
    assert (path, list(files), settings) == (Path("genes.tsv"), FILES, overwrites)
    assert found["write_gene_report"] == [((Path("genes.tsv"), ["a stream"]), overwrites)]


def test_a_checkpoint_that_is_not_there_ends_before_the_cells_are_read(command):
    status, _, said = command(
        "finetune", "a.h5ad", "-o", "out", "-m", "no-such-model", "--label", "kind"
    )
    assert status == 2
    assert "'no-such-model' is neither a folder nor a known model" in said
