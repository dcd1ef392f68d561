"""How a long run is cut, gone on with, and shared out."""

from pathlib import Path
from typing import Any, Literal

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings

_PANEL = "Long runs"
Engine = Literal["local", "ray"]


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

    engine: Engine = setting(
        default="local",
        text="What computes the shards: local, this process, or with --device cuda:all a process "
        "for each GPU; or ray, the workers of a Ray cluster.",
    )
    address: str | None = setting(
        default=None,
        text="With --engine ray: the address of the cluster, such as auto or head:6379. By "
        "default, it is that of RAY_ADDRESS, or else Ray is started on this machine.",
    )
    workers: int | None = setting(
        default=None,
        text="With --engine ray: the number of processes that hold a copy of the model. By "
        "default, as many as the GPUs of the cluster allow, or one on each machine.",
    )
    gpus_per_worker: float | None = setting(
        default=None,
        text="With --engine ray: how many GPUs each worker takes: 1, 0 for the CPU, or 0.5 for two "
        "workers on a GPU. By default, it is 1 where the cluster has GPUs.",
    )

    def __post_init__(self) -> None:
        if self.restart and self.shard is not None:
            raise SettingsError(
                f"--restart was given with --shard {self.shard} (restart and shard).",
                "One of the two: each share would delete what the others have done.",
                "Delete the folder, and then give all shares.",
            )
        if self.shard_cells is not None and self.shard_cells < 1:
            raise SettingsError(
                f"Shards of {self.shard_cells} cells were asked for.",
                "At least 1 cell in a shard.",
                "Correct shard_cells (--shard-cells), or leave it out.",
            )
        _check_engine(self)


def _check_engine(settings: RunSettings) -> None:
    """Refuse settings of Ray that nothing would read, or that no worker can have."""
    of_ray = {
        "address": "--address", "workers": "--workers", "gpus_per_worker": "--gpus-per-worker",
    }  # fmt: skip
    unread = [name for name in of_ray if getattr(settings, name) is not None]
    if settings.engine not in ("local", "ray"):
        raise SettingsError(
            f"The engine {settings.engine!r} was asked for.",
            '"local" or "ray".',
            "Correct engine (--engine), or leave it out.",
        )
    if settings.address is not None and not settings.address.strip():
        raise SettingsError(
            "The address of the cluster of Ray is empty (address).",
            "An address, such as auto or head:6379.",
            "Correct address (--address), or leave it out for Ray on this machine.",
        )
    if settings.engine != "ray" and unread:
        name = unread[0]
        raise SettingsError(
            f"{name} is given as {getattr(settings, name)!r}, and the engine is "
            f"{settings.engine}, which does not read it.",
            f"{name} with the engine ray alone.",
            f'Pass engine="ray" (--engine ray) as well, or leave {name} ({of_ray[name]}) out.',
        )
    if settings.workers is not None and settings.workers < 1:
        raise SettingsError(
            f"{settings.workers} workers were asked for.",
            "At least 1 worker.",
            "Correct workers (--workers), or leave it out.",
        )
    if settings.gpus_per_worker is not None and not 0 <= settings.gpus_per_worker <= 1:
        raise SettingsError(
            f"{settings.gpus_per_worker} GPUs for each worker were asked for.",
            "A number from 0 to 1: a worker computes on one GPU, or several workers share one.",
            "Correct gpus_per_worker (--gpus-per-worker), and pass workers (--workers) for more of "
            "them.",
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
        text="The file to write, whose ending chooses the format: of `embed` .h5ad, .zarr, "
        ".parquet, .csv or .npy, with --mode gene .parquet alone; of `annotate` and `predict` "
        ".h5ad, .zarr, .parquet or .csv; of `perturb` .parquet; of `tokenize` a folder.",
    )
    partial: bool = setting(
        common=True, default=False,
        text="Merge the shards that are there, though others are missing.",
    )  # fmt: skip
    key: str | None = setting(
        common=True, default=None,
        text="The name of the embedding in obsm, if not that of the run. Results of other commands "
        "than `embed` have no such name.",
    )  # fmt: skip
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
