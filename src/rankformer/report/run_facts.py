"""What was run, for the last section of a report."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rankformer.errors import SettingsError

_REPORT_PACKAGES = ("rankformer", "scanpy", "umap-learn", "igraph", "scikit-learn", "numpy")
_EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True)
class RunFacts:
    """What made an embedding and the report.

    Attributes
    ----------
    embedding
        What is known of the embedding: name → text.
    report
        Versions of the packages that made the report.
    date
        In UTC.
    effort
        Seconds and memory, which differ from run to run; empty where ``SOURCE_DATE_EPOCH`` is set,
        so that the same inputs give the same bytes.
    """

    embedding: Mapping[str, str]
    report: Mapping[str, str]
    date: str
    effort: Mapping[str, str]


class Stopwatch:
    """Measures how long the parts of a report take."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._last = self._began
        self._seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a part, which began when the one before ended."""
        now = time.perf_counter()
        self._seconds[name] = now - self._last
        self._last = now

    def laps(self) -> dict[str, str]:
        """Seconds of each part, and of all."""
        told = {name: f"{seconds:.1f} s" for name, seconds in self._seconds.items()}
        return {**told, "All together": f"{time.perf_counter() - self._began:.1f} s"}


def gather_facts(provenance: Mapping[str, Any] | None, watch: Stopwatch) -> RunFacts:
    """Gather what was run.

    Parameters
    ----------
    provenance
        Of the embedding, or None where it is not known.
    watch
        That measured the report.
    """
    date = _date_asked_for()
    now = date or datetime.now(UTC)
    effort = {} if date else {**watch.laps(), **_peak_memory()}
    return RunFacts(
        _describe_embedding(provenance), _versions(), now.strftime("%Y-%m-%d %H:%M UTC"), effort
    )


def _date_asked_for() -> datetime | None:
    epoch = os.environ.get(_EPOCH)
    if not epoch:
        return None
    try:
        return datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(
            f"The environment variable {_EPOCH} is {epoch!r}.",
            "A number of seconds since 1970.",
            f"Correct {_EPOCH}, or unset it.",
        ) from error


def _describe_embedding(provenance: Mapping[str, Any] | None) -> dict[str, str]:
    if provenance is None:
        return {}
    named = {
        "Model": "model", "Weights (SHA-256)": "weights_sha256", "Vocabulary": "vocabulary",
        "Vocabulary (SHA-256)": "vocabulary_sha256", "Mode": "mode", "Layer": "layer",
        "Number format": "dtype", "Device": "device",
    }  # fmt: skip
    told = {name: str(provenance[key]) for name, key in named.items() if key in provenance}
    packages = provenance.get("versions", {})
    if packages:
        told["Versions"] = ", ".join(f"{name} {each}" for name, each in packages.items())
    return told


def _versions() -> dict[str, str]:
    found = {}
    for name in _REPORT_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _peak_memory() -> dict[str, str]:
    """The most memory this process has held, where the system tells."""
    try:
        import resource
    except ImportError:
        return {}
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"Largest memory of the process": f"{peak / 1e9:.2f} GB"}
