"""Text of others made fit to be shown: nothing that a terminal would obey, and no secrets.

Names of cells, genes and files come from strangers. A terminal obeys what some characters in them
say: to clear the screen, to turn the direction of the text, to write over what stood there.
"""

import os
import re
import unicodedata

# Controls (terminal escapes among them), formats (marks that turn the direction of text, or hide
# it), surrogates, private use, and what breaks lines.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
_SHORTEST_TOKEN = 8
_HIDDEN = "***"
# Words before the value of a parameter, a header or a setting, which is a secret.
_HIDDEN_NAMES = (
    r"[\w.-]*(?:token|secret|passw(?:or)?d|signature|credential|api[_-]?key|access[_-]?key"
    r"|key-pair-id|policy)[\w.-]*|sig|key|pwd"
)
_SECRETS = (
    # A path keeps one of two slashes.
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]+:/{1,2})[^\s/?#@]+(?=@)"), rf"\1{_HIDDEN}"),
    (re.compile(rf"(?i)([?&;](?:{_HIDDEN_NAMES})=)[^\s&#;'\"<>)\]]+"), rf"\1{_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[\w.~+/=-]{8,}"), rf"\1\2{_HIDDEN}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{30,}"), f"hf_{_HIDDEN}"),
)


def printable(text: str, *, keep: str = "") -> str:
    """A text with escapes, as Python writes them, for characters that are not seen.

    Parameters
    ----------
    text
        Of any origin.
    keep
        Characters that stay as they are, such as the end of a line.
    """
    if text.isprintable():
        return text
    return "".join(
        each.encode("unicode_escape").decode()
        if each not in keep and unicodedata.category(each) in _UNSEEN
        else each
        for each in text
    )


def without_secrets(text: str) -> str:
    """A text without tokens and passwords.

    What is taken out: the token of the Hugging Face hub in the environment, whatever looks like
    one, names and passwords in addresses, and the values of parameters of addresses that are
    called token, key, signature and the like.
    """
    for variable in _TOKEN_VARIABLES:
        token = os.environ.get(variable, "")
        if len(token) >= _SHORTEST_TOKEN:
            text = text.replace(token, _HIDDEN)
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def fit_to_show(text: str) -> str:
    """Lines for a terminal or a log: printable, without secrets, and broken as they were."""
    return printable(without_secrets(text), keep="\n\t")
