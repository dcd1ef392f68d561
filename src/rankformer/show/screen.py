"""The screen on which results are printed: a terminal that obeys no name."""

from typing import Any

from rich.console import Console
from rich.text import Text

from rankformer.printable import fit_to_show


class Screen(Console):
    """A `rich.console.Console` on which names from files are shown as they are.

    Characters in them that a terminal would obey are shown as escapes, and ``:smile:`` is no
    picture. What is to be bold or coloured is written in rich's markup; names within are given
    through `rich.markup.escape`.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(highlight=False, emoji=False, **more)

    def render_str(self, text: str, **how: Any) -> Text:
        """Every text that is printed, in tables too, comes by here."""
        return super().render_str(fit_to_show(text), **how)
