"""The steps of `gpu.sh`, one a call: each writes STEP.json to a folder; `show` prints tables."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpu_models import MODELS, Sizes
from machine import describe_machine
from reporting import markdown_table, short
from reporting import write_json as write_in_place

ROOT = Path(__file__).resolve().parents[1]
ENCODER_HEADER = (
    "model", "how", "attention by", "cells/s", "TFLOP/s", "time / its parts alone",
    "products alone, TFLOP/s", "attention alone, TFLOP/s", "cells/s of the stand-in",
)  # fmt: skip
PARITY_HEADER = (
    "model", "float32, to the CPU", "float32, fused to plain", "bfloat16, least cosine",
    "float32, to the stand-in",
)  # fmt: skip
TRAINING_HEADER = (
    "side", "tokens/s", "ms a step", "TFLOP/s", "share of a product's", "times the stand-in",
    "peak memory, GB",
)  # fmt: skip


def write_json(path: Path, report: dict[str, Any]) -> None:
    """The file is there when it is whole: the time of a step may be over while it is written."""
    part = path.with_suffix(".part")
    write_in_place(part, report)
    part.replace(path)


def find_facts(sizes: Sizes, _: Path) -> dict[str, Any]:
    """The card, its driver, and the versions that decide what runs."""
    import torch

    def version(name: str) -> str | None:
        try:
            return str(__import__(name).__version__)
        except (ImportError, AttributeError):
            return None

    facts: dict[str, Any] = {
        "machine": describe_machine(),
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("torch", "triton", "numpy", "rankformer")},
        "cuda": torch.version.cuda,
    }
    if sizes.device == "cuda":
        from rankformer.model.cuda.flash import KINDS, load_backend

        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": properties.name,
            "compute_capability": list(torch.cuda.get_device_capability(0)),
            "gpu_memory_gb": round(properties.total_memory / 2**30, 1),
            "driver": ask_driver(),
            "attention": ", ".join(kind.name for kind in KINDS if load_backend(kind)),
        }
    return facts


def ask_driver() -> str | None:
    """Version, limit of power and highest clock of each card."""
    fields = "driver_version,power.limit,clocks.max.sm,clocks.max.mem"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def run_tests(_: Sizes, __: Path) -> dict[str, Any]:
    """`pytest -m gpu`, and what it said last."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rs", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    lines = done.stdout.splitlines()
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (\w+)", lines[-1] if lines else "")}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    report = {"status": done.returncode, "counts": counts, "failed": failed, "last": lines[-8:]}
    if done.returncode not in (0, 5):
        # No report to be left out at the next run: it is to be tried again.
        sys.exit(f"pytest ended with status {done.returncode}.")
    return report


def measure_encoder(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """All models; each that is done is kept, for a run that is stopped."""
    from gpu_encoder import measure_model

    results = []
    for name in MODELS:
        path = folder / f"encoder-{name}.json"
        if not path.exists():
            write_json(path, measure_model(name, sizes))
        print(name, flush=True)
        results.append(json.loads(path.read_text()))
    return {"models": results}


def measure_training(sizes: Sizes, _: Path) -> dict[str, Any]:
    from gpu_training import measure_steps

    return measure_steps(sizes)


def measure_pipeline(sizes: Sizes, folder: Path) -> dict[str, Any]:
    from gpu_pipeline import measure_file

    return measure_file(sizes, folder)


def measure_perturbation(sizes: Sizes, _: Path) -> dict[str, Any]:
    from gpu_perturbation import measure_deletions

    return measure_deletions(sizes)


def try_fp8(sizes: Sizes, _: Path) -> dict[str, Any]:
    from gpu_fp8 import try_products

    return try_products(sizes)


STEPS: dict[str, Callable[[Sizes, Path], dict[str, Any]]] = {
    "facts": find_facts,
    "tests": run_tests,
    "encoder": measure_encoder,
    "training": measure_training,
    "pipeline": measure_pipeline,
    "perturbation": measure_perturbation,
    "fp8": try_fp8,
}


def show(folder: Path) -> str:
    """What was measured, as Markdown."""
    reports = {
        step: json.loads(path.read_text())
        for step in STEPS
        if (path := folder / f"{step}.json").exists()
    }
    return "\n\n".join(each for step in reports for each in _show_step(step, reports[step]))


def _show_step(step: str, report: dict[str, Any]) -> Iterator[str]:
    if step == "encoder":
        models = report["models"]
        yield markdown_table(ENCODER_HEADER, [row for each in models for row in _ways(each)])
        yield markdown_table(PARITY_HEADER, [_parity(each) for each in models])
    elif step == "training":
        for name, workload in report["workloads"].items():
            header = (f"{workload['model']}, {name}", *TRAINING_HEADER[1:])
            yield markdown_table(header, list(_training_sides(workload["sides"], report)))
    else:
        yield markdown_table((step, ""), [[key, str(value)] for key, value in _flatten(report)])


def _training_sides(sides: dict[str, Any], report: dict[str, Any]) -> Iterator[list[str]]:
    product, padded = report["product_flops_per_second"], sides[report["stand_in"]]
    for side, each in sides.items():
        if "not_run" in each:
            yield [side, each["not_run"], *["-"] * (len(TRAINING_HEADER) - 2)]
            continue
        rate, memory = each["flops_per_second"], each["peak_memory_gb"]
        yield [
            side, short(each["tokens_per_second"]), short(1e3 * each["seconds_of_a_step"]),
            short(rate / 1e12), short(rate / product),
            short(each["tokens_per_second"] / padded["tokens_per_second"]),
            "-" if memory is None else short(memory),
        ]  # fmt: skip


def _flatten(report: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in report.items():
        if isinstance(value, dict):
            yield from ((f"{key}, {within}", each) for within, each in _flatten(value))
        elif not isinstance(value, list):
            yield key, short(value) if isinstance(value, float) else value


def _ways(model: dict[str, Any]) -> Iterator[list[str]]:
    for way, each in model["ways"].items():
        if "not_run" in each:
            yield [model["model"], way, each["not_run"], *["-"] * 6]
            continue
        yield [
            model["model"], way, each["attention"], short(each["cells_per_second"]),
            short(each["flops_per_second"] / 1e12), short(each["time_over_parts"]),
            short(each["product_rate"] / 1e12), short(each["attention_rate"] / 1e12),
            short(model["stand_in"]["cells_per_second"]),
        ]  # fmt: skip


def _parity(model: dict[str, Any]) -> list[str]:
    parity = model["parity"]
    return [
        model["model"],
        *(f"{parity[name]:.1e}" for name in ("float32_to_cpu", "float32_fused_to_plain")),
        f"{parity['bfloat16_least_cosine']:.6f}",
        f"{parity['float32_to_stand_in']:.1e}",
    ]


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=[*STEPS, "show"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, on a CPU")
    arguments = parser.parse_args()
    if arguments.step == "show":
        print(show(arguments.folder))
        return
    sizes = Sizes.tiny() if arguments.tiny else Sizes()
    report = STEPS[arguments.step](sizes, arguments.folder)
    write_json(arguments.folder / f"{arguments.step}.json", report)


if __name__ == "__main__":
    main()
