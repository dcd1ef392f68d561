"""What is done beside the training: checkpoints written and bound, steps shown and logged."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rankformer.progress import show_progress
from rankformer.results.metric_names import spoken_name
from rankformer.training.run_folder import bind_checkpoint

logger = logging.getLogger(__name__)
WriteModel = Callable[[Path, Sequence[dict[str, Any]]], object]


class WriteCheckpoints(TrainerCallback):
    """Puts a complete model, in the folder ``model``, into each checkpoint of the Trainer."""

    def __init__(self, write: WriteModel) -> None:
        self._write = write

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / "model"
            self._write(folder, state.log_history)


class BindCheckpoints(TrainerCallback):
    """Writes the hashes of a checkpoint's files, when all else is there."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            bind_checkpoint(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


class KeepOwnSteps(TrainerCallback):
    """Takes the steps between lines, checkpoints and evaluations that were asked for.

    The Trainer would take those of the run that it goes on with.
    """

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        state.logging_steps = int(args.logging_steps)
        state.save_steps = int(args.save_steps)
        state.eval_steps = int(args.eval_steps or args.logging_steps)


class JudgeLastStep(TrainerCallback):
    """Evaluates and keeps the last step too, where it is no multiple of the steps between.

    Where that is done by epochs, the last ends with it.
    """

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate |= args.eval_strategy == "steps"
            control.should_save |= args.save_strategy == "steps"


class ShowSteps(TrainerCallback):
    """Shows how many steps are done, from the first on, until `shown` is closed."""

    def __init__(self, shown: ExitStack) -> None:
        self._shown = shown

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            steps = show_progress(
                state.max_steps, "Training", unit="steps", n_before=state.global_step
            )
            self._advance = self._shown.enter_context(steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            self._advance(1)


class LogProgress(TrainerCallback):
    """Says the loss, the rate and the time left, in the log."""

    def __init__(self) -> None:
        self._began, self._first_step = 0.0, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._began, self._first_step = time.monotonic(), state.global_step
        if not state.is_world_process_zero:
            return
        n_steps = f"{state.max_steps:,}"
        if state.global_step >= state.max_steps:
            logger.info("All %s steps of the training were taken before.", n_steps)
        else:
            logger.info("The training begins, and ends with step %s.", n_steps)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **_: Any,
    ) -> None:  # fmt: skip
        logs = logs or {}
        if not state.is_world_process_zero or not {"loss", "eval_loss"} & set(logs):
            return
        if "eval_loss" in logs:
            figures = (
                f"{spoken_name(name.removeprefix('eval_'))} {value:.4f}"
                for name, value in logs.items()
                if name.startswith("eval_")
            )
            logger.info(
                "Step %s, on held-out cells: %s", f"{state.global_step:,}", ", ".join(figures)
            )
            return
        rate = (state.global_step - self._first_step) / (time.monotonic() - self._began)
        logger.info(
            "Step %s of %s: loss %.4f, %.2f steps/s, %.0f s left",
            f"{state.global_step:,}", f"{state.max_steps:,}", logs["loss"], rate,
            (state.max_steps - state.global_step) / rate,
        )  # fmt: skip
