"""What decides a run, as users know it: the option of a command, and its name in Python."""

# Where a manifest, Python and the command line do not use one name for it.
_PYTHON = {"options.layer": "emb_layer", "keys": "key_added"}
_FLAGS = {
    "options.layer": "--emb-layer", "kind": "--type", "labels": "--label", "keys": "--key",
    "references": "--reference", "alternatives": "--alternative", "allow_shift": "--shift",
    "use_doubt": "--doubt",
    "check": "--no-check", "use_raw": "--use-raw", "n_exact": "--exact-runs",
    "n_directions": "--directions", "n_affected": "--affected", "attributes": "--attribute",
    "pyensembl_genome": "--ensembl-release",
}  # fmt: skip
_OF_THE_MODEL = ("model.", "options.heads.")
# Behind these stand names that the user gave.
_TABLES = ("attributes",)
_HASH = "_sha256"
# What says nothing to anybody: hashes, and files with their times and hashes.
_NOT_SHOWN = (_HASH, ".gene_table", ".orthologs", ".references")
_MOST_SHOWN = 80


def tell_difference(key: str, was: str | None, now: str | None) -> str:
    """Say in a sentence, without its end, what is another than it was.

    Parameters
    ----------
    key
        Where it stands in a manifest, such as ``"options.reading.check"``.
    was, now
        Its values as JSON; None where there is none.
    """
    if key == "task":
        return f"the command is {_show(now)} now, and was {_show(was)}"
    what = _name_part_of_model(key) if key.startswith(_OF_THE_MODEL) else _name_option(key)
    is_hidden = key.endswith(_NOT_SHOWN) and was is not None and now is not None
    # Of long values the beginnings may be alike.
    if is_hidden or _show(now) == _show(was):
        return f"{what} is another than it was"
    return f"{what} is {_show(now)} now, and was {_show(was)}"


def _name_part_of_model(key: str) -> str:
    name = key.rpartition(".")[2]
    if name == "model":
        return "model (--model)"
    if name.endswith(_HASH):
        return f"the hash of the {name.removesuffix(_HASH)} of the model (--model)"
    return f"{name.replace('_', ' ')} of the model (--model)"


def _name_option(key: str) -> str:
    name, flag = name_option(key)
    return f"{name} ({flag})"


def name_option(key: str) -> tuple[str, str]:
    """Its name in Python, and the option of the command line."""
    names = key.split(".")
    name = next((each for each in names if each in _TABLES), names[-1])
    known = key if key in _FLAGS else name
    flag = _FLAGS.get(known, f"--{name.replace('_', '-')}")
    return _PYTHON.get(known, name), flag


def _show(value: str | None) -> str:
    if value in (None, "null"):
        return "not given"
    return value if len(value) <= _MOST_SHOWN else f"{value[: _MOST_SHOWN - 3]}…"
