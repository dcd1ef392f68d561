"""Names of classes from a column: the one way in which labels are read, wherever they are."""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rankformer.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


def read_class_names(
    column: "pd.Series[Any]", where: str, *, none: Collection[str] = ()
) -> NDArray[np.object_]:
    """Names of classes as text.

    Parameters
    ----------
    column
        Of any type. Whole numbers are written without a point: a missing value makes floats of a
        column of integers.
    where
        What a message calls the column.
    none
        Names that are no class, such as ``"unassigned"``.

    Returns
    -------
    (n,) object: texts, None where a value is missing or one of `none`.

    Raises
    ------
    SettingsError
        If it holds numbers that are not whole.
    """
    import pandas as pd

    known = column.dropna()
    if isinstance(known.dtype, pd.CategoricalDtype):
        known = known.astype(known.cat.categories.dtype)
    if pd.api.types.is_float_dtype(known):
        odd = known[known != known.round()]
        if len(odd):
            raise SettingsError(
                f"{where} holds numbers such as {odd.iloc[0]:g}.",
                "Labels: names of classes, or whole numbers that stand for them.",
                "Name another column (--label); finetune learns numbers as such (--regress).",
            )
        known = known.astype(np.int64)
    names = np.full(len(column), None, dtype=object)
    names[column.notna().to_numpy()] = known.astype(str).to_numpy(dtype=object)
    names[np.isin(names.astype(str), list(none))] = None
    return names


def tell_unmatched(names: NDArray[np.object_], none: Collection[str], where: str) -> None:
    """Warn of names that were said to be no class and are not there; given names without them."""
    absent = sorted(set(none) - set(names.tolist()))
    if absent:
        logger.warning(
            "%s has no %s, which was said to be no label.", where, " and no ".join(absent)
        )
