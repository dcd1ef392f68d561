"""Where a model is trained, and whether a run goes on."""

from typing import Literal

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings

TrainingDtype = Literal["auto", "float32", "bfloat16", "float16"]


@settings("How the model runs")
class TrainingSetup:
    """Where and how a model is trained."""

    device: str = setting(
        common=True,
        default="auto",
        text="The device that computes: cpu, cuda, cuda:1 for the second GPU, or mps on a Mac. "
        "auto takes a GPU where there is one.",
    )
    dtype: TrainingDtype = setting(
        default="float32",
        text="The number format of the matrix products; the weights themselves are kept in "
        "float32. bfloat16 is faster on recent GPUs; auto takes it where it is.",
    )
    n_workers: int = setting(
        default=0, options=("--workers",),
        text="The number of processes that prepare batches, beside the one that trains.",
    )  # fmt: skip
    resume: bool = setting(
        common=True, default=False, panel="Options",
        text="Go on with the run that was begun for this output and did not come to its end.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.n_workers < 0:
            raise SettingsError(
                f"{self.n_workers} processes were asked for to make batches.",
                "A whole number, at least 0.",
                "Leave n_workers (--workers) out for none beside the one that trains.",
            )
