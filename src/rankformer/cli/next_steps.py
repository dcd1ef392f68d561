"""How to go on after a command: commands that work as they stand."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankformer.summary import NextStep, Summary

if TYPE_CHECKING:
    import pandas as pd

    from rankformer.tokens.reading_options import CountOptions

_MOST_CLASSES, _SMALLEST_CLASS = 50, 8
_IN_OBS = (".h5ad", ".zarr")
_LABELS = ("celltype", "label", "annotation")
_CELL_TYPES = ("celltype", "celltypes", "celllabel", "celllabels", "cellontologyclass")


def after_embedding(output: Path, key: str, summary: Summary, options: "CountOptions") -> Any:
    """Scanpy, and an evaluation where obs has labels and the file has counts."""
    if output.suffix not in _IN_OBS:
        return ()
    steps = [
        NextStep(
            "Go on with scanpy",
            python=(
                "import anndata, scanpy as sc",
                f"adata = anndata.{_reader(output)}({str(output)!r})",
                f"sc.pp.neighbors(adata, use_rep={key!r}); sc.tl.umap(adata); sc.pl.umap(adata)",
            ),
        )
    ]
    label = label_column(summary.sources)
    if label is not None:
        words = ("evaluate", output, "-o", _beside(output, "evaluation"), "--label", label)
        page = output.with_name(f"{output.stem}-report.html")
        shown = ("report", output, "-o", page, "--labels", label, "--key", key)
        steps.append(step("See it on a page", *shown, *count_words(options)))
        why = "Measure it beside simple methods on the same cells"
        steps.append(step(why, *words, "--key", key, *count_words(options)))
    return tuple(steps)


def after_labelling(output: Path, summary: Summary) -> tuple[NextStep, ...]:
    """Read labels that were written."""
    key = labels_in(summary)
    if key is None:
        return ()
    if output.suffix in _IN_OBS:
        lines = (
            "import anndata",
            f"anndata.{_reader(output)}({str(output)!r}).obs[{key!r}].value_counts()",
        )
    else:
        lines = ("import pandas", f"{_table_reader(output)}({str(output)!r})[{key!r}]")
    return (NextStep("Read them in Python", python=lines),)


def is_unmerged(summary: Summary) -> bool:
    """Whether shards are what was made: of a folder, or as an input could not be read."""
    return "n_shards" in summary.figures


def after_shards(summary: Summary, output: Path, ending: str = ".h5ad") -> tuple[NextStep, ...]:
    """Merge the shards of a run.

    Parameters
    ----------
    summary
        Of the run.
    output
        What was asked for.
    ending
        Of the name of what the shards are merged to.
    """
    folder, figures = summary.written[0].path, summary.figures
    merged = output if output != folder else Path(f"{folder}{ending}")
    if summary.failures:
        why = "Merge what is there, without the inputs that failed"
        return (step(why, "merge", folder, "-o", merged, "--partial"),)
    is_whole = figures["n_shards_done"] == figures["n_shards_of_run"]
    why = "Merge the shards" if is_whole else "Merge the shards, once all shares are done"
    return (step(why, "merge", folder, "-o", merged),)


def after_merging(output: Path) -> tuple[NextStep, ...]:
    """Read what was merged."""
    if output.suffix in (".csv", ".parquet"):
        return (read_table(output, "Read it in Python"),)
    if output.suffix in _IN_OBS:
        line = f"anndata.{_reader(output)}({str(output)!r})"
        return (NextStep("Read it in Python", python=("import anndata", line)),)
    return ()


def labels_in(summary: Summary) -> str | None:
    """The column of obs with the first labels that were written."""
    return next((name for name, each in summary.figures.items() if isinstance(each, dict)), None)


def read_table(output: Path, why: str) -> NextStep:
    """Read a table that was written."""
    return NextStep(why, python=("import pandas", f"{_table_reader(output)}({str(output)!r})"))


def step(why: str, *words: object) -> NextStep:
    """A command of rankformer."""
    return NextStep(why, ("rankformer", *map(str, words)))


def count_words(options: "CountOptions") -> tuple[str, ...]:
    """Options that say where the counts are, as far as they were given."""
    words = [] if options.layer is None else ["--layer", options.layer]
    if options.use_raw is not None:
        words.append("--use-raw" if options.use_raw else "--no-raw")
    if options.undo_log1p:
        words.append("--undo-log1p")
    if not options.check:
        words.append("--no-check")
    return tuple(words)


def cell_type_column(sources: Sequence[Any]) -> str | None:
    """The column of obs that is named as cell types are, with at least two of them."""
    # Rare cell types are common: only of other columns may a small class mean another thing.
    for name in _columns_of_classes(sources, smallest=1):
        if _plain(name) in _CELL_TYPES:
            return name
    return None


def label_column(sources: Sequence[Any]) -> str | None:
    """That of cell types, or else one named as labels are, or the first with large classes."""
    named = (
        name for name in _columns_of_classes(sources, smallest=1)
        if any(word in _plain(name) for word in _LABELS)
    )  # fmt: skip
    return (
        cell_type_column(sources)
        or next(named, None)
        or next(_columns_of_classes(sources, smallest=_SMALLEST_CLASS), None)
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _columns_of_classes(sources: Sequence[Any], *, smallest: int) -> Iterator[str]:
    """Columns of text with some classes, of which the largest can be cut into folds."""
    if len(sources) != 1 or getattr(sources[0], "mapping", None) is None:
        return
    obs: pd.DataFrame = sources[0].obs
    for name in obs.columns:
        if obs[name].dtype.kind not in "iufb":
            sizes = obs[name].value_counts()
            sizes = sizes[sizes > 0]
            is_large = max(sizes, default=0) >= _SMALLEST_CLASS and min(sizes) >= smallest
            if 2 <= len(sizes) <= _MOST_CLASSES and is_large:
                yield str(name)


def _beside(output: Path, what: str) -> Path:
    return output.with_name(f"{output.stem}-{what}")


def _reader(output: Path) -> str:
    return f"read_{output.suffix[1:]}"


def _table_reader(output: Path) -> str:
    return "pandas.read_csv" if output.suffix == ".csv" else "pandas.read_parquet"
