"""What a model is fine-tuned on, how, and what it then predicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
from rankformer.names import as_names
from rankformer.runs.settings import RunSettings
from rankformer.settings import setting, settings
from rankformer.tokens.reading_options import InputFiles, ReadingOptions
from rankformer.training.settings import TrainingSetup
from rankformer.training.split_plan import SplitPlan

_WHAT = "What is learned"


@settings(_WHAT)
class CellTask:
    """Labels of cells to learn."""

    labels: str | Sequence[str] = setting(
        common=True, default=(), options=("--label",), kind=list[str],
        text="A column of obs with classes to learn, such as cell_type. With --genes, it is the "
        "column of that table with the classes of genes.",
    )  # fmt: skip
    numbers: str | Sequence[str] = setting(
        common=True, default=(), options=("--regress",), kind=list[str],
        text="A column of obs with numbers to learn, such as age.",
    )  # fmt: skip
    weights: tuple[float, ...] | None = setting(
        default=None, options=("--label-weight",), kind=list[float],
        text="The weight of a label in the loss, one for each --label and then for each --regress; "
        "by default 1 each.",
    )  # fmt: skip
    unlabelled: str | Sequence[str] = setting(
        default=(), kind=list[str],
        text="A value of the labels that means that a cell has none, such as unassigned.",
    )  # fmt: skip
    group: str | None = setting(
        common=True, default=None, panel="What the model is tested on",
        text="A column of obs, such as donor: cells of one group are never both trained and tested "
        "on. Cells of one donor resemble each other.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        for name in ("labels", "numbers", "unlabelled"):
            object.__setattr__(self, name, as_names(getattr(self, name), name))


@settings(_WHAT)
class GeneTask:
    """Labels of genes to learn."""

    table: Any = setting(
        text="A data frame with a row for each gene, or a CSV or TSV file of such."
    )
    gene: str = setting(text="The column of the table with the identifiers of the genes.")
    label: str = setting(text="The column of the table with the classes.")
    unlabelled: tuple[str, ...] = setting(
        default=(), text="Values of the classes that mean that a gene has none."
    )


@settings()
class TrainedAndTested:
    """With which hyperparameters, and on which cells, a model is trained and tested."""

    hyperparameters: FineTuningHyperparameters = setting(
        default_factory=FineTuningHyperparameters,
        text="Those of the published package unless they are given.",
    )
    plan: SplitPlan = setting(
        default_factory=SplitPlan, text="How labelled cells, or genes, are split."
    )
    options: ReadingOptions | None = setting(
        default=None, options=None, text="Where counts and genes lie in the sources."
    )


@settings()
class FineTuningSettings(TrainingSetup, TrainedAndTested):
    """How and where a model is fine-tuned."""

    words: str = setting(
        default="", options=None, text="Paragraphs for the model card, on what the model is for."
    )


@settings()
class PredictJob(InputFiles):
    """What to predict for, and what to write."""

    output: Path = setting(
        options=("--output", "-o"),
        text="The file to write, or a folder of shards, which `rankformer merge` joins. .h5ad and "
        ".zarr hold a copy of the input with the predictions in obs; .csv and .parquet hold a "
        "table with a row for each cell. A name without an ending makes the folder.",
    )
    prefix: str = setting(
        default="predicted_", text="What stands before the name of the label in the column's name."
    )
    threshold: float = setting(
        common=True,
        default=0.5,
        text="A label whose probability is lower than this is marked as uncertain.",
    )
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
    run: RunSettings = setting(
        default_factory=RunSettings, text="How a long run is cut and gone on with."
    )
