"""The notebooks of the docs run for a new user, and say what is kept in them."""

import json
import re
from pathlib import Path

import nbformat
import pytest

from tests import notebooks

# It takes less than half a minute on two free cores, and runs always.
FAST = ("perturb-and-screen",)
PATHS = notebooks.notebooks()
MOST_BYTES = 300_000
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")


def name(path):
    return path.stem


def texts(path, kind):
    return [cell.source for cell in notebooks.read(path).cells if cell.cell_type == kind]


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=() if p.stem in FAST else pytest.mark.slow, id=p.stem) for p in PATHS],
)
def test_a_notebook_runs_and_says_what_is_kept(path, tmp_path, monkeypatch):
    """In an empty folder and without a network, as for a reader who has just installed."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kept = notebooks.read(path)
    assert notebooks.disagreements(kept, notebooks.run(kept, tmp_path)) == []


def test_there_are_six():
    assert [path.stem for path in PATHS] == [
        "course",
        "embed-cluster-annotate",
        "finetune-across-donors",
        "gene-network",
        "perturb-and-screen",
        "pretrain-your-own",
    ]


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_outputs_are_kept_whole_and_small(path):
    assert path.stat().st_size < MOST_BYTES
    cells = [cell for cell in notebooks.read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    told = json.dumps([cell.outputs for cell in cells])
    assert "image/png" in told
    # Of this machine, of a run, or noise.
    for trace in ("/tmp", "/home", "/work", "Traceback", "Warning", "INFO", "stderr", " 0x"):  # noqa: S108
        assert trace not in re.sub(r'"image/png": "[^"]*"', "", told)


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_a_file_is_as_the_script_writes_it(path):
    """So that a run rewrites outputs that changed, and nothing else."""
    kept = notebooks.read(path)
    again = nbformat.writes(notebooks.tidy(nbformat.from_dict(kept)))
    assert path.read_text(encoding="utf-8") == again + "\n"


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_it_says_what_is_learned_needed_and_how_long_it_takes(path):
    head = texts(path, "markdown")[0]
    assert head.startswith("# ")
    for promise in ("You will learn", "You need", "It takes"):
        assert f"**{promise}**" in head


@pytest.mark.parametrize("path", PATHS, ids=name)
def test_links_lead_somewhere(path):
    links = [link for text in texts(path, "markdown") for link in LINK.findall(text)]
    assert len(links) > 2
    assert [link for link in links if not (path.parent / link).exists()] == []


def notebook(*outputs, tags=()):
    cell = nbformat.v4.new_code_cell("1", execution_count=1, outputs=list(outputs), id="one")
    cell.metadata["tags"] = list(tags)
    return nbformat.v4.new_notebook(cells=[cell])


def said(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def drawn():
    return nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "<Figure>"})


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("accuracy 0.64", "accuracy 0.66", True),
        ("accuracy 0.64", "accuracy 0.86", False),
        ("13,104 pairs", "13,420 pairs", True),
        ("13,104 pairs", "1,310 pairs", False),
        ("CD74 1.0", "LYZ 1.0", False),
        ("1.0 2.0", "1.0", False),
        ("q 1e-9", "q 3.2e-11", True),
        ("-0.5", "0.5", False),
        ("effect 0.021", "effect -0.021", False),
    ],
)
def test_numbers_may_differ_a_little_and_words_not_at_all(one, other, agree):
    assert notebooks.alike(one, other) is agree
    told = notebooks.disagreements(notebook(said(one)), notebook(said(other)))
    assert bool(told) is not agree


def test_figures_of_trained_models_may_differ_more():
    def compare(one, other, tags):
        return notebooks.disagreements(notebook(one, tags=tags), notebook(other, tags=tags))

    near, far = (said("F1 0.24"), said("F1 0.18")), (said("F1 0.80"), said("F1 0.60"))
    assert compare(*near, tags=()) != []
    assert compare(*near, tags=[notebooks.TRAINED]) == []
    assert compare(*far, tags=[notebooks.TRAINED]) != []


def test_of_a_cell_that_varies_the_kinds_of_outputs_are_held():
    def compare(one, other):
        return notebooks.disagreements(
            notebook(one, tags=[notebooks.VARIES]), notebook(other, tags=[notebooks.VARIES])
        )

    assert compare(said("CD74"), said("LYZ")) == []
    assert compare(said("CD74"), drawn()) != []


def test_what_differs_from_run_to_run_is_left_out():
    noisy = notebook(
        said("one\n"),
        nbformat.v4.new_output("stream", name="stderr", text="noise"),
        said("two"),
        drawn(),
    )
    noisy.metadata["path"] = "here"
    noisy.cells[0].metadata["execution"] = {"iopub.execute_input": "2026"}
    clean = notebooks.tidy(noisy)
    printed, picture = clean.cells[0].outputs
    assert printed.text == "one\ntwo"
    assert list(picture.data) == ["image/png"]
    assert clean.cells[0].metadata == {}
    assert clean.metadata == notebooks.METADATA


def test_an_error_in_a_cell_is_raised(tmp_path):
    broken = notebook()
    broken.cells[0].source = "import rankformer\nrankformer.nothing"
    with pytest.raises(Exception, match="nothing"):
        notebooks.run(broken, tmp_path)


def test_a_run_takes_place_in_the_folder(tmp_path):
    writing = notebook()
    writing.cells[0].source = "open('file', 'w').write('x')"
    notebooks.run(writing, tmp_path)
    assert (Path(tmp_path) / "file").exists()
