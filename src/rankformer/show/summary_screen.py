"""What a command made: a few lines at its end, or one JSON document."""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rankformer.printable import printable, without_secrets
from rankformer.summary import Failure, Summary

_MOST_WARNINGS = 6
_LONG = 160
_MOST_INPUTS = 3


def summary_text(summary: Summary, seconds: float, warnings: Sequence[str]) -> str:
    """What was made, what needs care, and how to go on; lines for the log."""
    from rich.filesize import decimal

    lines = [f"Wrote {printable(str(each.path))} ({decimal(each.n_bytes)}): {each.what}."
             for each in summary.written]  # fmt: skip
    lines += [*_inputs(summary.sources), *summary.told]
    if summary.written:
        lines.append(f"It took {_duration(seconds)}.")
    if warnings and summary.written:
        told = [f"- {_first_sentence(each)}" for each in warnings[:_MOST_WARNINGS]]
        lines += ["Please note:", *told]
        if len(warnings) > _MOST_WARNINGS:
            lines.append(f"- {len(warnings) - _MOST_WARNINGS} more warnings stand above.")
    for step in summary.next_steps:
        lines.append(f"{step.why}:")
        lines += [f"  {shlex.join(step.argv)}"] if step.argv else []
        lines += [f"  {each}" for each in step.python]
    return "\n".join(lines)


def _first_sentence(warning: str) -> str:
    """Of a paragraph that stands in the log already, what it is about."""
    ends = r"(?<=[a-z0-9)][.!?])(?<!\bvs\.)(?<!\bal\.) (?=[A-Z])"
    first, *more = re.split(ends, warning, maxsplit=1)
    return f"{first} …" if more and len(warning) > _LONG else warning


def failures_text(failures: Sequence[Failure]) -> str:
    """A table of inputs that could not be read, as lines: what, why, and what to do."""
    one = len(failures) == 1
    told = "1 input" if one else f"{len(failures):,} inputs"
    lines = [f"{told} could not be read, and {'is' if one else 'are'} missing from the result:"]
    for each in failures:
        path, found, fix = map(printable, (each.path, each.found, each.fix))
        lines += [f"  {path}", f"    why:        {found}", f"    what to do: {fix}"]
    return "\n".join(lines)


def summary_document(
    summary: Summary, argv: Sequence[str], seconds: float, warnings: Sequence[str]
) -> str:
    """The same as JSON: strict, so that what is not a number is null."""
    inputs = {"inputs": describe_inputs(summary.sources)} if summary.sources else {}
    document = {
        "command": list(map(without_secrets, argv)),
        "written": [
            {"path": str(each.path), "what": each.what, "bytes": each.n_bytes}
            for each in summary.written
        ],
        "figures": {**summary.figures, **inputs},
        "tables": summary.tables,
        "failures": [asdict(each) for each in summary.failures],
        "warnings": list(map(without_secrets, warnings)),
        "next": [
            {"why": each.why, "argv": list(each.argv), "python": list(each.python)}
            for each in summary.next_steps
        ],
        "seconds": round(seconds, 3),
        "versions": _versions(),
    }
    return json.dumps(as_plain(document), indent=2, allow_nan=False)


def error_document(kind: str, message: str) -> str:
    """An error as JSON."""
    return json.dumps({"error": {"type": kind, "message": without_secrets(message)}}, indent=2)


def as_plain(value: Any) -> Any:
    """Values that JSON has: numbers of numpy as numbers, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return as_plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    # Of pandas; it may not be loaded.
    return None if type(value).__name__ in ("NAType", "NaTType") else str(value)


def describe_inputs(sources: Sequence[Any]) -> list[dict[str, Any]]:
    """Of each input: cells, variables, and what became of their genes; saved tokens have none."""
    described = []
    for source in sources:
        own: dict[str, Any] = {"source": source.name, "n_cells": len(source)}
        mapping = getattr(source, "mapping", None)
        if mapping is not None:
            own |= {
                "n_variables": mapping.n_vars,
                "n_variables_mapped": mapping.n_mapped,
                "n_genes": mapping.n_genes,
            }
            kept = getattr(source, "counts_kept", None)
            own |= {} if kept is None else kept.plain()
        described.append(own)
    return described


def _inputs(sources: Sequence[Any]) -> list[str]:
    lines = []
    for each in describe_inputs(sources)[:_MOST_INPUTS]:
        genes = ""
        if "n_genes" in each:
            genes = (
                f"; {each['n_variables_mapped']:,} of {each['n_variables']:,} variables "
                f"are {each['n_genes']:,} genes of the model"
            )
        if "counts_kept" in each:
            genes += (
                f"; of the counts, {100 * each['counts_with_ortholog']:.1f} % lie in genes with a "
                f"human ortholog, and {100 * each['orthologs_in_vocabulary']:.1f} % of these in "
                "genes of the model"
            )
        name = printable(Path(each["source"]).name)
        lines.append(f"Read {name}: {each['n_cells']:,} cells{genes}.")
    if len(sources) > _MOST_INPUTS:
        lines.append(f"Read {len(sources) - _MOST_INPUTS} inputs more.")
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import version

    packages = ("rankformer", "torch", "numpy", "anndata")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
