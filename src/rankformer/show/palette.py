"""Colours of all pictures: told apart by colour-blind readers, and seen on white."""

from collections.abc import Mapping, Sequence

from rankformer.errors import SettingsError

# Six of Okabe and Ito's colours; the others were chosen one by one, each as far as can be from
# those before it in CIELAB, as readers with normal vision, protanopia and deuteranopia see it
# (Machado et al., IEEE Trans. Vis. Comput. Graph. 15, 1291, 2009). No two lie nearer than 14.
CATEGORIES = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#780F00",
    "#001E87", "#F0C378", "#0078F0", "#4B0F5A", "#D22D4B", "#5A0F1E", "#D2C396", "#A53C0F",
    "#5A96F0", "#E1784B", "#3C4BB4", "#785A87", "#3C693C", "#3C3C87", "#78D2F0", "#FF4B78",
)  # fmt: skip
# With each round through the colours another shape.
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, FAINT, GRID = "#333333", "#BBBBBB", "#E3E3E3"
MISSING = "#D0D0D0"
UP, DOWN, UNSURE = "#D55E00", "#0072B2", "#888888"
# Maps of numbers: perceptually even, and read in grey as well.
SEQUENTIAL, DIVERGING, SHARES = "viridis", "PuOr_r", "Blues"

Palette = Mapping[str, str] | Sequence[str] | str | None


def colour_categories(names: Sequence[str], palette: Palette = None) -> dict[str, str]:
    """A colour for each category.

    Parameters
    ----------
    names
        The categories, in their order.
    palette
        Category → colour; colours in the order of the categories, such as
        ``adata.uns["cell_type_colors"]``; the name of one of matplotlib's colour maps; or None for
        `CATEGORIES`.

    Raises
    ------
    SettingsError
        If a category has no colour, there are too few, or one is no colour of matplotlib's.
    """
    from matplotlib.colors import is_color_like, to_hex

    if palette is None:
        return {name: CATEGORIES[i % len(CATEGORIES)] for i, name in enumerate(names)}
    if isinstance(palette, Mapping):
        given = {str(key): value for key, value in palette.items()}
        absent = [name for name in names if name not in given]
        if absent:
            raise SettingsError(
                f"palette has no colour for {', '.join(absent[:5])}.",
                f"A colour for each of the {len(names):,} categories.",
                "Add what is missing, or leave palette out.",
            )
        colours = [given[name] for name in names]
    else:
        colours = _colours_in_order(names, palette)
    odd = [each for each in colours if not is_color_like(each)]
    if odd:
        raise SettingsError(
            f"palette holds {odd[0]!r}.",
            'Colours that matplotlib knows, such as "#0072B2" or "orange".',
            "Correct palette.",
        )
    return dict(zip(names, map(to_hex, colours), strict=True))


def _colours_in_order(names: Sequence[str], palette: Sequence[str]) -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if isinstance(palette, str):
        if palette not in colormaps:
            raise SettingsError(
                f"palette is {palette!r}.",
                "A colour map of matplotlib's, a list of colours, or colours of categories.",
                "Correct palette, or leave it out.",
            )
        drawn = colormaps[palette].resampled(max(len(names), 2))
        return [to_hex(drawn(i)) for i in range(len(names))]
    if len(palette) < len(names):
        raise SettingsError(
            f"palette has {len(palette):,} colours.",
            f"One for each of the {len(names):,} categories.",
            "Add what is missing, or leave palette out.",
        )
    return list(palette[: len(names)])


def marker_of(place: int) -> str:
    """The shape of the category at a place: another one with each round through the colours."""
    return MARKERS[place // len(CATEGORIES) % len(MARKERS)]
