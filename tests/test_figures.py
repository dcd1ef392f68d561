"""The pictures of the docs are those that the code of today draws, to the byte."""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.syspath_prepend(str(FIGURES))
    spec = importlib.util.spec_from_file_location("draw", FIGURES / "draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    folder = tmp_path_factory.mktemp("figures")
    draw.main(folder)
    yield folder
    monkeypatch.undo()
    for name in [*draw.PICTURES, "drawing", "example_cells"]:
        sys.modules.pop(name, None)


def test_each_picture_is_of_today(drawn):
    if version("matplotlib") != PINNED["matplotlib"]:
        pytest.skip("another matplotlib than that of constraints.txt draws letters otherwise")
    names = sorted(each.name for each in drawn.iterdir())
    assert names == sorted(each.name for each in FIGURES.glob("*.svg"))
    for name in names:
        told = f"docs/figures/{name} is old: make figures"
        assert (drawn / name).read_bytes() == (FIGURES / name).read_bytes(), told


def test_pictures_are_small_and_have_no_dates(drawn):
    for file in drawn.iterdir():
        text = file.read_text()
        assert len(text) < 200_000
        assert "dc:date" not in text


def test_the_ranks_in_the_picture_are_those_of_the_tokenizer(drawn):
    """The picture computes values by the formula; the tokens of the cell are the tokenizer's."""
    import example_cells

    names, vectors = example_cells.read_tokens()
    cell = example_cells.read_cell()
    values = dict(zip(cell.symbols, cell.values, strict=True))
    genes = names[1:-1]
    assert (names[0], names[-1]) == ("<cls>", "<eos>")
    assert sorted(genes) == sorted(cell.symbols)
    ranked = [values[gene] for gene in genes]
    assert ranked == sorted(ranked, reverse=True)
    assert vectors.shape == (len(names), 160)
    # The sentence below the picture.
    assert genes[0] == "CLIC3"
    assert genes.index("NKG7") + 1 == 6
