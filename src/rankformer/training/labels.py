"""Labels to learn: of cells from columns of obs, of genes from a table; indices and numbers."""

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import leave_out, read_class_names, require_column
from rankformer.errors import SettingsError
from rankformer.genes.map_genes import map_genes
from rankformer.model.heads import Head
from rankformer.vocabulary.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

_NUMBERS_AS_CLASSES = 20
_NAME_AS_CLASSES = "Name it as classes instead (--label), or name another column (--regress)."


@dataclass(frozen=True, eq=False)
class Labels:
    """One label of many units: cells, or genes.

    Attributes
    ----------
    head
        Its name and classes.
    truth
        (n,) float32: index of the class, or the number; NaN where there is no label.
    """

    head: Head
    truth: NDArray[np.float32]

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n,) where there is a label."""
        return ~np.isnan(self.truth)

    @property
    def names(self) -> NDArray[np.object_]:
        """(n,) the class as text, or None; of a number the number in its own units."""
        if not self.head.classes:
            return (self.head.mean + self.head.scale * self.truth.astype(np.float64)).astype(object)
        classes = np.array([*self.head.classes, None], dtype=object)
        return classes[np.where(self.known, self.truth, -1).astype(np.int64)]

    def scaled(self, rows: NDArray[np.int64]) -> "Labels":
        """A number at mean 0 and standard deviation 1 over `rows`; classes as they are."""
        if self.head.classes:
            return self
        own = self.truth[rows].astype(np.float64)
        mean, scale = float(np.nanmean(own)), float(np.nanstd(own)) or 1.0
        truth = ((self.truth - mean) / scale).astype(np.float32)
        return Labels(replace(self.head, mean=mean, scale=scale), truth)


def read_classes(
    column: "pd.Series[Any]", name: str, *, weight: float = 1.0, unlabelled: Collection[str] = ()
) -> Labels:
    """Classes from a column.

    Parameters
    ----------
    column
        See `read_class_names`.
    name
        Of the label.
    weight
        Of its loss.
    unlabelled
        Values that are no label, such as ``unassigned``.

    Raises
    ------
    SettingsError
        If there are not two classes, numbers that are not whole, or hardly one number twice.
    """
    where = f"The label {name!r}"
    names = read_class_names(column, where)
    leave_out(names, unlabelled, where)
    texts = pd.Series(names, dtype=object)
    classes = tuple(sorted(texts.dropna().unique()))
    if len(classes) < 2:
        raise SettingsError(
            f"The label {name!r} has {len(classes)} class(es): {', '.join(classes) or '(none)'}.",
            "At least two classes to tell apart.",
            "Name another column (--label), or pass more cells.",
        )
    n_labelled = int(texts.notna().sum())
    is_numeric = pd.api.types.is_numeric_dtype(column)
    if is_numeric and len(classes) > max(n_labelled / 2, _NUMBERS_AS_CLASSES):
        raise SettingsError(
            f"The label {name!r} has {len(classes):,} numbers in {n_labelled:,} rows.",
            f"Classes: at most {_NUMBERS_AS_CLASSES}, or half as many as rows.",
            "Name another column; numbers of cells are learned as such with regress (--regress).",
        )
    if is_numeric and len(classes) > _NUMBERS_AS_CLASSES:
        logger.warning(
            "The label %r holds %s different numbers, which are learned as so many classes without "
            "an order. To learn numbers as such, name it as numbers (--regress %s).",
            name, f"{len(classes):,}", name,
        )  # fmt: skip
    codes = texts.map({each: code for code, each in enumerate(classes)})
    truth = codes.to_numpy(np.float32, na_value=np.nan)
    _tell_unlabelled(name, truth)
    return Labels(Head(name, classes, weight), truth)


def read_numbers(column: "pd.Series[Any]", name: str, *, weight: float = 1.0) -> Labels:
    """Numbers to learn from a column; missing and infinite ones are no label.

    Raises
    ------
    SettingsError
        If it holds anything but numbers, or always the same one.
    """
    truth = as_numbers(column, name)
    if not np.nanstd(truth) > 0:
        raise SettingsError(
            f"The label {name!r} holds {len(np.unique(truth[~np.isnan(truth)]))} number(s).",
            "Numbers that differ between cells.",
            "Name another column (--regress).",
        )
    _tell_unlabelled(name, truth)
    return Labels(Head(name, (), weight), truth)


def as_numbers(
    column: "pd.Series[Any]", name: str, *, fix: str = _NAME_AS_CLASSES
) -> NDArray[np.float32]:
    """(n,) float32 of a column, NaN where it is missing or infinite; `fix` is the advice.

    Raises
    ------
    SettingsError
        If it holds anything but numbers.
    """
    try:
        values = column.astype(object).where(column.notna(), np.nan).astype(np.float32).to_numpy()
    except (TypeError, ValueError) as error:
        odd = column[pd.to_numeric(column, errors="coerce").isna() & column.notna()]
        odd = odd if len(odd) else column.dropna()
        raise SettingsError(
            f"The label {name!r} holds {odd.iloc[0]!r}.",
            "Numbers, to be predicted as such.",
            fix,
        ) from error
    return np.where(np.isfinite(values), values, np.nan).astype(np.float32)


def read_cell_labels(
    obs: pd.DataFrame,
    classes: Sequence[str],
    numbers: Sequence[str],
    *,
    weights: Sequence[float] | None = None,
    unlabelled: Collection[str] = (),
) -> list[Labels]:
    """Labels from columns of obs: those that are classes, then those that are numbers.

    Parameters
    ----------
    obs
        Of the cells.
    classes, numbers
        Names of columns.
    weights
        Of the losses, in this order; 1 each unless given.
    unlabelled
        Values that are no label.

    Raises
    ------
    SettingsError
        If a column is missing or holds nothing to learn, or weights and labels do not match.
    """
    names = [*classes, *numbers]
    if not names or len(set(names)) < len(names):
        there = ", ".join(map(str, obs.columns)) or "none here"
        raise SettingsError(
            f"The labels are {', '.join(names)}." if names else "No label was named.",
            f"At least one column of obs to learn, each once. The columns are: {there}.",
            "Name columns with label (--label) or regress (--regress).",
        )
    for name in names:
        _check_name(name)
        require_column(obs, name, "label (--label) or regress (--regress)")
    if weights is None:
        weights = [1.0] * len(names)
    if len(weights) != len(names) or not all(0 < weight < np.inf for weight in weights):
        raise SettingsError(
            f"{len(weights)} weight(s) were given for {len(names)} label(s): {list(weights)}.",
            "A number above 0 for each label, in the order of labels, then of numbers.",
            "Correct weights (--label-weight), or leave them out for 1 each.",
        )
    own = dict(zip(names, weights, strict=True))
    return [
        *(
            read_classes(obs[name], name, weight=own[name], unlabelled=unlabelled)
            for name in classes
        ),
        *(read_numbers(obs[name], name, weight=own[name]) for name in numbers),
    ]


def read_gene_labels(
    table: "pd.DataFrame | str | os.PathLike[str]",
    vocabulary: Vocabulary,
    *,
    gene: str,
    label: str,
    unlabelled: Collection[str] = (),
) -> tuple[NDArray[np.int64], Labels]:
    """Classes of genes from a table.

    Parameters
    ----------
    table
        A row a gene; or a CSV or TSV file of such.
    vocabulary
        Genes that are not in it are left out, and told.
    gene, label
        Columns of identifiers (of any kind that `map_genes` knows) and of classes.
    unlabelled
        Values that are no label.

    Returns
    -------
    (n,) tokens of the genes, ascending, and their labels.

    Raises
    ------
    SettingsError, GeneError
        If a column is missing, a gene has two classes, or hardly any gene is known.
    """
    if not isinstance(table, pd.DataFrame):
        table = _read_table(table)
    require_column(table, gene, "--gene-column", "The table of genes")
    require_column(table, label, "--label", "The table of genes")
    known = table[[gene, label]].dropna()
    names = read_class_names(known[label], f"The column {label!r} of the table of genes")
    column = f"{gene} of the table"
    var = pd.DataFrame({column: known[gene].astype(str).to_numpy()})
    own = pd.Series(names, map_genes(var, vocabulary, gene_ids=column).tokens)
    own = own[own.index >= 0]
    classes_of = own.groupby(level=0).agg(set)
    twofold = classes_of[classes_of.map(len) > 1]
    if len(twofold):
        ids = vocabulary.ensembl_id_of[twofold.index.to_numpy()]
        raise SettingsError(
            f"{len(twofold)} gene(s) have more than one class, {', '.join(ids[:3])} among them.",
            "One class for each gene.",
            "Remove the rows that are wrong from the table.",
        )
    classes = classes_of.map(lambda each: next(iter(each)))
    labels = read_classes(classes, label, unlabelled=unlabelled)
    tokens = classes.index.to_numpy(np.int64)[labels.known]
    return tokens, Labels(labels.head, labels.truth[labels.known])


def _check_name(name: str) -> None:
    """Predictions get this name in obs, where a slash would be a folder."""
    if not name or "/" in name or name.startswith("."):
        raise SettingsError(
            f"The label {name!r} cannot be the name of a column of predictions.",
            "A name without a slash and without a dot at its beginning.",
            "Rename the column of obs.",
        )


def _read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    try:
        # An absolute path, as pandas would fetch what is written as an address.
        return pd.read_csv(Path(path).absolute(), sep=None, engine="python", dtype=str)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise SettingsError(
            f"The table {path} could not be read: {error}.",
            "A CSV or TSV file with a row a gene.",
            "Correct its path (--genes), or save it anew.",
        ) from error


def _tell_unlabelled(name: str, truth: NDArray[np.float32]) -> None:
    n_without = int(np.isnan(truth).sum())
    if n_without:
        logger.info("%s of %s have no label %r.", f"{n_without:,}", f"{len(truth):,}", name)
