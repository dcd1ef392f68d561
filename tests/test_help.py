"""Help fits a screen: what is needed and often chosen, with defaults, and an example."""

import re
import shlex
import subprocess
import sys

import pytest

from rankformer.cli.catalogue import entries
from rankformer.cli.help_screen import break_command, brief
from tests.test_options import COMMANDS

SCREEN = 50
WIDTHS = (80, 100)
GROUPS = ("", "vocabulary", "models")


def words_of(shown):
    """The words on a screen; those of one text may stand on several lines."""
    return set(re.sub(r"[│╭╮╰╯─,\[\]]", " ", shown).split())


def is_shown(command, parameter):
    """Whether an option is needed or common."""
    return parameter.required or parameter.name in command.callback.common_options


@pytest.fixture
def help_of(command, monkeypatch):
    """The help of a command on a terminal of some width."""

    def show(name, width, option="--help"):
        monkeypatch.setenv("COLUMNS", str(width))
        status, shown, said = command(*name.split(), option)
        assert (status, said) == (0, "")
        return shown

    return show


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_help_fits_a_screen(name, width, help_of):
    lines = help_of(name, width).splitlines()
    assert len(lines) <= SCREEN
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_help_holds_whole_texts_and_defaults_of_what_is_shown(name, width, help_of):
    shown = help_of(name, width)
    found = words_of(shown)
    for each in COMMANDS[name].params:
        if not is_shown(COMMANDS[name], each):
            continue
        assert words_of(brief(each.help)) <= found, each.name
        if each.default not in (None, False) and each.param_type_name == "option":
            default = max(each.opts, key=len) if each.default is True else each.default
            assert f"[default: {default}]" in shown, each.name


@pytest.mark.parametrize("name", COMMANDS)
def test_rare_options_are_shown_by_help_all_alone(name, help_of):
    shown, everything = help_of(name, 100), help_of(name, 100, "--help-all")
    own = [each for each in COMMANDS[name].params if each.name not in ("quiet", "json", "help_all")]
    rare = [each for each in own if not is_shown(COMMANDS[name], each)]
    for each in rare:
        flag = max(each.opts, key=len)
        row = re.compile(rf"^│ (-\w, |    )?{flag}\b", re.MULTILINE)
        assert row.search(everything), flag
        assert not row.search(shown), flag
    told = re.search(r"^(\S+) options? more: rankformer (.*) --help-all$", shown, re.MULTILINE)
    n_told = 0 if told is None else 1 if told[1] == "One" else int(told[1])
    assert n_told == len(rare)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_can_be_copied(name, width, help_of):
    """Over several lines it is one command, as a shell reads it."""
    _, _, example = help_of(name, width).rpartition(":\n")
    done = subprocess.run(
        ["/bin/bash", "-c", f"rankformer() {{ printf '%s\\n' \"$@\"; }}\n{example}"],
        capture_output=True, text=True,
    )  # fmt: skip
    _, _, whole = COMMANDS[name].epilog.partition(": ")
    assert done.stdout.splitlines() == shlex.split(whole)[1:]
    assert done.stdout.splitlines()[: len(name.split())] == name.split()


def test_a_command_breaks_before_options_alone():
    line = "rankformer embed 'my cells.h5ad' -o out.h5ad --model small"
    assert break_command(line, 80) == f"  {line}"
    assert break_command(line, 40).splitlines() == [
        "  rankformer embed 'my cells.h5ad' \\",
        "    -o out.h5ad --model small",
    ]


def test_common_options_come_first(help_of):
    everything = help_of("embed", 100, "--help-all")
    headings = re.findall(r"╭─ (.*?) ─", everything)
    assert headings[:2] == ["What it needs", "What is often chosen"]
    assert headings[-1] == "For every command"
    assert {"Where the counts are", "Which genes they are", "How the model runs"} <= set(headings)
    assert len(headings) == len(set(headings))


def test_the_list_names_each_command(help_of):
    shown = help_of("", 80)
    for name, each in entries().items():
        (line,) = (line for line in shown.splitlines() if line.startswith(f"│ {name} "))
        assert each.summary in line


@pytest.mark.parametrize("words", ["--help", "embed --help", "nothing"])
def test_a_command_alone_is_imported(words):
    """The list of commands imports none of them, and a command none of the others."""
    script = (
        "import sys\nfrom rankformer.cli import app\n"
        f"try: app({words.split()!r})\nexcept SystemExit: pass\n"
        "print(*sorted(each for each in sys.modules if each.startswith('rankformer.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    others = {f"rankformer.cli.{each.place.partition(':')[0]}" for each in entries().values()}
    expected = {"rankformer.cli.embed"} if words.startswith("embed") else set()
    assert loaded & others == expected
