"""Sentences and numbers of the page."""

import pytest

from rankformer.report.page import _as_number, _as_prose


def test_commands_in_sentences_are_code_and_markup_stays_text():
    assert str(_as_prose("See `rankformer models` <b>")) == (
        "See <code>rankformer models</code> &lt;b&gt;"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3, "3"), (12_345.0, "12,345"), (0.1234, "0.12"), (0, "0.00"), (1e-7, "1.0e-07"),
     (float("nan"), "-"), (2.5e6, "2,500,000"), (123456.7, "1.2e+05")],
)  # fmt: skip
def test_numbers_are_as_long_as_a_reader_needs(value, shown):
    assert _as_number(value) == shown
