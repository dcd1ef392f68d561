"""What goes wrong, told the same way everywhere: what was found, what was expected, what to do.

Every error that a user can cause is a `RankformerError`. It cannot be raised without its three
sentences, and the command line ends with exit status 2 when it meets one. Names in the sentences
are shown, whatever characters they hold, and a terminal obeys none of them; tokens and passwords
are hidden.
"""

from rankformer.printable import fit_to_show


class RankformerError(ValueError):
    """Bad input, or a setting that does not fit it.

    Parameters
    ----------
    found
        What was met, with names and figures: one or more whole sentences.
    expected
        What would have been right; it is read after "Expected: ".
    fix
        What the user can do now: an argument, a command, a place to look.
    """

    def __init__(self, found: str, expected: str, fix: str) -> None:
        super().__init__(found, expected, fix)
        self.found, self.expected, self.fix = map(_as_sentence, (found, expected, fix))

    def __str__(self) -> str:
        return f"{self.found} Expected: {self.expected} {self.fix}"


def _as_sentence(text: str) -> str:
    """End it with a full stop: what other libraries say, put at its end, often has none."""
    text = fit_to_show(text).rstrip()
    if text.endswith("..") and not text.endswith("..."):
        return text[:-1]
    return text if text.rstrip("\"'`)]»”").endswith((".", "!", "?", "…", ":")) else f"{text}."


class MissingFileError(RankformerError, FileNotFoundError):
    """A file or folder that was named does not exist."""


class CountsError(RankformerError):
    """The expression matrix is missing, unreadable, or does not hold counts."""


class GeneError(RankformerError):
    """Gene identifiers that cannot be mapped: unknown, of another species, or in another place."""


class VocabularyError(RankformerError):
    """A vocabulary that is missing, damaged, unsafe to read, or not the checkpoint's."""


class CheckpointError(RankformerError):
    """A checkpoint that is unknown, not on this machine, incomplete or inconsistent."""


class TokensError(RankformerError):
    """Tokenized cells that do not fit the model or are damaged."""


class SettingsError(RankformerError):
    """A setting outside what the model, the data or the machine allows."""


class TableError(RankformerError):
    """A table of results that is damaged, of something else, or too small for what is asked."""


class OutputError(RankformerError):
    """A result that cannot be written where it was asked for."""


class OutOfMemoryError(RankformerError):
    """One cell alone, or a table of all cells, does not fit into memory."""


class WorkerError(RankformerError):
    """Processes that were to compute a part of the work ended, or could not be begun."""


def expect_type(
    value: object, kinds: type | tuple[type, ...], name: str, expected: str, fix: str
) -> None:
    """Raise a `SettingsError` unless a value is of some types; `name` begins its sentence."""
    if not isinstance(value, kinds):
        raise SettingsError(f"{name} is given as {type(value).__name__}.", expected, fix)
