"""Labels in a column of a dataset, for a head whose outputs are given."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.cells.obs_columns import read_class_names
from rankformer.errors import SettingsError
from rankformer.model.heads import Head
from rankformer.training.labels import Labels, as_numbers

_NUMBERS = (
    "Name a column of numbers (label=…), or make a head of classes: "
    'fine_tuning_head="classification" and output_size, the number of classes.'
)


def read_dataset_labels(column: "pd.Series[Any]", head: Head, *, is_new: bool) -> Labels:
    """Labels that a head learns: names of classes, whole numbers that stand for them, or numbers.

    Parameters
    ----------
    column
        Of the dataset.
    head
        With as many classes as outputs, or none for a number.
    is_new
        Whether names become the head's classes, sorted; otherwise they must be among them.

    Raises
    ------
    SettingsError
        If labels and head do not go together.
    """
    is_text = bool(head.classes) and not pd.api.types.is_numeric_dtype(column)
    if is_text and column.notna().any():
        return _named(column, head, is_new=is_new)
    truth = as_numbers(column, head.name, fix=_NUMBERS)
    if head.classes:
        _check_codes(truth, len(head.classes), head.name)
    return Labels(head, truth)


def _named(column: "pd.Series[Any]", head: Head, *, is_new: bool) -> Labels:
    where = f"The label {head.name!r}"
    names = read_class_names(column, where, fix="Name another column (label=…).")
    there = tuple(sorted({each for each in names if each is not None}))
    if is_new:
        if len(there) != len(head.classes):
            raise SettingsError(
                f"The label {head.name!r} has {len(there)} classes: {_few(there)}; the head has "
                f"{len(head.classes)} outputs.",
                "An output for each class.",
                f"Make the head with output_size={len(there)}.",
            )
        head = Head(head.name, there)
    odd = [each for each in there if each not in head.classes]
    if odd:
        raise SettingsError(
            f"The label {head.name!r} holds {odd[0]!r}, which the head was not trained on.",
            f"One of {_few(head.classes)}.",
            "Leave these cells out of the dataset, or train on them too.",
        )
    code_of = {each: code for code, each in enumerate(head.classes)}
    truth = [np.nan if each is None else code_of[each] for each in names]
    return Labels(head, np.array(truth, np.float32))


def _check_codes(truth: NDArray[np.float32], n_classes: int, name: str) -> None:
    own: list[float] = truth[~np.isnan(truth)].tolist()
    odd = [value for value in own if value != int(value) or not 0 <= value < n_classes]
    if odd:
        raise SettingsError(
            f"The label {name!r} holds {odd[0]:g}, and the head has {n_classes} outputs.",
            f"Whole numbers from 0 to {n_classes - 1}, or names of classes as text.",
            "Number the classes from 0, or correct output_size.",
        )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
