"""A page for each public name, written from its docstring and types when the site is built.

``docs/api.md`` lists the names in tables; on the site each name in them leads to its page.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = "api"
_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)


def write_pages(app: Any) -> None:
    """Write the pages into ``docs/api``, and only what has changed."""
    folder = Path(app.srcdir) / FOLDER
    folder.mkdir(exist_ok=True)
    wanted = dict(all_pages())
    for file in folder.glob("*.rst"):
        if file.stem not in wanted:
            file.unlink()
    for name, text in wanted.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def all_pages() -> Iterator[tuple[str, str]]:
    """Names of pages and their texts; a module of functions has a page, and each of them too."""
    import rankformer

    for name in sorted(rankformer.__all__):
        public = getattr(rankformer, name)
        full = f"rankformer.{name}"
        if isinstance(public, ModuleType):
            show_own_signatures(public)
            yield full, module_page(full, sorted(public.__all__))
            for each in sorted(public.__all__):
                yield f"{full}.{each}", page(full, each, getattr(public, each))
        else:
            yield full, page("rankformer", name, public)


def show_own_signatures(module: ModuleType) -> None:
    """Have Sphinx show the keywords that functions take as ``**how``, as ``help`` does.

    It would look at the functions within, which `rankformer.keywords.show_keywords` wraps.
    """
    for name in module.__all__:
        vars(getattr(module, name)).pop("__wrapped__", None)


def page(module: str, name: str, public: Any) -> str:
    """The page of a function or class."""
    title = f"{module}.{name}"
    directive = f".. autofunction:: {name}"
    if inspect.isclass(public):
        directive = f".. autoclass:: {name}\n   :members:"
    return f"{heading(title)}\n.. currentmodule:: {module}\n\n{directive}\n"


def module_page(module: str, names: list[str]) -> str:
    """The page of a module: what it is for, and its functions."""
    listed = "\n".join(f"   {name}" for name in names)
    below = "\n".join(f"   {name} <{module}.{name}>" for name in names)
    return (
        f"{heading(module)}\n.. automodule:: {module}\n\n.. currentmodule:: {module}\n\n"
        f".. autosummary::\n   :nosignatures:\n\n{listed}\n\n"
        f".. toctree::\n   :hidden:\n\n{below}\n"
    )


def heading(title: str) -> str:
    """A title as reStructuredText has it."""
    return f"{title}\n{'=' * len(title)}\n"


def link_names(_: Any, docname: str, source: list[str]) -> None:
    """Lead each name of the tables to its page, and put the pages below this one in the menu."""
    if docname == FOLDER:
        names = _ROW.findall(source[0])
        rows = _ROW.sub(rf"| [`\1`]({FOLDER}/rankformer.\1) |", source[0])
        below = "\n".join(f"{name} <{FOLDER}/rankformer.{name}>" for name in names)
        source[0] = f"{rows}\n\n```{{toctree}}\n:hidden:\n\n{below}\n```\n"


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
