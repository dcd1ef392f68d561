"""How a long run is cut, gone on with, and shared out."""

from pathlib import Path
from typing import Any

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings

_PANEL = "Long runs"


def parse_share(text: str) -> Any:
    """``"3/8"`` as the third of eight shares.

    Raises
    ------
    SettingsError
        If it is none.
    """
    from rankformer.runs.shards import Share

    number, slash, of = text.partition("/")
    try:
        share = Share(int(number), int(of))
        is_share = bool(slash) and 1 <= share.number <= share.of
    except ValueError:
        is_share = False
    if not is_share:
        raise SettingsError(
            f"The share {text!r} was asked for.",
            "Two whole numbers, such as 3/8 for the third of eight shares; the first is 1/8.",
            "Correct it (--shard).",
        )
    return share


@settings(_PANEL)
class RunSettings:
    """How a long run is cut, gone on with, and shared out."""

    shard: Any = setting(
        default=None, options=("--shard",), kind=str, parse=parse_share,
        text="With a folder as the output: do this share of the work, such as 3/8 for the third of "
        "eight, so that eight jobs of a cluster do all of it. `rankformer merge` ends it.",
    )  # fmt: skip
    shard_cells: int | None = setting(
        default=None,
        text="The number of cells of a shard, the piece of work that is kept when a run is "
        "stopped. By default it is 8,192; with --mode gene 512, and where cells are perturbed 64.",
    )
    restart: bool = setting(
        default=False,
        text="Begin anew where an earlier run with this output was stopped, and delete what it had "
        "done. By default, the same command goes on from there.",
    )
    fail_fast: bool = setting(
        default=False,
        text="End at the first input that cannot be read. By default, the others are done, and "
        "those that failed are listed at the end, with exit status 3.",
    )

    def __post_init__(self) -> None:
        if self.shard_cells is not None and self.shard_cells < 1:
            raise SettingsError(
                f"Shards of {self.shard_cells} cells were asked for.",
                "At least 1 cell in a shard.",
                "Correct shard_cells (--shard-cells), or leave it out.",
            )


@settings()
class TokenizeJob:
    """What to tokenize, and what to write."""

    sources: tuple[Path, ...] = setting(
        options=("FILE…",),
        text="Files with raw counts: .h5ad, .zarr, 10x .h5, a 10x matrix folder, or a folder of "
        "such files.",
    )
    output: Path = setting(
        options=("--output", "-o"),
        text="The folder of the dataset that is written. With --shard, a folder of shards; see "
        "`rankformer merge`.",
    )
    run: RunSettings = setting(
        default_factory=RunSettings, text="How a long run is cut and gone on with."
    )


@settings()
class MergeJob:
    """Which run to merge, and what to write."""

    folder: Path = setting(
        options=("FOLDER",),
        text="The folder of a run: the output of `rankformer embed`, `annotate`, `predict`, "
        "`perturb` or `tokenize` where it has no ending, or NAME.parts beside a file that was not "
        "finished.",
    )
    output: Path = setting(
        options=("--output", "-o"),
        text="The file to write, in the formats of the command that made the shards: .h5ad, .zarr, "
        ".parquet, .csv or .npy; of tokens a folder.",
    )
    partial: bool = setting(
        common=True, default=False,
        text="Merge the shards that are there, though others are missing.",
    )  # fmt: skip
    key: str | None = setting(
        common=True, default=None,
        text="The name of the embedding in obsm, if not that of the run.",
    )  # fmt: skip
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
