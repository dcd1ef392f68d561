"""A page for each public name, written from its docstring and types when the site is built.

``docs/api.md`` lists the names in tables; on the site each name in them leads to its page.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.domains.python import PyObject
from sphinx.util.docutils import SphinxRole
from sphinx.util.typing import stringify_annotation

FOLDER = "api"
_ROW = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
_LINK = re.compile(r"\[`([\w.]+)`\]\(api\.md\)")


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
    title = f"{module}.{name}".removeprefix("rankformer.")
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


def tell_types(  # as Sphinx calls it
    _: Any, what: str, __: str, described: Any, ___: Any, lines: list[str]
) -> None:
    """Write the types of a dataclass's fields behind their names, where numpydoc has them."""
    if what != "class" or not is_dataclass(described) or "Attributes" not in lines:
        return
    types = get_type_hints(described)
    first = lines.index("Attributes") + 2
    for i, line in enumerate(lines[first:], first):
        if i + 1 < len(lines) and re.fullmatch("-+", lines[i + 1]):
            break
        names = line.split(", ")
        if line and all(name in types for name in names):
            lines[i] = f"{line} : {stringify_annotation(types[names[0]], 'smart')}"


class PublicName(SphinxRole):
    """What stands in backticks in a docstring: a link where it is a public name, else code."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The node of the role."""
        code = nodes.literal(self.text, self.text)
        public = full_name(self.text)
        if public is None:
            return [code], []
        how = {"refdomain": "py", "reftype": "obj", "reftarget": public, "refexplicit": True}
        return [pending_xref("", code, refdoc=self.env.docname, **how)], []


def full_name(name: str) -> str | None:
    """``rankformer.NAME`` of what a text calls ``NAME``, ``tl.NAME`` or by its full name."""
    import rankformer

    first, *rest = name.removeprefix("rankformer.").split(".")
    if first not in rankformer.__all__:
        return None
    public = getattr(rankformer, first)
    is_known = not rest or (len(rest) == 1 and rest[0] in getattr(public, "__all__", dir(public)))
    return ".".join(("rankformer", first, *rest)) if is_known else None


def link_names(_: Any, docname: str, source: list[str]) -> None:
    """Lead each name of the tables to its page, and put the pages below this one in the menu."""
    source[0] = _LINK.sub(_link_to_page, source[0])
    if docname == FOLDER:
        names = _ROW.findall(source[0])
        rows = _ROW.sub(rf"| [`\1`]({FOLDER}/rankformer.\1) |", source[0])
        below = "\n".join(f"{name} <{FOLDER}/rankformer.{name}>" for name in names)
        source[0] = f"{rows}\n\n```{{toctree}}\n:hidden:\n\n{below}\n```\n"


def _link_to_page(link: re.Match[str]) -> str:
    public = full_name(link[1])
    return f"[`{link[1]}`]({FOLDER}/{public})" if public else link[0]


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.add_role("public", PublicName())
    # Before napoleon reads it.
    app.connect("autodoc-process-docstring", tell_types, priority=400)
    for field in PyObject.doc_field_types:
        field.label = "Fields" if field.name == "variable" else field.label
    app.connect("builder-inited", write_pages)
    app.connect("source-read", link_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
