"""What the docs say runs: every Python block, every command; and every public name is listed."""

import doctest
import inspect
import os
import re
import shlex
import sys
from io import StringIO
from pathlib import Path

import pytest

import rankformer
from rankformer import datasets, pl, tl
from rankformer.checkpoints.registry import MODELS
from rankformer.cli import main
from tests import commands_page
from tests.conftest import save_small_checkpoint, small_vocabulary

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(ROOT / name for name in BESIDE), *sorted((ROOT / "docs").glob("*.md"))]
MODEL = "gf-12L-95M-i4096"


def blocks(page):
    """Languages and texts of the blocks of a page, from above to below."""
    return re.findall(r"```(python|bash)\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch, small_adata):
    """A folder with cells and a small model, where a reader follows the page."""
    monkeypatch.chdir(tmp_path)
    # A reader has the environment activated, so that its commands are found by name.
    commands = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    small_adata.obs["donor"] = [f"D{1 + cell // 10}" for cell in range(30)]
    small_adata.write_h5ad("pbmc.h5ad")
    Path("known.tsv").write_text("G5 G9\nG5 G12\nG2 G12\nG9 G3\n")
    return save_small_checkpoint(tmp_path / "model", small_vocabulary())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.parametrize("vocabulary", ["v2-like"], indirect=True)
def test_examples_run(page, desk, monkeypatch):
    """In the order in which a reader meets them: each finds what those above it wrote."""
    names = {}
    for language, block in blocks(page):
        if language == "python":
            exec(block.replace(MODEL, str(desk)), names)  # noqa: S102
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["rankformer"] and "fetch" not in words:
                words = [str(desk) if word == MODEL else word for word in words]
                monkeypatch.setattr(sys, "argv", words)
                with pytest.raises(SystemExit) as ended:
                    main()
                assert not ended.value.code, line


@pytest.fixture
def vocabulary(request):
    return small_vocabulary(special=request.param == "v2-like")


FUNCTIONS = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (rankformer, datasets, pl, tl)
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("vocabulary", ["v2-like"], indirect=True)
def test_examples_of_functions_run(name, desk):
    said = inspect.getdoc(FUNCTIONS[name]).replace(MODEL, str(desk))
    example = doctest.DocTestParser().get_doctest(said, {}, name, None, 0)
    assert example.examples, f"{name} has no example"
    told = StringIO()
    done = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=told.write)
    assert not done.failed, told.getvalue()


def test_every_public_name_is_on_the_api_page():
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(rankformer.__all__)
    assert all(getattr(rankformer, name).__doc__ for name in listed)


def test_the_page_of_commands_is_of_today():
    told = "docs/commands.md is old: python -m tests.commands_page"
    assert commands_page.PAGE.read_text() == commands_page.page(), told


def test_what_make_is_asked_for_is_there():
    pages = [*PAGES, *(ROOT / "benchmarks").glob("*.md")]
    command = re.compile(r"(?:^|`)make ([a-z-]+)", re.MULTILINE)
    asked = {each for page in pages for each in command.findall(page.read_text())}
    assert asked >= {"demo", "test", "mutants"}
    assert asked <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_models_page_lists_the_registry():
    page = (ROOT / "docs" / "models.md").read_text()
    for model in MODELS:
        assert all(f"`{name}`" in page for name in model.names)
