"""A report of many cells: how large its page is, how fast it opens, how fast cells are selected.

The cells of FILE are embedded by rankformer-mini. Then many are drawn from them with replacement;
half of the counts of each is dropped, and its vector is moved by half of the spread, so that they
do not lie in heaps of copies. The page is opened in headless Chromium, in
which the graphics are computed by the CPU: a machine with a graphics card is faster.

    python benchmarks/report_page.py --cells pbmc3k.h5ad --n-cells 50000
"""

from __future__ import annotations

import argparse
import math
import shutil
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import anndata as ad
import numpy as np
from machine import describe_machine, load_average
from playwright.sync_api import Page, sync_playwright
from reporting import markdown_table, write_json

import rankformer

ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--disable-background-networking", "--no-first-run",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
READY = "document.documentElement.dataset.ready === 'true'"
# Times between frames, while something goes on.
COUNT_FRAMES = """() => {
    window.frames_at = []
    const note = (now) => { window.frames_at.push(now); requestAnimationFrame(note) }
    requestAnimationFrame(note)
}"""


def draw_cells(file: Path, n_cells: int) -> ad.AnnData:
    """Embedded cells of a file, drawn with replacement, thinned and moved."""
    cells = ad.read_h5ad(file)
    rankformer.tl.embed(cells, model="rankformer-mini")
    rng = np.random.default_rng(0)
    drawn = cells[rng.integers(0, cells.n_obs, n_cells)].copy()
    drawn.X.data = rng.binomial(drawn.X.data.astype(np.int64), 0.5).astype(np.float32)
    drawn.X.eliminate_zeros()
    vectors = drawn.obsm["X_geneformer"]
    noise = rng.normal(0, 0.5 * vectors.std(axis=0), vectors.shape)
    drawn.obsm["X_geneformer"] = (vectors + noise).astype(np.float32)
    drawn.obs_names = [f"cell-{i}" for i in range(n_cells)]
    return drawn


def open_page(page: Page, file: Path) -> float:
    """Seconds until the pictures are drawn."""
    began = time.perf_counter()
    page.goto(file.as_uri())
    page.wait_for_function(READY, timeout=120_000)
    return time.perf_counter() - began


def frames_of_lasso(page: Page) -> list[float]:
    """Milliseconds between frames while a lasso is drawn around half of the picture."""
    box = page.locator(".canvas").first.bounding_box()
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    radius = 0.4 * min(box["width"], box["height"])
    page.click("#mode-lasso")
    page.mouse.move(centre[0] + radius, centre[1])
    page.mouse.down()
    page.evaluate(COUNT_FRAMES)
    for angle in np.linspace(0, 2 * math.pi, 90):
        page.mouse.move(centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
    frames = np.diff(page.evaluate("window.frames_at")).tolist()
    page.mouse.up()
    return frames


def seconds_of_selection(page: Page) -> float:
    """Seconds from the end of the lasso until counts and top genes stand there."""
    began = time.perf_counter()
    page.wait_for_selector("#selection table:nth-of-type(2), #selection td button", timeout=60_000)
    return time.perf_counter() - began


def main() -> None:
    options = _parse_arguments()
    cells = draw_cells(options.cells, options.n_cells)
    with TemporaryDirectory() as folder:
        page_file = Path(folder) / "report.html"
        began = time.perf_counter()
        settings = rankformer.ReportSettings(labels=options.label)
        rankformer.write_report(cells, page_file, settings)
        figures = {
            "cells": options.n_cells,
            "page, MB": page_file.stat().st_size / 1e6,
            "writing the report, s": time.perf_counter() - began,
            **measure_page(page_file, options.rounds),
        }
        if options.keep:
            shutil.copyfile(page_file, options.keep)
    print(markdown_table(("what", "figure"), [(k, f"{v:,.1f}") for k, v in figures.items()]))
    write_json(options.out, {**describe_machine(), "load": load_average(), "figures": figures})


def measure_page(file: Path, rounds: int) -> dict[str, float]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    opening, frames, selection = [], [], []
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        for _ in range(rounds):
            page = browser.new_page(viewport={"width": 1300, "height": 1000})
            opening.append(open_page(page, file))
            frames += frames_of_lasso(page)
            selection.append(seconds_of_selection(page))
            page.close()
        browser.close()
    return {
        "opened, s": median(opening),
        "frames a second while a lasso is drawn": 1000 / float(np.mean(frames)),
        "slowest of 20 frames, ms": float(np.quantile(frames, 0.95)),
        "counts and genes of the selection, s": median(selection),
    }


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--label", default="cell_type")
    parser.add_argument("--n-cells", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="Where to keep the page.")
    parser.add_argument("--out", type=Path, default=Path("report_page.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
