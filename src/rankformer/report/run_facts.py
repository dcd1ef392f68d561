"""What was run, for the last section of a report."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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


def gather_facts(
    provenance: Mapping[str, Any] | None, seconds: float | None, watch: Stopwatch
) -> RunFacts:
    """Gather what was run.

    Parameters
    ----------
    provenance
        Of the embedding, or None where it is not known.
    seconds
        That the embedding took, where it was computed for the report.
    watch
        That measured the report.
    """
    epoch = os.environ.get(_EPOCH)
    now = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    effort = {} if epoch else {**_embedding_effort(seconds), **watch.laps(), **_peak_memory()}
    return RunFacts(
        _describe_embedding(provenance), _versions(), now.strftime("%Y-%m-%d %H:%M UTC"), effort
    )


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


def _embedding_effort(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Embedding": f"{seconds:.1f} s"}


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
