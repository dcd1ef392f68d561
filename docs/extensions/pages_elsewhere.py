"""Pages that lie outside of ``docs``, and links to files that are no pages.

A forge shows the README of a folder and follows links between any two files. The site has only
pages: it takes those below in the place of their page in ``docs``, which on a forge is a line with
a link. A link to any other file outside becomes the text that it stands under.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

# Page of the site → file, from the root of the checkout.
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "benchmarks": "benchmarks/README.md",
        "changelog": "CHANGELOG.md",
        "contributing": "CONTRIBUTING.md",
    }
)
_HOME: Mapping[str, str] = MappingProxyType({"README.md": "index"})
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
_FENCE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def take_pages(app: Any, docname: str, source: list[str]) -> None:
    """Take the text of a page that lies elsewhere, and lead all links to pages of the site."""
    docs = Path(app.srcdir).resolve()
    root = docs.parent
    here = docs / docname
    if docname in ELSEWHERE:
        here = root / ELSEWHERE[docname]
        app.env.note_dependency(str(here))
        source[0] = here.read_text(encoding="utf-8")
    elif not here.with_suffix(".md").exists():
        return

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        page = page_of((here.parent / target).resolve(), docs)
        if page is None:
            return text
        path = os.path.relpath(docs / page, (docs / docname).parent)
        return f"[{text}]({path}{anchor})"

    source[0] = outside_of_code(source[0], lambda text: _LINK.sub(lead, text))


def page_of(file: Path, docs: Path) -> str | None:
    """The file of a page of the site that shows a file, from ``docs``; None if there is none."""
    if file.is_relative_to(docs):
        return str(file.relative_to(docs))
    path = file.relative_to(docs.parent).as_posix() if file.is_relative_to(docs.parent) else ""
    for page, shown in (*ELSEWHERE.items(), *((v, k) for k, v in _HOME.items())):
        if path == shown and (docs / f"{page}.md").exists():
            return f"{page}.md"
    return None


def outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Change a text of Markdown, and leave its blocks of code as they are."""
    parts = _FENCE.split(text)
    return "".join(part if i % 2 else change(part) for i, part in enumerate(parts))


def setup(app: Any) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("source-read", take_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
