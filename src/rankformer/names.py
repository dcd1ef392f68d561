"""Names that users give: of classes, columns and genes."""

from collections.abc import Iterable, Sequence
from numbers import Integral, Real

from rankformer.errors import SettingsError

# From here on floats stand for several whole numbers.
_TOO_LARGE = 2.0**53


def name_of(value: object, argument: str) -> str:
    """The name of a class as `read_class_names` writes it: a whole number without a point.

    Raises
    ------
    SettingsError
        If it is a number that is not whole; `argument` says which was given so.
    """
    try:
        return class_name(value)
    except ValueError as error:
        raise SettingsError(
            f"{argument} is {value!r}.",
            "The name of a class, or a whole number that stands for one.",
            f"Correct {argument}.",
        ) from error


def as_names(given: str | Sequence[str], argument: str) -> tuple[str, ...]:
    """One name, or several, as a tuple.

    Raises
    ------
    SettingsError
        If it is something else; `argument` says which was given so.
    """
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Sequence) or not all(isinstance(each, str) for each in given):
        raise SettingsError(
            f"{argument} is {given!r}.",
            "A text, or a list of texts.",
            f'Write {argument}="cell_type", or {argument}=["cell_type"] for several.',
        )
    return tuple(given)


def class_name(value: object) -> str:
    """A class as text: a whole number without a point.

    Raises
    ------
    ValueError
        If it is a number that is not whole.
    """
    if not isinstance(value, Real) or isinstance(value, Integral):
        return str(value)
    number = float(value)
    if not number.is_integer() or abs(number) >= _TOO_LARGE:
        raise ValueError(f"{number:g}")
    return str(int(number))


def few_names(names: Iterable[str], most: int = 3) -> str:
    """The first of some names, with a sign that there are more."""
    listed = list(names)
    return ", ".join(listed[:most]) + ("…" if len(listed) > most else "")


def parse_attributes(pairs: Iterable[str]) -> dict[str, str]:
    """``NEW=NAME`` or ``NAME`` → new name to column of obs."""
    split = [pair.partition("=") for pair in pairs]
    return {new: name or new for new, _, name in split}


def parse_values(pairs: Iterable[str]) -> dict[str, str]:
    """``COLUMN=VALUE`` → column of obs to value.

    Raises
    ------
    SettingsError
        If one has another form, or a column is named twice.
    """
    split = [pair.partition("=") for pair in pairs]
    odd = ["".join(each) for each in split if not (each[0] and each[1])]
    if odd or len({name for name, _, _ in split}) < len(split):
        raise SettingsError(
            f"--where is {odd[0]!r}." if odd else "--where names a column twice.",
            "COLUMN=VALUE, such as cell_type=B, once for each column.",
            "Correct --where.",
        )
    return {name: value for name, _, value in split}
