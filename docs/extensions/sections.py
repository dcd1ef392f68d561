"""The pages in the order in which they are read, under the headings of the site's menu.

A page that is not there yet is left out, so that one can be written before or after it is named.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

SECTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Getting started": ("installing", "quickstart", "which-model", "models"),
        "Notebooks": ("notebooks/*",),
        "How to": (
            "embedding", "annotating", "finetuning", "evaluating", "perturbing", "gene-networks",
            "pretraining", "vocabularies", "report", "plots", "going-on", "long-runs", "workflows",
            "engines", "gpu", "scale", "mcp",
        ),
        "Concepts": ("concepts", "genes", "perturbation-screen", "limits", "what-mini-saw"),
        "Coming from": ("coming-from-helical", "coming-from-geneformer", "capabilities", "faq"),
        "Reference": (
            "commands", "api", "python", "files", "json", "logging", "bad-inputs",
            "benchmarks", "changelog",
        ),
        "Developing": ("developing", "contributing"),
    }
)  # fmt: skip
ROOT = "index"
MARK = "<!-- the menu: docs/extensions/sections.py -->"


def pages(folder: Path, names: tuple[str, ...]) -> Iterator[str]:
    """Those of some pages that are there, by their names without ending."""
    for name in names:
        found = {
            str(file.relative_to(folder).with_suffix(""))
            for ending in (".md", ".ipynb")
            for file in folder.glob(f"{name}{ending}")
        }
        yield from sorted(found)


def menu(folder: Path) -> str:
    """The toctrees of all sections, in MyST's Markdown."""
    trees = []
    for heading, names in SECTIONS.items():
        if listed := list(pages(folder, names)):
            lines = ("```{toctree}", ":hidden:", f":caption: {heading}", "", *listed, "```")
            trees.append("\n".join(lines))
    return "\n\n".join(trees)


def add_menu(app: Any, docname: str, source: list[str]) -> None:
    """Put the menu where the first page has its mark."""
    if docname == ROOT:
        source[0] = source[0].replace(MARK, menu(Path(app.srcdir)))


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", add_menu)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
