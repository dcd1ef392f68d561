"""Pretraining: a model from scratch, or a checkpoint that goes on with other cells."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.model_folder import AnyModel, AnyVocabulary, open_vocabulary
from rankformer.checkpoints.registry import require_model
from rankformer.checkpoints.save import save_checkpoint
from rankformer.errors import SettingsError, expect_type
from rankformer.model.device import choose_device
from rankformer.model.encoder import Encoder, MaskedLanguageModel
from rankformer.model.precision import choose_dtype
from rankformer.model.resize import resize_token_embeddings
from rankformer.model.spec import EncoderSpec
from rankformer.pretraining.batches import MaskedBatches
from rankformer.pretraining.hyperparameters import (
    PretrainingHyperparameters,
    check_views,
    published_hyperparameters,
    settle_pretraining,
    tell_what_takes_no_part,
)
from rankformer.pretraining.initialization import initialize_from_coexpression
from rankformer.pretraining.loss import PretrainingLoss
from rankformer.pretraining.parts import PartsOfWidth
from rankformer.pretraining.settings import PretrainingSettings
from rankformer.pretraining.standardization import standardize_cells
from rankformer.requirements import require_packages
from rankformer.tokens.token_sources import TokenSource
from rankformer.tokens.tokenize import Sources, opened_sources
from rankformer.training.cells import CountedCells, TokenCells, TrainingCells, gather_training_cells
from rankformer.training.distributed import world_size
from rankformer.training.hyperparameters import tell_what_was_settled
from rankformer.training.model_card import (
    describe_data,
    describe_training,
    markdown_table,
    write_documents,
)
from rankformer.training.run_folder import TrainingRun
from rankformer.training.splits import Split, hold_out_cells, hold_out_groups
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)
_SIZES = ("n_layers", "d_model", "n_heads", "d_ff")
_OF_THE_VOCABULARY = ("vocab_size", "max_positions", "pad_token")


def draw_model(
    vocabulary: AnyVocabulary, shape: Mapping[str, Any], seed: int
) -> MaskedLanguageModel:
    """A model of random weights to pretrain: for nothing else.

    Parameters
    ----------
    vocabulary
        Its size and input length are the model's.
    shape
        ``n_layers``, ``d_model``, ``n_heads``, ``d_ff`` and other fields of `EncoderSpec`.
    seed
        Of the weights.

    Raises
    ------
    SettingsError
        If a size is below 1, or the heads do not divide the width.

    Examples
    --------
    >>> import rankformer
    >>> vocabulary = rankformer.build_vocabulary("pbmc.h5ad", names_from="gf-12L-95M-i4096")
    >>> shape = {"n_layers": 2, "d_model": 64, "n_heads": 2, "d_ff": 128}
    >>> model = rankformer.draw_model(vocabulary, shape, seed=0)
    """
    vocabulary = open_vocabulary(vocabulary)
    _check_names(shape)
    spec = EncoderSpec(
        vocab_size=vocabulary.size, max_positions=vocabulary.input_length,
        pad_token=vocabulary.pad_token, **shape,
    )  # fmt: skip
    _check_shape(spec)
    torch.manual_seed(seed)
    return MaskedLanguageModel(Encoder(spec))


def _check_names(shape: Mapping[str, Any]) -> None:
    known = {each.name for each in fields(EncoderSpec)} - set(_OF_THE_VOCABULARY)
    if not set(_SIZES) <= set(shape) <= known:
        more = ", ".join(sorted(known - set(_SIZES)))
        raise SettingsError(
            f"The shape has {', '.join(map(str, shape)) or 'no fields'}.",
            f"{', '.join(_SIZES)}; where they are to be other than usual also {more}.",
            'Name them, such as {"n_layers": 6, "d_model": 256, "n_heads": 4, "d_ff": 512}: those '
            "of gf-6L-30M-i2048.",
        )


def _check_shape(spec: EncoderSpec) -> None:
    sizes = {name: getattr(spec, name) for name in _SIZES}
    if min(sizes.values()) < 1 or spec.d_model % spec.n_heads:
        raise SettingsError(
            f"The shape is {', '.join(f'{name} {size}' for name, size in sizes.items())}.",
            "Sizes of 1 and more, and a d_model that the heads divide evenly.",
            "Correct --layers, --width, --heads and --feed-forward.",
        )


def published_shape(name: str) -> dict[str, Any]:
    """The shape of a published model, for `draw_model`.

    Raises
    ------
    CheckpointError
        If no model goes by this name.
    """
    model = require_model(name)
    return {
        "n_layers": model.n_layers, "d_model": model.d_model, "n_heads": model.n_heads,
        "d_ff": model.d_ff, "dropout": model.dropout, "attention_dropout": model.dropout,
    }  # fmt: skip


def continue_model(
    checkpoint: AnyModel, more_genes: AnyVocabulary | None = None
) -> tuple[MaskedLanguageModel, Vocabulary]:
    """A checkpoint's model to train on, its vocabulary grown by genes that another one has more.

    Returns
    -------
    The model, and the vocabulary that it has now. Tokens and medians of the checkpoint's own genes
    stay as they are.

    Examples
    --------
    >>> import rankformer
    >>> more_genes = rankformer.build_vocabulary("pbmc.h5ad", names_from="gf-12L-95M-i4096")
    >>> model, vocabulary = rankformer.continue_model("gf-12L-95M-i4096", more_genes)
    """
    checkpoint = Checkpoint.open(checkpoint)
    model, vocabulary = checkpoint.masked_language_model(), checkpoint.vocabulary
    if more_genes is None:
        return model, vocabulary
    vocabulary = vocabulary.grow(open_vocabulary(more_genes))
    return resize_token_embeddings(model, vocabulary.size), vocabulary


def pretrain(
    sources: Sources,
    output: str | os.PathLike[str],
    model: MaskedLanguageModel | AnyModel,
    vocabulary: AnyVocabulary | None = None,
    settings: PretrainingSettings | None = None,
) -> Checkpoint:
    """Train a model to name masked genes, on packed batches.

    Under ``torchrun`` each process trains on its share of every batch, and the first one writes.

    Parameters
    ----------
    sources
        Counts, or tokens that were saved; all of one of the two; one source or a list of them.
        Counts are read in blocks as they are needed, so memory does not grow with the cells.
    output
        A folder that is not there yet; it appears whole when training is done. The run keeps its
        checkpoints in ``OUTPUT.run`` beside it, each of them complete.
    model, vocabulary
        From `draw_model` or `continue_model`; the model is trained in place. Or the name or folder
        of a model to go on from, which has its own vocabulary.
    settings
        How and where; see `PretrainingSettings`.

    Returns
    -------
    The checkpoint in `output`.

    Raises
    ------
    RankformerError
        If sources, model, settings and output do not go together.

    Examples
    --------
    >>> import rankformer
    >>> own = rankformer.PretrainingHyperparameters(max_steps=4, warmup_steps=1, batch_size=4)
    >>> settings = rankformer.PretrainingSettings(own)
    >>> adapted = rankformer.pretrain(
    ...     "pbmc.h5ad", "adapted", "gf-12L-95M-i4096", settings=settings
    ... )
    """
    require_packages("transformers", "accelerate", extra="train")
    settings = settings or PretrainingSettings()
    expect_type(
        settings, PretrainingSettings, "settings", "PretrainingSettings.",
        "Write PretrainingSettings(hyperparameters).",
    )  # fmt: skip
    model, vocabulary, name = _to_train(model, vocabulary)
    settings = replace(
        settings,
        begun_from=settings.begun_from or name,
        hyperparameters=settings.hyperparameters or published_hyperparameters(vocabulary),
    )
    # Checkpoints and the log take no part in what is learned.
    run = TrainingRun(
        Path(output), free=("hyperparameters.log_steps", "hyperparameters.save_steps")
    )
    run.check_output(resume=settings.resume)
    with opened_sources(sources, vocabulary, settings.options) as opened:
        _train(run, opened, model, vocabulary, settings)
    return Checkpoint.open(output)


def _train(
    run: TrainingRun,
    sources: Sequence[TokenSource],
    model: MaskedLanguageModel,
    vocabulary: Vocabulary,
    settings: PretrainingSettings,
) -> None:
    """Train on sources that are open, and write the model."""
    from rankformer.training.packed_trainer import begin_run, training_arguments

    cells = gather_training_cells(sources)
    asked = cast("PretrainingHyperparameters", settings.hyperparameters)
    rows, held_out = _split(cells, asked)
    own = settle_pretraining(asked, vocabulary, len(rows), world_size())
    check_views(own, vocabulary)
    # Only what begins from co-expression has parts.
    parts = PartsOfWidth.of(model.encoder.spec) if own.coexpression else None
    tell_what_was_settled(asked, own, f"{len(rows):,} cells")
    tell_what_takes_no_part(own)
    data = describe_data(sources, len(rows), len(held_out))
    describe = partial(
        describe_training, **data, hyperparameters=asdict(own), begun_from=str(settings.begun_from)
    )
    write = _make_writer(run.output.name, model, vocabulary, describe, settings.words)
    device = choose_device(settings.device)
    arguments = training_arguments(
        own, run.folder, device=device,
        dtype=choose_dtype(settings.dtype, device, model.encoder.spec),
        n_workers=settings.n_workers, evaluates=bool(len(held_out)),
    )  # fmt: skip
    bound = {
        "hyperparameters": asdict(own),
        "model": model.encoder.spec.to_config(),
        "vocabulary_sha256": vocabulary.sha256,
        "data": data,
    }
    last = begin_run(run, arguments, bound, resume=settings.resume)
    if own.coexpression and last is None:
        initialize_from_coexpression(model, cells, rows, own.seed)
    trainer = _make_trainer(model, parts, cells, (rows, held_out), own, arguments, write)
    with run.told_when_stopped():
        trainer.train_from(last)
        trainer.evaluate_at_the_end()
    if trainer.is_world_process_zero():
        if own.objective == "mlm+contrastive":
            standardize_cells(model, cells, rows, own.seed, parts)
        write(run.output, trainer.state.log_history)
        run.tell_what_is_left()
    trainer.accelerator.wait_for_everyone()


def _make_trainer(
    model: MaskedLanguageModel,
    parts: PartsOfWidth | None,
    cells: CountedCells | TokenCells,
    split: Split,
    hyperparameters: PretrainingHyperparameters,
    arguments: Any,
    write: Callable[[Path, Sequence[Mapping[str, Any]]], None],
) -> Any:
    from rankformer.pretraining.trainer import make_trainer

    model.encoder.recompute = hyperparameters.recompute
    two_views = hyperparameters.objective == "mlm+contrastive"
    loss = PretrainingLoss(
        model,
        list(cells.vocabulary.special_tokens.values()),
        hyperparameters.contrast_weight if two_views else 0.0,
        parts,
    )
    batches = MaskedBatches(
        cells,
        hyperparameters.seed,
        hyperparameters.masked_share,
        two_views=two_views,
        thinnest_view=hyperparameters.thinnest_view,
        shortest_view=hyperparameters.shortest_view,
    )
    return make_trainer(loss, arguments, batches, *split, write)


def _to_train(
    model: MaskedLanguageModel | AnyModel, vocabulary: AnyVocabulary | None
) -> tuple[MaskedLanguageModel, Vocabulary, str]:
    """The model, its vocabulary, and what it was before."""
    if isinstance(model, MaskedLanguageModel):
        if vocabulary is None:
            raise SettingsError(
                "No vocabulary was given with the module to train.",
                "The vocabulary that draw_model was given or continue_model gave back.",
                "Pass it as vocabulary, or name a model instead of the module.",
            )
        return model, open_vocabulary(vocabulary), "the module that was given"
    if vocabulary is not None:
        raise SettingsError(
            "A vocabulary was given together with the name of a model.",
            "The model alone, which has a vocabulary of its own.",
            "Leave vocabulary out; continue_model(model, vocabulary) adds genes to a model.",
        )
    checkpoint = Checkpoint.open(model)
    return *continue_model(checkpoint), checkpoint.name


def _make_writer(
    name: str,
    model: MaskedLanguageModel,
    vocabulary: Vocabulary,
    describe: Callable[..., dict[str, Any]],
    words: str,
) -> Callable[[Path, Sequence[Mapping[str, Any]]], None]:
    """What writes the model as it is, with its card, given a folder and the log of the run."""
    from rankformer.training.packed_trainer import expect_finite_weights

    def write(folder: Path, log: Sequence[Mapping[str, Any]]) -> None:
        expect_finite_weights(model)
        record = describe(log=log)
        documents = write_documents(
            name, model.encoder.spec, record,
            words=words or "A Geneformer encoder, trained with rankformer.",
            objective=_describe_objective(record["hyperparameters"]),
            sections=[("Masked genes of held-out cells", _evaluation_table(log))],
        )  # fmt: skip
        save_checkpoint(folder, model, vocabulary, documents)

    return write


def _describe_objective(hyperparameters: Mapping[str, Any]) -> str:
    masked = f"{hyperparameters['masked_share']:.0%} of the genes masked"
    return f"Objective {hyperparameters['objective']}, {masked}."


def _evaluation_table(log: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (f"{int(each['step']):,}", f"{each['eval_loss']:.4f}", f"{each['eval_accuracy']:.2%}")
        for each in log
        if "eval_loss" in each
    ]
    return markdown_table(("step", "loss, nats", "accuracy"), rows)


def _split(cells: TrainingCells[Any], hyperparameters: PretrainingHyperparameters) -> Split:
    rows = np.flatnonzero(cells.kept)
    if len(rows) < max(hyperparameters.batch_size, 2):
        raise SettingsError(
            f"There are {len(rows):,} cells.",
            f"At least one batch of {hyperparameters.batch_size} cells.",
            "Lower batch_size (--batch-size), or give more cells.",
        )
    if hyperparameters.held_out_by is None:
        return hold_out_cells(rows, hyperparameters.held_out_share, hyperparameters.seed)
    if hyperparameters.held_out_by not in cells.obs:
        raise SettingsError(
            f"obs has no column {hyperparameters.held_out_by!r} in all inputs.",
            f"One of {', '.join(map(str, cells.obs.columns)) or '(none)'}.",
            "Correct held_out_by (--held-out-by).",
        )
    groups = cells.obs[hyperparameters.held_out_by].iloc[rows]
    return hold_out_groups(rows, groups, hyperparameters.held_out_share, hyperparameters.seed)
