"""Tables as text: fields, lines and encodings edited."""

import gzip
from pathlib import Path

import numpy as np

_WORDS = (
    "",
    "odd",
    "-1",
    "0",
    "3.5",
    "1e400",
    "99999999999999999999",
    "nan",
    '"',
    "é",
    "\0",
    "1 2",
)
_ENCODINGS = ("utf-16", "utf-8-sig", "utf-32", "cp1252")


def damage_text(file: Path, rng: np.random.Generator) -> str:
    """Edit a table of text, also one of gzip; returns what was done."""
    is_packed = file.suffix == ".gz"
    content = gzip.decompress(file.read_bytes()) if is_packed else file.read_bytes()
    kind, changed = _change(content.decode(), rng)
    if is_packed:
        changed = gzip.compress(changed, mtime=0)
        if rng.random() < 0.2:
            kind, changed = f"{kind}, unpacked,", gzip.decompress(changed)
    file.write_bytes(changed)
    return f"text {kind}"


def _change(text: str, rng: np.random.Generator) -> tuple[str, bytes]:
    lines = text.splitlines()
    line = (
        int(rng.integers(len(lines)))
        if rng.random() < 0.6
        else int(rng.integers(min(4, len(lines))))
    )
    separator = next((each for each in "\t, " if each in lines[line]), "\t")
    fields = lines[line].split(separator)
    field = int(rng.integers(len(fields)))
    kinds = ("field replaced", "field replaced", "field deleted", "field added", "line deleted",
             "line repeated", "lines reversed", "encoded otherwise", "ends of DOS", "line emptied",
             "separated otherwise", "a column deleted", "a very long line", "bytes of no text",
             "numbers up", "last newline missing", "empty")  # fmt: skip
    kind = str(rng.choice(kinds))
    if kind == "field replaced":
        fields[field] = _WORDS[int(rng.integers(len(_WORDS)))]
    elif kind == "field deleted":
        del fields[field]
    elif kind == "field added":
        fields.insert(field, "odd")
    elif kind == "numbers up":
        fields = [str(int(each) + int(rng.integers(-2, 3))) if each.isdigit() else each
                  for each in fields]  # fmt: skip
    lines[line] = separator.join(fields)
    if kind == "line deleted":
        del lines[line]
    elif kind == "line repeated":
        lines.insert(line, lines[line])
    elif kind == "lines reversed":
        lines.reverse()
    elif kind == "line emptied":
        lines[line] = ""
    elif kind == "a column deleted":
        lines = [separator.join(each.split(separator)[:-1]) for each in lines]
    elif kind == "separated otherwise":
        lines = [each.replace(separator, ";") for each in lines]
    elif kind == "a very long line":
        lines[line] = lines[line] + "x" * 2_000_000
    return _encode("\n".join(lines) + "\n", kind, line, rng)


def _encode(text: str, kind: str, line: int, rng: np.random.Generator) -> tuple[str, bytes]:
    if kind == "encoded otherwise":
        encoding = str(rng.choice(_ENCODINGS))
        return f"encoded as {encoding}", ("é" + text if encoding == "cp1252" else text).encode(
            encoding
        )
    if kind == "ends of DOS":
        return kind, text.replace("\n", "\r\n").encode()
    if kind == "bytes of no text":
        begun = len("\n".join(text.split("\n")[:line]).encode())
        return kind, text.encode()[:begun] + b"\xff\xfe\x00\x80" + text.encode()[begun:]
    if kind == "last newline missing":
        return kind, text.rstrip("\n").encode()
    return kind, b"" if kind == "empty" else text.encode()
