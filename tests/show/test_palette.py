"""Colours are told apart, also by those who see fewer of them."""

from itertools import combinations

import numpy as np
import pytest

from rankformer.errors import SettingsError
from rankformer.show.palette import CATEGORIES, MISSING, colour_categories, marker_of

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
SEEN = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
}  # fmt: skip


# sRGB to XYZ, D65 (IEC 61966-2-1).
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
       [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip


def lab(colour, seen):
    """CIELAB of a colour as somebody sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    shown = np.clip(np.array(seen) @ linear, 0, 1)
    t = np.array(XYZ) @ shown / [0.95047, 1, 1.08883]
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SEEN)
def test_no_two_categories_look_alike(seen):
    colours = {each: lab(each, SEEN[seen]) for each in (*CATEGORIES, MISSING, "#FFFFFF")}
    apart = {pair: np.linalg.norm(colours[pair[0]] - colours[pair[1]])
             for pair in combinations(CATEGORIES, 2)}  # fmt: skip
    assert min(apart.values()) > 14, min(apart, key=apart.get)
    for each in CATEGORIES:
        assert np.linalg.norm(colours[each] - colours["#FFFFFF"]) > 20
        assert np.linalg.norm(colours[each] - colours[MISSING]) > 10


def test_past_the_last_colour_shapes_differ():
    names = [f"type {i}" for i in range(60)]
    drawn = [(colour, marker_of(i)) for i, colour in enumerate(colour_categories(names).values())]
    assert len(set(drawn)) == 60


def test_colours_of_ones_own():
    names = ["B", "T"]
    assert colour_categories(names, {"T": "black", "B": "#ff0000"}) == {
        "B": "#ff0000", "T": "#000000"
    }  # fmt: skip
    assert list(colour_categories(names, ["red", "blue", "green"]).values()) == [
        "#ff0000", "#0000ff"
    ]  # fmt: skip
    assert len(set(colour_categories(names, "viridis").values())) == 2


@pytest.mark.parametrize("palette", [{"B": "red"}, ["red"], "no map", {"B": "red", "T": "rud"}])
def test_colours_that_are_none_are_refused(palette):
    with pytest.raises(SettingsError, match="palette"):
        colour_categories(["B", "T"], palette)
