"""The docs as a site: every page is in the menu, and every link and anchor leads somewhere.

``make docs`` builds it and takes each warning for an error. Here is what it does not see.
"""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path
from statistics import median

import pytest

import rankformer

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
EXTENSIONS = DOCS / "extensions"
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", EXTENSIONS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sections, elsewhere = load("sections"), load("pages_elsewhere")
PAGES = sorted(DOCS.glob("*.md"))


def slugs(file):
    """Anchors of a page's headings, as forges and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", file.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings)
    return set(plain)


def test_every_page_is_in_the_menu_once():
    listed = [name for names in sections.SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    told = "name the page in docs/extensions/sections.py"
    assert {page.stem for page in PAGES} - {sections.ROOT} <= set(listed), told
    assert sections.MARK in (DOCS / "index.md").read_text()


def test_the_menu_has_what_is_there_and_no_more(tmp_path):
    for name in ("commands.md", "quickstart.md", "notebooks/b.ipynb", "notebooks/a.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    entries = [line for line in sections.menu(tmp_path).splitlines() if line[:1].isalpha()]
    assert entries == ["quickstart", "notebooks/a", "notebooks/b", "commands"]


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_anchors_lead_to_headings(page):
    text = FENCE.sub("", page.read_text())
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#([^)\s]+)\)", text):
        file = (page.parent / target).resolve() if target else page
        assert anchor in slugs(file), f"{page.name} links to {target}#{anchor}"


def test_links_to_files_that_are_no_pages_become_text():
    class App:
        srcdir = str(DOCS)

        class env:  # noqa: N801 # as Sphinx names it
            @staticmethod
            def note_dependency(_):
                pass

    source = ["ignored"]
    elsewhere.take_pages(App, "benchmarks", source)
    assert source[0].startswith("# Benchmarks")
    assert "[peers/README.md]" not in source[0]
    assert "peers/README.md says how" in source[0]
    source = ["[a](../benchmarks/README.md#start) [b](../README.md)\n```\n[c](../LICENSE)\n```\n"]
    elsewhere.take_pages(App, "models", source)
    assert source[0] == "[a](benchmarks.md#start) [b](index.md)\n```\n[c](../LICENSE)\n```\n"


def test_functions_of_modules_get_pages_with_their_keywords(monkeypatch):
    """Sphinx is given the functions as ``help`` shows them, not those that they wrap."""
    pytest.importorskip("sphinx")
    for name in rankformer.tl.__all__:  # of the other tests' too: they get them back
        function = getattr(rankformer.tl, name)
        monkeypatch.setattr(function, "__wrapped__", function.__wrapped__)
    pages = dict(load("api_pages").all_pages())
    assert set(pages) >= {f"rankformer.{name}" for name in rankformer.__all__}
    assert set(pages) >= {f"rankformer.tl.{name}" for name in rankformer.tl.__all__}
    assert "autoclass:: Vocabulary" in pages["rankformer.Vocabulary"]
    assert not hasattr(rankformer.tl.embed, "__wrapped__")


def test_extras_are_told():
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`[^|]+`) \|", (DOCS / "installing.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(known)


def test_figures_on_the_page_of_limits_are_those_measured():
    page = (DOCS / "limits.md").read_text()
    results = ROOT / "benchmarks" / "results"
    found = json.loads((results / "annotation.json").read_text())["figures"]

    def accuracy(query, method):
        return f"{median(found[query][method]['accuracy']):.2f}"

    for query, said in {"CTRL": "| control cells of ifnb", "STIM": "| stimulated cells"}.items():
        (row,) = [line for line in page.splitlines() if line.startswith(said)]
        assert f"| {accuracy(query, 'rankformer annotate')} |" in row
        assert f"| {accuracy(query, 'rankformer-mini, fine-tuned')} (" in row
        assert f"{accuracy(query, 'HVG + PCA, neighbours')} with HVG + PCA" in row
        regression = accuracy(query, "logistic regression, log counts")
        assert f"{regression} with logistic regression" in row
    unseen = json.loads((results / "unseen_cells.json").read_text())["rows"]
    sets = {
        "blood_cells": "the example's blood cells", "pbmc3k": "| pbmc3k, 8 types",
        "ifnb": "| ifnb, with and without", "sc_mixology": "| five lung cancer cell lines |",
        "pancreas": "| a human pancreas", "retina": "| a human retina", "heart": "| a human heart",
        "mouse_brain": "| a mouse brain",
    }  # fmt: skip
    for name, said in sets.items():
        row = next(line for line in page.splitlines() if said in line)
        told = [float(each.split()[0]) for each in row.strip("| ").split(" | ")[1:]]
        measured = {
            each["method"]: each["knn_macro_f1"]["mean"] for each in unseen if each["cells"] == name
        }
        methods = ("rankformer-mini", "HVG + PCA", "scVI, one batch")
        assert told == [round(measured[each], 2) for each in methods]
