"""What a report shows."""

from pathlib import Path

from rankformer.errors import SettingsError
from rankformer.settings import setting, settings

FEWEST_CELLS, MOST_CELLS = 10, 50_000
# Steps from cell to cell are written as two bytes.
_MOST_THAT_FIT = 65_000


@settings("What the report shows")
class ReportSettings:
    """What a report shows; see `write_report`."""

    key: str = setting(
        common=True,
        default="X_geneformer",
        text="The name in obsm of the embedding to show. Where the file has none of this name, the "
        "cells are embedded with --model, and the file stays as it is.",
    )
    labels: str | None = setting(
        common=True,
        default=None,
        text="The column of obs with the labels of the cells, such as their cell types. The report "
        "then says how well the embedding tells them apart, beside plain expression.",
    )
    batch: str | None = setting(
        common=True,
        default=None,
        text="The column of obs with batches, such as donors or laboratories. The report then says "
        "how well the embedding mixes them.",
    )
    color: str | None = setting(
        common=True,
        default=None,
        text="The column of obs by which the cells are coloured when the page is opened: that of "
        "the labels, or the clusters, unless given.",
    )
    genes: tuple[str, ...] = setting(
        common=True, default=(), options=("--gene",),
        text="A gene to colour the cells by, by its name in the file; the page opens on the first. "
        "Other genes are taken from those that vary most, as many as there is room for.",
    )  # fmt: skip
    perturbed: Path | None = setting(
        common=True,
        default=None,
        text="A table that `rankformer perturb` or `rankformer perturb-test` wrote, to show its "
        "effects.",
    )
    title: str | None = setting(
        default=None, text="The title of the page; the name of the file unless given."
    )
    max_cells: int = setting(
        default=MOST_CELLS,
        text="The maximum number of cells on the page. Of more cells some are drawn, fewer where "
        "they lie close together, so that rare ones stay.",
    )

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels == self.batch:
            raise SettingsError(
                f"Labels and batches are both the column {self.labels!r}.",
                "A column of labels, which an embedding should tell apart, and another one of "
                "batches, which it should mix.",
                "Name another column (--labels, --batch), or leave one out.",
            )
        if not FEWEST_CELLS <= self.max_cells <= _MOST_THAT_FIT:
            raise SettingsError(
                f"max_cells is {self.max_cells:,}.",
                f"{FEWEST_CELLS} to {_MOST_THAT_FIT:,} cells, which is what a page can hold.",
                f"Leave it out (--max-cells) for {MOST_CELLS:,}.",
            )


@settings(kw_only=True)
class ReportJob:
    """What to report on, and where to."""

    file: Path = setting(
        options=("FILE",),
        text="A file with raw counts, with an embedding in obsm or without: .h5ad, .zarr, 10x .h5 "
        "or a 10x matrix folder.",
    )
    output: Path = setting(
        options=("--output", "-o"), text="The page to write, .html, which any browser opens."
    )
    overwrite: bool = setting(common=True, default=False, text="Replace the output if it exists.")
