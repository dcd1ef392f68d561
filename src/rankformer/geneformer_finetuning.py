"""Fine-tuning behind the interface that users of Helical's Geneformer know. It only delegates."""

import inspect
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rankformer.errors import CheckpointError, SettingsError
from rankformer.geneformer import Geneformer, GeneformerConfig

if TYPE_CHECKING:
    from datasets import Dataset

    from rankformer.checkpoints.finetuned import FineTunedModel
    from rankformer.finetuning.batches import LabelledBatches
    from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
    from rankformer.model.heads import Head, Loss
    from rankformer.model.spec import EncoderSpec
    from rankformer.training.labels import Labels

logger = logging.getLogger(__name__)
_BUILT_IN = ("classification", "regression")
_SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")


class GeneformerFineTuningModel(Geneformer):
    """A Geneformer model with a head, to be trained on a dataset.

    Unlike Helical's, training is in train mode, in shuffled order, and batches are packed.

    Parameters
    ----------
    geneformer_config
        See `GeneformerConfig`; ``batch_size`` is that of training too. With ``emb_mode="cls"`` the
        head reads the ``<cls>`` token of a cell, and else the mean over its genes: with
        ``"gene"``, too, which says what `get_embeddings` gives.
    fine_tuning_head
        ``"classification"``, ``"regression"``, or a module: (n, d_model) → (n, outputs).
    output_size
        Number of classes; 1 for regression. A module knows its own.

    Attributes
    ----------
    fine_tuning_head
        The head as it was trained or loaded last; the built-in ones are a `torch.nn.Linear`.

    Raises
    ------
    CheckpointError, VocabularyError, SettingsError
        If the model is not there, or head and size do not go together.
    """

    def __init__(
        self,
        geneformer_config: GeneformerConfig | None = None,
        fine_tuning_head: Literal["classification", "regression"] | nn.Module = "classification",
        output_size: int | None = None,
    ) -> None:
        super().__init__(geneformer_config or GeneformerConfig())
        n_layers = self.checkpoint.spec.n_layers
        if self.config.emb_layer not in (-1, n_layers):
            raise SettingsError(
                f"emb_layer is {self.config.emb_layer}, and a head is trained on the last layer.",
                f"-1, or {n_layers}.",
                "Leave out GeneformerConfig(emb_layer=…).",
            )
        self.fine_tuning_head = self._make_head(fine_tuning_head, output_size)
        self._described: Head | None = None
        self._mode: Literal["cell", "cls"] = "cls" if self.config.emb_mode == "cls" else "cell"
        self._has_classes = fine_tuning_head == "classification"

    # Longer than 80 lines: Helical's interface has as many arguments to tell of.
    def train(  # noqa: PLR0913  # Helical's interface
        self,
        train_dataset: "Dataset",
        validation_dataset: "Dataset | None" = None,
        label: str = "cell_types",
        epochs: float = 1,
        freeze_layers: int = 2,
        optimizer: "type[Any] | None" = None,
        optimizer_params: Mapping[str, Any] | None = None,
        loss_function: "Callable[..., Any] | None" = None,
        lr_scheduler_params: Mapping[str, Any] | None = None,
    ) -> None:
        """Train encoder and head, going on from where they are.

        Parameters
        ----------
        train_dataset
            From `process_data`, with a column of labels.
        validation_dataset
            Loss and scores on it are logged after each epoch.
        label
            The column: names of classes or whole numbers from 0; numbers for regression. Names
            become the classes of the head in the order of the alphabet.
        epochs
            Times that each cell is seen.
        freeze_layers
            The first so many layers and the embeddings keep their weights; 0 for none, -1 for all.
        optimizer, optimizer_params
            A class of `torch.optim` and its arguments; AdamW at a rate of 1e-4 unless given.
        loss_function
            Of outputs and labels; cross-entropy for classes, the squared error for numbers unless
            given. A head of your own with several outputs gets labels as int64, with one as
            float32.
        lr_scheduler_params
            As of `transformers.get_scheduler`: ``{"name": "linear", "num_warmup_steps": 0,
            "num_training_steps": 100}``, or ``"cosine"``, ``"constant"`` or
            ``"constant_with_warmup"``. Steps are batches; the schedule runs over those of the
            training unless given. Constant without it.

        Raises
        ------
        TokensError, SettingsError
            If dataset, labels and head do not go together.
        """
        from rankformer.finetuning.trainer import make_model, make_trainer, measure_in
        from rankformer.model.device import choose_device
        from rankformer.model.heads import FineTuningLoss
        from rankformer.training.packed_trainer import Draws, training_arguments

        optimizer = optimizer or torch.optim.AdamW
        params = {"lr": 1e-4, **(optimizer_params or {})}
        schedule = _check_schedule(lr_scheduler_params or {})
        hyperparameters = self._hyperparameters(epochs, freeze_layers, optimizer, params, schedule)
        head = self._describe_head(label)
        batches, labels = self._batches(train_dataset, head, is_new=self._described is None)
        if not labels.known.any():
            raise SettingsError(
                f"No cell of train_dataset has a label {label!r}.",
                "Labels to learn.",
                "Name another column (label=…), or another dataset.",
            )
        validation = None
        if validation_dataset is not None:
            held, held_labels = self._batches(validation_dataset, labels.head)
            validation = measure_in(held, np.arange(len(held.cells)), [held_labels])
        encoder = self._trained or self.checkpoint.encoder()
        encoder.requires_grad_(True)
        model = make_model(
            encoder, [self.fine_tuning_head], self.vocabulary, hyperparameters, "cell"
        )
        loss = self._loss(loss_function, is_regression=not labels.head.classes)
        device = choose_device("auto" if self.config.accelerator else self.config.device)
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(
                FineTuningLoss(model, [loss], [1.0]),
                training_arguments(
                    hyperparameters, Path(folder), device=device, dtype=torch.float32,
                    evaluates=validation is not None, saves=False,
                ),
                batches,
                Draws(np.arange(len(batches.cells)), len(batches.cells), hyperparameters.seed),
                validation=validation, optimizer_cls_and_kwargs=(optimizer, params),
                schedule_steps=schedule.get("num_training_steps"),
            )  # fmt: skip
            trainer.train_from(None)
        self._trained, self._embedder, self._described = encoder.eval(), None, labels.head

    def get_outputs(self, dataset: "Dataset") -> NDArray[np.float32]:
        """Outputs of the head: logits of classes, or numbers.

        Returns
        -------
        (n_cells, outputs) float32, in the dataset's order, NaN for a cell without genes.
        """
        from rankformer.checkpoints.finetuned import apply_head
        from rankformer.tokens.tokenized_cells import TokenizedCells

        cells = TokenizedCells.from_dataset(dataset)
        cells.check_fits(self.vocabulary)
        vectors = cast("NDArray[np.float32]", self._embed(cells, self._mode))
        return apply_head(self.fine_tuning_head, vectors)

    def save_model(self, path: str | os.PathLike[str]) -> None:
        """Save as a folder that `load_model` and ``rankformer predict`` read.

        Raises
        ------
        SettingsError
            If the head is a module of another kind than `torch.nn.Linear`.
        OutputError
            If something is there already.
        """
        from rankformer.checkpoints.finetuned import write_finetuned
        from rankformer.checkpoints.save import new_checkpoint

        encoder = self._trained or self.checkpoint.encoder()
        with new_checkpoint(path) as folder:
            write_finetuned(
                folder, encoder, [self._describe_head()], [self.fine_tuning_head], self.vocabulary,
                unit="cell", mode=self._mode,
            )  # fmt: skip

    def load_model(self, path: str | os.PathLike[str]) -> None:
        """Take the weights of encoder and head that `save_model` or ``rankformer finetune`` wrote.

        Raises
        ------
        CheckpointError
            If there is no such model, it is damaged, or does not fit this one.
        """
        from rankformer.checkpoints.finetuned import FineTunedModel

        saved = FineTunedModel.open(path)
        self._check_fits(saved)
        head, module = saved.heads[0], cast("nn.Linear", saved.modules[0])
        with torch.no_grad():
            # Outputs are numbers in their own units.
            module.weight.mul_(head.scale)
            module.bias.mul_(head.scale).add_(head.mean)
        self.fine_tuning_head, self._described = module, replace(head, mean=0.0, scale=1.0)
        self._trained, self._embedder = saved.checkpoint.encoder(), None

    def _check_fits(self, saved: "FineTunedModel") -> None:
        if not isinstance(self.fine_tuning_head, torch.nn.Linear):
            raise CheckpointError(
                f"The head of this model is a {type(self.fine_tuning_head).__name__}, that of "
                f"{saved.checkpoint.folder} a torch.nn.Linear.",
                "A built-in head, or a torch.nn.Linear, in whose place the saved one comes.",
                'Make GeneformerFineTuningModel with fine_tuning_head="classification" or '
                '"regression".',
            )

        def describe(spec: "EncoderSpec", sha256: str, unit: str, mode: str, sizes: Any) -> str:
            return (
                f"{spec.n_layers} layers of width {spec.d_model}, vocabulary {sha256[:8]}, "
                f"a {unit} as mode {mode!r}, outputs {sizes}"
            )

        theirs = describe(
            saved.checkpoint.spec, saved.checkpoint.vocabulary.sha256, saved.unit, saved.mode,
            [head.n_outputs for head in saved.heads],
        )  # fmt: skip
        ours = describe(
            self.checkpoint.spec, self.vocabulary.sha256, "cell", self._mode,
            [self._describe_head().n_outputs],
        )  # fmt: skip
        if theirs != ours:
            raise CheckpointError(
                f"{saved.checkpoint.folder} has {theirs}.",
                f"What this model has: {ours}.",
                "Make GeneformerFineTuningModel with the model_name, emb_mode and output_size that "
                "it was saved with.",
            )

    def _make_head(self, head: Any, output_size: int | None) -> nn.Module:
        from rankformer.model.heads import draw_head

        if isinstance(head, torch.nn.Module):
            return head
        if head not in _BUILT_IN:
            raise SettingsError(
                f"fine_tuning_head is {head!r}.",
                f"One of {', '.join(map(repr, _BUILT_IN))}, or a torch.nn.Module.",
                "Correct fine_tuning_head.",
            )
        n_outputs = output_size or int(head == "regression")
        if (n_outputs < 1) if head == "classification" else (n_outputs != 1):
            raise SettingsError(
                f"output_size is {output_size} for a head of {head}.",
                "The number of classes; 1 for regression.",
                "Correct output_size.",
            )
        if head == "classification" and n_outputs == 1:
            logger.warning("A head of one class has nothing to learn: every cell is of that class.")
        spec = self.checkpoint.spec
        torch.manual_seed(0)
        return draw_head(spec.d_model, n_outputs, spec.initializer_range)

    def _hyperparameters(
        self,
        epochs: float,
        freeze_layers: int,
        optimizer: Any,
        params: Mapping[str, Any],
        schedule: Mapping[str, Any],
    ) -> "FineTuningHyperparameters":
        from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
        from rankformer.requirements import require_packages

        require_packages("transformers", "accelerate", "sklearn", extra="train")
        takes = inspect.signature(optimizer).parameters
        if not any(each.kind == each.VAR_KEYWORD for each in takes.values()):
            _check_names("optimizer_params", params, [name for name in takes if name != "params"])
        decay = takes.get("weight_decay")
        default = 0.0 if decay is None or decay.default is decay.empty else decay.default
        return FineTuningHyperparameters(
            epochs=epochs,
            batch_size=self.config.batch_size,
            freeze_layers=freeze_layers,
            learning_rate=params["lr"],
            weight_decay=params.get("weight_decay", default),
            schedule=schedule["name"],
            warmup_steps=schedule.get("num_warmup_steps", 0),
            mode=self._mode,
            log_steps=10,
        )

    def _batches(
        self, dataset: "Dataset", head: "Head", *, is_new: bool = False
    ) -> "tuple[LabelledBatches, Labels]":
        from rankformer.cells.obs_columns import require_column
        from rankformer.finetuning.batches import LabelledBatches
        from rankformer.tokens.token_sources import SavedTokens
        from rankformer.tokens.tokenized_cells import TokenizedCells
        from rankformer.training.cells import TokenCells
        from rankformer.training.dataset_labels import read_dataset_labels

        cells = TokenizedCells.from_dataset(dataset)
        cells.check_fits(self.vocabulary)
        table = cells.table.drop_columns(["input_ids"]).to_pandas()
        require_column(table, head.name, "label", "The dataset")
        labels = read_dataset_labels(table[head.name], head, is_new=is_new)
        source = SavedTokens(Path("dataset"), cells, self.vocabulary)
        return LabelledBatches(TokenCells([source]), labels.truth[None]), labels

    def _describe_head(self, label: str | None = None) -> "Head":
        """What the head predicts: as it was trained or loaded, else by the number of outputs."""
        if self._described is not None:
            return replace(self._described, name=label or self._described.name)
        from rankformer.model.heads import Head

        device = next(
            (each.device for each in self.fine_tuning_head.parameters()), torch.device("cpu")
        )
        vectors = torch.zeros(2, self.checkpoint.spec.d_model, device=device)
        with torch.no_grad():
            n_outputs = int(deepcopy(self.fine_tuning_head).eval()(vectors).shape[1])
        if n_outputs == 1 and not self._has_classes:
            return Head(label or "label")
        return Head(label or "label", tuple(map(str, range(n_outputs))))

    def _loss(self, function: "Callable[..., Any] | None", *, is_regression: bool) -> "Loss":
        from rankformer.model.heads import cross_entropy, squared_error

        if function is None:
            return squared_error if is_regression else cross_entropy()
        given = function

        def loss(outputs: Any, truth: Any) -> Any:
            known = ~truth.isnan()
            outputs, truth = outputs[known], truth[known]
            if outputs.shape[1] > 1:
                return given(outputs, truth.long())
            # One column beside a row of labels would be spread out to a square.
            return given(outputs.squeeze(1), truth)

        return loss


def _check_names(argument: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    odd = [name for name in given if name not in known]
    if odd:
        raise SettingsError(
            f"{argument} has {odd[0]!r}.",
            f"Of {', '.join(known)}.",
            f"Correct {argument}.",
        )


def _check_schedule(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a schedule, with its name."""
    _check_names("lr_scheduler_params", given, ["name", "num_warmup_steps", "num_training_steps"])
    name = given.get("name", "constant")
    if name not in _SCHEDULES:
        raise SettingsError(
            f"lr_scheduler_params has the name {name!r}.",
            f"One of {', '.join(_SCHEDULES)}.",
            "Correct lr_scheduler_params.",
        )
    for key, least in (("num_warmup_steps", 0), ("num_training_steps", 1)):
        steps = given.get(key, least)
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < least:
            raise SettingsError(
                f"lr_scheduler_params has {key} {steps!r}.",
                f"A whole number of steps, at least {least}.",
                "Correct lr_scheduler_params.",
            )
    if name == "constant":
        return {"name": "constant_with_warmup", "num_warmup_steps": 0}
    return {**given, "name": name}
