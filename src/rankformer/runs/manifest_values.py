"""What a manifest must hold, whoever wrote it: a hash guards against damage, not against strangers.

Whatever is read of a manifest is here with its type. Values are bounded where they say how much is
to be made of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankformer.runs.inputs import InputFile

_MOST_CELLS = 10**11
_WIDEST = 10**6

_OF_VECTORS = {
    "options.mode": str,
    "notes.provenance": dict, "notes.provenance.model": str, "notes.provenance.mode": str,
    "notes.d_model": int, "notes.input_length": int,
}  # fmt: skip
_OF_TASKS: Mapping[str, Mapping[str, type]] = {
    "embed": {**_OF_VECTORS, "notes.key": str},
    "annotate": {
        **_OF_VECTORS, "options.references": list, "options.labels": list, "options.keys": list,
        "options.vote": dict, "options.vote.n_neighbors": int, "options.vote.method": str,
        "options.vote.allow_shift": bool, "options.vote.share_genes": bool,
        "options.vote.probabilities": bool, "options.vote.integrate": str,
        "options.vote.use_doubt": bool,
    },
    "predict": {
        **_OF_VECTORS, "options.prefix": str, "options.threshold": float, "options.heads": dict,
        "notes.folder": str,
    },
    "perturb": {
        "notes.provenance": dict, "notes.provenance.n_cells": int, "notes.n_states": int,
        "notes.is_screen": bool, "notes.has_affected": bool, "notes.shards": list,
    },
    "tokenize": {
        "model.vocabulary": str, "notes.input_length": int, "notes.vocabulary_sha256": str,
    },
}  # fmt: skip
_BOUNDS = {"notes.d_model": (1, _WIDEST), "notes.n_states": (0, 10**4)}
_MAY_BE_NULL = {
    "min_share": float, "max_doubt": float, "distance_quantile": float, "group": str,
    "majority_vote": str,
}  # fmt: skip
_TEXTS = ("options.labels", "options.keys")


def options_as_then(task: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a manifest; those that its version did not have stand as it did without them.

    Parameters
    ----------
    task
        The command.
    options
        As the manifest has them.
    """
    vote = options.get("vote")
    if task != "annotate" or not isinstance(vote, Mapping):
        return dict(options)
    # Before there was --no-doubt, a limit without an end meant it; before that, no doubt was known.
    used = vote.get("max_doubt", math.inf) != math.inf
    limit = vote.get("max_doubt") if used else None
    came_later = {"integrate": "none", "use_doubt": used}
    return {**options, "vote": {**came_later, **vote, "max_doubt": limit}}


@dataclass(frozen=True)
class OddValue:
    """A value of a manifest that is not as this version writes it.

    Attributes
    ----------
    text
        Where it stands and how it is odd: a sentence without its end.
    is_of_version
        Whether it is missing or unknown, as where another version wrote the manifest; the others
        are of another type or size.
    """

    text: str
    is_of_version: bool = False


def find_odd_value(
    task: str, values: Mapping[str, Any], inputs: Sequence[InputFile]
) -> OddValue | None:
    """Where the manifest of a task lacks a value that is read, or has another type there.

    Parameters
    ----------
    task
        The command; of one that is unknown here nothing is read.
    values
        ``model``, ``options`` and ``notes``.
    inputs
        Of the run.

    Returns
    -------
    None where all is as a run writes it.
    """
    whole = {**values, "options": options_as_then(task, values["options"])}
    for name, kind in _OF_TASKS.get(task, {}).items():
        value: Any = whole
        for each in name.split("."):
            value = value.get(each) if isinstance(value, Mapping) else None
        if value is None:
            return OddValue(f"{name} is missing", is_of_version=True)
        least, most = _BOUNDS.get(name, (0, _MOST_CELLS))
        is_odd = not _is_of(value, kind)
        if is_odd or (kind is int and not least <= value <= most):
            return OddValue(f"{name} is of another type or size")
        if name in _TEXTS and not all(isinstance(each, str) for each in value):
            return OddValue(f"{name} holds something else than texts")
    # Its name stands in the results.
    if not all(_is_text(each.source, "source") for each in inputs if each.n_cells):
        return OddValue("the name of an input is missing")
    return _find_odd_part_of_reference(whole["options"]) if task == "annotate" else None


def is_sound_input(each: InputFile) -> bool:
    """Whether what is read of an input has the types and sizes that a run writes."""
    texts = (each.path, each.modified, each.header_sha256)
    return (
        all(isinstance(text, str) for text in texts)
        and type(each.n_bytes) is int
        and isinstance(each.source, dict)
        and type(each.n_cells) is int
        and 0 <= each.n_cells <= _MOST_CELLS
    )


def _find_odd_part_of_reference(options: Mapping[str, Any]) -> OddValue | None:
    vote = options["vote"]
    known = {name.rpartition(".")[2] for name in _OF_TASKS["annotate"] if ".vote." in name}
    known |= set(_MAY_BE_NULL)
    if set(vote) != known:
        name = min(set(vote) ^ known)
        how = "missing" if name in known else "unknown"
        return OddValue(f"options.vote.{name} is {how}", is_of_version=True)
    odd = [
        name for name, kind in _MAY_BE_NULL.items()
        if vote[name] is not None and not _is_of(vote[name], kind)
    ]  # fmt: skip
    if odd:
        return OddValue(f"options.vote.{odd[0]} is of another type")
    references = options["references"]
    are_files = all(isinstance(each, Mapping) and _is_text(each, "path") for each in references)
    if not references or not are_files:
        return OddValue("options.references holds something else than files")
    return None


def _is_text(values: Mapping[str, Any], name: str) -> bool:
    return isinstance(values.get(name), str)


def _is_of(value: Any, kind: type) -> bool:
    """A whole number is a number, but True is none."""
    return type(value) in ((int, float) if kind is float else (kind,))
