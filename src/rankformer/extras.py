"""How to install what only some of the work needs."""

from importlib.metadata import PackageNotFoundError, requires


def install_command(extra: str) -> str:
    """The command that installs the packages of an extra of rankformer.

    It names the packages themselves: that works however rankformer was installed.
    """
    from packaging.requirements import Requirement

    try:
        listed = map(Requirement, requires("rankformer") or ())
        needed = [each for each in listed if each.marker and each.marker.evaluate({"extra": extra})]
    except PackageNotFoundError:
        return f'pip install "rankformer[{extra}]"'
    return "pip install " + " ".join(f'"{each.name}{each.specifier}"' for each in needed)
