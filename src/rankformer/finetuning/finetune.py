"""Fine-tuning: a checkpoint learns to name classes and numbers of cells, or classes of genes."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.checkpoints.model_folder import AnyModel
from rankformer.errors import OutputError, SettingsError, expect_type
from rankformer.finetuning.card import SCORES_FILE
from rankformer.finetuning.hyperparameters import (
    BACKENDS,
    SEARCHED,
    FineTuningHyperparameters,
)
from rankformer.finetuning.labelled_data import (
    LabelledData,
    check_trained_classes,
    gather_labelled_data,
)
from rankformer.finetuning.run import (
    Data,
    check_hyperparameters,
    describe_run,
    finetune_on,
    settle,
)
from rankformer.finetuning.settings import CellTask, FineTuningSettings, GeneTask
from rankformer.model.device import choose_device
from rankformer.model.precision import choose_dtype
from rankformer.model.spec import CONFIG_FILE
from rankformer.requirements import require_packages
from rankformer.results.metric_names import spoken_name
from rankformer.scratch import check_free, make_folder, whole_or_nothing
from rankformer.tokens.tokenize import Sources, opened_sources
from rankformer.training.cells import gather_training_cells
from rankformer.training.distributed import is_main_process
from rankformer.training.model_card import describe_data
from rankformer.training.run_folder import TrainingRun
from rankformer.training.splits import PartSplit

logger = logging.getLogger(__name__)


def finetune(
    sources: Sources,
    output: str | os.PathLike[str],
    model: AnyModel,
    task: CellTask | GeneTask,
    settings: FineTuningSettings | None = None,
) -> FineTunedModel:
    """Fine-tune a checkpoint on labelled cells, or on cells whose genes are labelled.

    Parameters
    ----------
    sources
        Counts, or tokens that were saved; all of one of the two; one source or a list of them.
    output
        A folder that is not there yet; it appears whole when training is done. The run keeps its
        checkpoints in ``OUTPUT.run`` beside it.
    model
        Where the encoder begins: a checkpoint, a folder or a name, as of `Checkpoint.open`.
    task
        What is to be learned.
    settings
        How; see `FineTuningSettings`.

    Returns
    -------
    The model in `output`. Beside encoder, heads and vocabulary the folder holds the split, the
    predictions of what was not trained on, scores, a card and the record of the run.

    Raises
    ------
    RankformerError
        If sources, labels, model, settings and output do not go together.

    Examples
    --------
    >>> import rankformer
    >>> task = rankformer.CellTask("cell_type", group="donor")
    >>> tuned = rankformer.finetune("pbmc.h5ad", "my-model", "gf-12L-95M-i4096", task)
    >>> tuned.heads[0].classes
    ('B', 'T')
    """
    settings, model = settings or FineTuningSettings(), Checkpoint.open(model)
    if settings.plan.n_folds is not None:
        raise SettingsError(
            "Folds were asked for, of which each makes a model of its own.",
            "One split, to make one model.",
            "Use cross_validate, or leave n_folds out.",
        )
    TrainingRun(Path(output)).check_output(resume=settings.resume)
    with _opened(sources, model, task, settings) as (labelled_data, data):
        (split,) = labelled_data.splits(settings.plan)
        tuned = finetune_on(labelled_data, split, Path(output), model, settings, data)
    if is_main_process():
        TrainingRun(Path(output)).tell_what_is_left()
    return tuned


def cross_validate(
    sources: Sources,
    output: str | os.PathLike[str],
    model: AnyModel,
    task: CellTask | GeneTask,
    settings: FineTuningSettings,
) -> list[FineTunedModel]:
    """As `finetune`, a model for each fold, so that each unit is tested on once.

    Parameters
    ----------
    output
        A folder, which gets a model in ``fold-1`` … and, when all are done, ``scores.json`` with
        the mean and the standard deviation over the folds. With ``settings.resume``, folds that
        are done are not done again.
    sources, model, task, settings
        As for `finetune`; ``settings.plan.n_folds`` says how many.

    Examples
    --------
    >>> import rankformer
    >>> own = rankformer.FineTuningHyperparameters(max_steps=4)
    >>> settings = rankformer.FineTuningSettings(own, plan=rankformer.SplitPlan(n_folds=3))
    >>> task = rankformer.CellTask("cell_type", group="donor")
    >>> models = rankformer.cross_validate("pbmc.h5ad", "folds", "gf-12L-95M-i4096", task, settings)
    >>> len(models)
    3
    """
    output, model = Path(output), Checkpoint.open(model)
    if settings.plan.n_folds is None:
        raise SettingsError(
            "No number of folds was given.", "At least two.", "Set n_folds (--folds)."
        )
    if is_main_process() and not settings.resume:
        check_free(output)
    with _opened(sources, model, task, settings) as (labelled_data, data):
        _check_folds(output)
        splits, models = list(labelled_data.splits(settings.plan)), []
        make_folder(output)
        for fold, split in enumerate(splits, 1):
            models.append(
                _fold(labelled_data, split, output / f"fold-{fold}", model, settings, data)
            )
    if is_main_process():
        _write_fold_scores(output, models)
        for each in models:
            TrainingRun(each.checkpoint.folder).tell_what_is_left()
    return models


def search_hyperparameters(
    sources: Sources,
    model: AnyModel,
    task: CellTask | GeneTask,
    settings: FineTuningSettings | None = None,
    *,
    n_trials: int = 20,
    backend: str = "optuna",
) -> FineTuningHyperparameters:
    """Find the rate, its warm-up, decay and epochs with the least loss on the validation part.

    Parameters
    ----------
    sources, model, task, settings
        As for `finetune`. The test part is not looked at.
    n_trials
        Runs to try.
    backend
        Of `transformers.Trainer.hyperparameter_search`: ``"optuna"`` or ``"ray"``.

    Returns
    -------
    The hyperparameters of `settings` with what was found.

    Examples
    --------
    >>> import rankformer
    >>> task = rankformer.CellTask("cell_type", group="donor")
    >>> best = rankformer.search_hyperparameters("pbmc.h5ad", "gf-12L-95M-i4096", task, n_trials=2)
    >>> settings = rankformer.FineTuningSettings(best)
    """
    settings = settings or FineTuningSettings()
    check_searched(settings)
    model = Checkpoint.open(model)
    if backend in BACKENDS:
        require_packages(backend, extra="search")
    from rankformer.finetuning.hyperparameter_search import search_with_trainer

    with _opened(sources, model, task, settings) as (labelled_data, _):
        split = next(labelled_data.splits(settings.plan))
        check_trained_classes(labelled_data, split)
        scaled = labelled_data.scaled(split.train)
        place = choose_device(settings.device)
        dtype = choose_dtype(settings.dtype, place, model.spec)
        return search_with_trainer(
            scaled, split, model,
            settle(settings, model, len(labelled_data.cells_of(split.train))).hyperparameters,
            device=place, dtype=dtype, n_trials=n_trials, backend=backend,
        )  # fmt: skip


def check_searched(settings: FineTuningSettings) -> None:
    """Refuse a search together with folds.

    Raises
    ------
    SettingsError
        If folds are asked for.
    """
    if settings.plan.n_folds is not None:
        raise SettingsError(
            "A search and folds were asked for together.",
            "One of the two: settings found on one fold has seen what the other folds test on.",
            "Search first without folds (--folds), on other cells if figures are to be reported.",
        )


def found_hyperparameters(
    hyperparameters: FineTuningHyperparameters, output: str | os.PathLike[str]
) -> FineTuningHyperparameters:
    """Hyperparameters with what `search_hyperparameters` found for a run that was begun.

    Raises
    ------
    OutputError
        If none was begun for this output.
    """
    begun = TrainingRun(Path(output)).settings().get("hyperparameters", {})
    return replace(hyperparameters, **{name: begun[name] for name in SEARCHED if name in begun})


@contextmanager
def _opened(
    sources: Sources,
    model: Checkpoint,
    task: CellTask | GeneTask,
    settings: FineTuningSettings,
) -> Iterator[tuple[LabelledData, Data]]:
    """Cells and labels, and what describes the data given the numbers of units."""
    require_packages("transformers", "accelerate", "sklearn", extra="train")
    if settings.hyperparameters.lora_rank is not None:
        require_packages("peft", extra="train")
    expect_type(
        settings, FineTuningSettings, "settings", "FineTuningSettings.",
        "Write FineTuningSettings(hyperparameters).",
    )  # fmt: skip
    expect_type(
        task, (CellTask, GeneTask), "What is to be learned", "A CellTask or a GeneTask.",
        'Name the labels, such as CellTask("cell_type").',
    )  # fmt: skip
    check_hyperparameters(task, settings.hyperparameters)
    logger.info("Reading the cells and their labels.")
    with opened_sources(sources, model.vocabulary, settings.options) as opened:
        labelled_data = gather_labelled_data(gather_training_cells(opened), task)
        yield labelled_data, lambda n_trained, n_held: describe_data(opened, n_trained, n_held)


def _fold(
    labelled_data: LabelledData,
    split: PartSplit,
    output: Path,
    model: Checkpoint,
    settings: FineTuningSettings,
    data: Data,
) -> FineTunedModel:
    """As `finetune_on`; a fold that is done is opened, one that was not begun is begun."""
    run = TrainingRun(output)
    if not (settings.resume and run.folder.exists()):
        return finetune_on(
            labelled_data, split, output, model, replace(settings, resume=False), data
        )
    if not output.exists():
        return finetune_on(labelled_data, split, output, model, settings, data)
    own = settle(settings, model, len(labelled_data.cells_of(split.train)))
    run.expect_same(describe_run(labelled_data.scaled(split.train), split, model, own, data))
    return FineTunedModel.open(output)


def _check_folds(output: Path) -> None:
    if (output / CONFIG_FILE).exists():
        raise OutputError(
            f"{output} holds one model, not those of folds.",
            "A folder that is not there yet, or one of folds to go on with.",
            "Choose another output.",
        )


def _write_fold_scores(output: Path, models: Sequence[FineTunedModel]) -> None:
    scores = [
        json.loads((each.checkpoint.folder / SCORES_FILE).read_text(encoding="utf-8"))["test"]
        for each in models
    ]
    summary: dict[str, Any] = {}
    for name in scores[0]:
        rows = pd.DataFrame([each[name] for each in scores if name in each])
        summary[name] = {"mean": rows.mean().to_dict(), "sd": rows.std(ddof=0).to_dict()}
        told = ", ".join(
            f"{spoken_name(key)} {value:.3f}" for key, value in summary[name]["mean"].items()
        )
        logger.info("%s, mean over %s folds: %s", name, len(rows), told)
    text = json.dumps({"folds": scores, "test": summary}, indent=2) + "\n"
    with whole_or_nothing(output / SCORES_FILE, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")
