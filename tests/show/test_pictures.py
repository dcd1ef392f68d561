"""Pictures beside those kept here, and their files: the same bytes from the same input."""

import io
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from tests.show.pictures import BASELINE, PICTURES, draw

from rankformer.show.canvas import write_figure

# Of 255, in the root mean square. Other versions of matplotlib draw text a little differently; and
# where genes stand in a network comes of an optimisation, which machines round differently.
MOST_APART, OF_OTHERS = 0.8, 6.0


def pixels(source) -> np.ndarray:
    return np.asarray(Image.open(source).convert("RGB"), dtype=float)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_like_the_one_that_was_judged(name, tmp_path):
    """Where it should differ: python -m tests.show.write_baselines, and look at what it wrote."""
    png = draw(name)
    found, kept = pixels(io.BytesIO(png)), pixels(BASELINE / f"{name}.png")
    assert np.abs(np.subtract(found.shape, kept.shape)).max() <= 4
    height, width = np.minimum(found.shape, kept.shape)[:2]
    apart = found[:height, :width] - kept[:height, :width]
    (tmp_path / f"{name}.png").write_bytes(png)
    same = Image.open(BASELINE / f"{name}.png").text["Software"] == f"matplotlib {mpl.__version__}"
    allowed = MOST_APART if same and name != "gene-network" else OF_OTHERS
    assert np.sqrt((apart**2).mean()) < allowed, f"see {tmp_path}/{name}.png"


def test_baselines_are_small_and_of_pictures_that_there_are():
    kept = {each.stem: each.stat().st_size for each in BASELINE.iterdir()}
    assert set(kept) == set(PICTURES)
    assert max(kept.values()) < 40_000


FILES = ("embedding-categories.png", "volcano.pdf", "gene-mapping.svg")


@pytest.mark.parametrize("file", FILES)
def test_the_same_input_gives_the_same_bytes(file, tmp_path):
    name, _, ending = file.partition(".")
    files = [tmp_path / f"{n}.{ending}" for n in (1, 2)]
    for each in files:
        write_figure(PICTURES[name]().figure, each)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_also_in_another_process(tmp_path):
    """Whose hashes of texts, and with them the order of sets, differ."""
    code = (
        "import sys; from pathlib import Path; from tests.show.pictures import PICTURES\n"
        "from rankformer.show.canvas import write_figure\n"
        "for each in sys.argv[2:]:\n"
        "    write_figure(PICTURES[each.split('.')[0]]().figure, Path(sys.argv[1], each))"
    )
    names = ("gene-network.svg", "marker-genes.svg")
    environment = {**os.environ, "PYTHONHASHSEED": "12"}
    subprocess.run([sys.executable, "-c", code, tmp_path, *names], check=True, env=environment)
    for name in names:
        write_figure(PICTURES[name.split(".")[0]]().figure, tmp_path / "here.svg")
        assert (tmp_path / "here.svg").read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_cut_off(name):
    """All that is drawn lies within the figure."""
    with mpl.rc_context(mpl.rcParamsDefault):
        figure = PICTURES[name]().figure
        figure.draw_without_rendering()
        drawn, whole = figure.get_tightbbox(), figure.bbox_inches
    assert drawn.x0 >= -0.01
    assert drawn.y0 >= -0.01
    assert drawn.x1 <= whole.x1 + 0.01
    assert drawn.y1 <= whole.y1 + 0.01


@pytest.mark.parametrize("name", PICTURES)
def test_text_is_of_seven_to_nine_points(name):
    from matplotlib.text import Text

    figure = PICTURES[name]().figure
    figure.draw_without_rendering()
    sizes = {each.get_fontsize() for each in figure.findobj(Text)
             if each.get_text() and each.get_visible()}  # fmt: skip
    assert sizes
    assert all(7 <= size <= 9 for size in sizes)
