"""Vocabularies from 3,000 to 300,000 cells: memory stays, and cells a second.

Real cells repeated: once as a folder of many files, once as one large file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import anndata
from anndata.experimental import concat_on_disk
from machine import describe_machine
from processes import RUNNERS, run_measured
from reporting import markdown_table, short, spread, write_json

HEADER = ("cells", "source", "layout", "sketch, cells/s", "peak, MB", "peak beside the smallest")


def link_files(path: Path, times: int, folder: Path) -> list[Path]:
    """Names for the same file, `times` of them."""
    folder.mkdir()
    links = [folder / f"part{index}.h5ad" for index in range(times)]
    for link in links:
        link.symlink_to(path.resolve())
    return links


def lay_out(path: Path, n_cells: int, folder: Path) -> dict[str, Path]:
    """The file's cells about `n_cells` times over, as a folder and as one file."""
    times = max(1, round(n_cells / anndata.read_h5ad(path, backed="r").n_obs))
    links = link_files(path, times, folder)
    one = folder.with_suffix(".h5ad")
    named = {f"{index}": link for index, link in enumerate(links)}
    concat_on_disk(named, one, index_unique="-", merge="same")
    return {f"{times} files": folder, "one file": one}


def measure(arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All sizes and layouts in each round."""
    results = []
    for path in arguments.cells:
        for n_cells in arguments.n_cells:
            layouts = lay_out(path, n_cells, folder / f"{path.stem}{n_cells}")
            for _ in range(arguments.rounds):
                results += [run(path.stem, layout, n_cells, at) for layout, at in layouts.items()]
            layouts["one file"].unlink()
    return results


def run(source: str, layout: str, asked: int, at: Path) -> dict[str, Any]:
    """One vocabulary in a process of its own."""
    print(f"{source}: {asked:,} cells, {layout} …", file=sys.stderr, flush=True)
    command = [sys.executable, RUNNERS / "vocabulary_runner.py", "--cells", at]
    shape = "one file" if layout == "one file" else "many files"
    return {"source": source, "layout": shape, "asked": asked, **run_measured(command)}


def rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """A row a source, layout and size; peaks beside that of the smallest size."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["source"], each["layout"], each["asked"]), []).append(each)
    table = []
    for (source, layout, _), rounds in sorted(groups.items()):
        smallest = min(size for other, shape, size in groups if (other, shape) == (source, layout))
        least = min(peak(each) for each in groups[source, layout, smallest])
        rates = spread(each["n_cells"] / each["seconds"]["sketch"] for each in rounds)
        ratio = short(min(map(peak, rounds)) / least)
        cells = f"{rounds[0]['n_cells']:,}"
        table.append([cells, source, layout, rates, spread(map(peak, rounds)), ratio])
    return table


def peak(figures: dict[str, Any]) -> float:
    """Of the whole process, in MB."""
    return figures["peak_rss_mb"]["build"]


def main() -> None:
    """Measure, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=Path, nargs="+", required=True, help="with Ensembl ids")
    parser.add_argument("--n-cells", type=int, nargs="+", default=[3_000, 30_000, 300_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="JSON of all figures")
    arguments = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        results = measure(arguments, Path(folder))
    write_json(arguments.out, {"machine": machine, "results": results})
    print(markdown_table(HEADER, rows(results)))


if __name__ == "__main__":
    main()
