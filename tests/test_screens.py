"""What stands on a terminal: words are whole, whatever its width, and one thing has one name."""

import re
import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console

from rankformer.cli import wrapping
from rankformer.cli.wrapping import wrap
from rankformer.errors import SettingsError
from rankformer.results.metric_names import CLASSIFIER_FIGURES, spoken_name
from rankformer.show.models_screen import render_models
from tests.terminal import run_on_terminal
from tests.test_options import COMMANDS

WIDTHS = (60, 80, 120)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_help_breaks_no_word(name, width, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    status, shown, _ = command(*name.split(), "--help-all")
    assert status == 0
    assert "…" not in shown.replace("FILE…", "").replace("COMMAND …", "")
    assert max(map(len, shown.splitlines())) <= width
    words = set(re.sub(r"[│╭╮╰╯─]", " ", shown).split())
    for each in COMMANDS[name].params:
        expected = {*each.help.split(), *(o for o in each.opts if o.startswith("--"))}
        words |= {word.rstrip(",") for word in words if word.startswith("--")}
        assert expected <= words, (each.name, expected - words)


def test_help_names_each_choice(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, shown, _ = command("embed", "--help-all")
    for choice in ("cell", "cls", "gene", "mean", "median", "hidden_states", "published", "auto",
                   "float32", "bfloat16", "float16", "int8"):  # fmt: skip
        assert re.search(rf"\b{choice}\b", shown), choice
    _, shown, _ = command("annotate", "--help-all")
    _, _, reference = shown.partition("-r, --reference")
    own, _, _ = reference.partition("╰")
    assert "It may be given several times." in " ".join(own.replace("│", " ").split())


def test_what_is_to_be_copied_stays_on_one_line(monkeypatch):
    """Longer than the line, it is the terminal that breaks it: copied, it is whole."""
    command = '`pip install "accelerate>=0.33" "peft>=0.12" "transformers>=4.44"`'
    stream = StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(wrapping, "_width", lambda _: 50)
    lines = wrap(f"Something is not installed here. Install it with {command}, please.", stream)
    assert f"{command}," in lines.splitlines()
    assert " ".join(lines.split()) == (
        f"Something is not installed here. Install it with {command}, please."
    )


@pytest.mark.parametrize("width", [60, 120])
def test_errors_are_wrapped_between_words(width, tmp_path):
    words = ["embed", "nothing.h5ad", "-o", "out.txt", "-m", "rankformer-mini"]
    status, said = run_on_terminal(*words, width=width, cwd=tmp_path)
    assert status == 2
    lines = said.splitlines()
    done = subprocess.run(
        [sys.executable, "-m", "rankformer", *words], capture_output=True, text=True, cwd=tmp_path
    )
    (whole,) = done.stderr.splitlines()
    assert len(whole) > 120
    assert len(lines) > 1
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split() == whole.split()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_of_models_fits(width):
    console = Console(width=width, record=True, file=StringIO(), highlight=False)
    render_models(console)
    shown = console.export_text()
    assert "…" not in shown
    assert "gf-12L-40M-i2048-CZI-CellxGene" in shown
    assert "1,265 MB" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= width
    words = " ".join(shown.split())
    assert "Left out: cells of cancer." in words
    assert "Left out: not known." in words
    assert "CC BY 4.0" in words


def test_each_part_of_an_error_is_a_sentence():
    for found in ("it said (no such key)", "it said 'what'", "it said so.", "why?", 'named "a."'):
        error = SettingsError(found, "A number", "Correct it")
        before, _, after = str(error).partition(" Expected: ")
        assert before.rstrip("\"'")[-1] in ".?"
        assert not before.endswith("..")
        assert after == "A number. Correct it."
    assert str(SettingsError("A.", "B.", "C.")) == "A. Expected: B. C."


@pytest.mark.parametrize(
    ("figure", "name"),
    [("macro_f1", "macro-F1"), ("cell_type_macro_f1", "cell_type macro-F1"), ("loss", "loss"),
     ("cell_type_accuracy", "cell_type accuracy"), ("log_loss", "log loss"), ("r2", "R²")],
)  # fmt: skip
def test_a_figure_has_one_name(figure, name):
    assert spoken_name(figure) == name
    assert CLASSIFIER_FIGURES["macro_f1"] == spoken_name("macro_f1")
