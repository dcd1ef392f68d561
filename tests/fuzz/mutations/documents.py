"""JSON: values, keys and types edited, and text that readers of JSON differ about."""

import json
from pathlib import Path
from typing import Any

import numpy as np

ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3.5, 1e300, 2**31, 2**62, 10**400, float("nan"), float("inf"), "", "odd",
    "\ud800", "\0", "../elsewhere", [], [None], [[]], {}, {"a": 1}, {"": {}},
)  # fmt: skip
_TEXTS = (
    ("deeply nested", "[" * 100_000 + "]" * 100_000),
    ("deeply nested objects", '{"a":' * 50_000 + "1" + "}" * 50_000),
    ("a very long number", "1" * 100_000),
    ("of UTF-16", None), ("with a byte order mark", None), ("with a key twice", None),
    ("cut within", None), ("with a NUL", None),
)  # fmt: skip


def damage_json(file: Path, rng: np.random.Generator) -> str:
    """Edit a JSON file; returns what was done."""
    text = file.read_text(encoding="utf-8")
    if rng.random() < 0.15:
        return _damage_text(file, text, rng)
    document = json.loads(text)
    what = edit_document(document, rng)
    if what is None:
        document, what = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))], "document replaced"
    file.write_bytes(json.dumps(document).encode())
    return what


def edit_document(document: Any, rng: np.random.Generator) -> str | None:
    """Edit a value within a document, in place; None where the whole is to be replaced."""
    holder, key = document, None
    while isinstance(holder, dict | list) and len(holder):
        keys = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(holder[key], dict | list) or rng.random() < 0.4:
            break
        holder = holder[key]
    if rng.random() < 0.05 or key is None or not isinstance(holder, dict | list) or not holder:
        return None
    return _edit(holder, key, rng)


def _edit(holder: Any, key: Any, rng: np.random.Generator) -> str:
    kind = str(rng.choice(["deleted", "replaced", "replaced", "number", "renamed", "doubled"]))
    value = holder[key]
    if kind == "deleted":
        del holder[key]
    elif kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = value * [-1, 2, 0.5, 1000][int(rng.integers(4))] + int(rng.integers(2))
    elif kind == "renamed" and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
    elif kind == "doubled" and isinstance(holder, list):
        holder.insert(0, value)
    else:
        kind = "replaced"
        holder[key] = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return f"value {kind} at {key!r}"


def _damage_text(file: Path, text: str, rng: np.random.Generator) -> str:
    what, other = _TEXTS[int(rng.integers(len(_TEXTS)))]
    if what == "of UTF-16":
        file.write_bytes(text.encode("utf-16"))
    elif what == "with a byte order mark":
        file.write_bytes(b"\xef\xbb\xbf" + text.encode())
    elif what == "with a key twice":
        file.write_text(_with_a_key_twice(text, rng), encoding="utf-8")
    elif what == "cut within":
        file.write_text(text[: int(rng.integers(len(text)))], encoding="utf-8")
    elif what == "with a NUL":
        file.write_bytes(text.encode() + b"\0")
    else:
        file.write_text(str(other), encoding="utf-8")
    return f"text {what}"


def _with_a_key_twice(text: str, rng: np.random.Generator) -> str:
    document = json.loads(text)
    if not isinstance(document, dict) or not document:
        return text + text
    key = sorted(document)[int(rng.integers(len(document)))]
    other = ODD_VALUES[int(rng.integers(6))]
    return text.rstrip().rstrip("}") + f", {json.dumps(key)}: {json.dumps(other)}}}"
