"""The plan of the house: how long files and functions are, and that a reason is given beyond it."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import rankformer
from rankformer import keywords
from rankformer.annotate.settings import Labelling
from rankformer.embed.settings import OfTrainedLayer, Running
from rankformer.networks.settings import NetworkRunning, NetworkSettings, ShiftSettings
from rankformer.perturb.settings import Comparison, Perturbation
from rankformer.settings import described_fields, is_settings
from rankformer.tokens.reading_options import ReadingOptions

SOURCE = Path(rankformer.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = {"file": 400, "function": 80}
REASON = re.compile(r"# Longer than 80 lines: \w+")


def functions(tree):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [each for each in ast.walk(tree) if isinstance(each, kinds)]


def line_above(lines, function):
    """The comment above a function and its decorators."""
    first = min(each.lineno for each in (function, *function.decorator_list))
    return lines[first - 2]


@pytest.mark.parametrize("file", FILES, ids=lambda each: str(each.relative_to(SOURCE)))
def test_what_is_long_says_why(file):
    text = file.read_text()
    lines = text.splitlines()
    if len(lines) > MOST_LINES["file"]:
        assert re.search(r"^# Longer than 400 lines: \w+", text, re.MULTILINE), (
            f"{len(lines)} lines"
        )
    # As ruff allows for it: a reason stands behind.
    assert all(re.search(r"PLR0913  # \w+", line) for line in lines if "PLR0913" in line)
    for each in functions(ast.parse(text)):
        length = each.end_lineno - each.lineno + 1
        if length > MOST_LINES["function"]:
            assert REASON.search(line_above(lines, each)), f"{each.name}: {length} lines"


@pytest.mark.parametrize("command", ["--help", "embed --help", "pretrain --help"])
def test_help_loads_nothing_heavy(command):
    script = (
        "import sys\nfrom rankformer.cli import app\n"
        f"try: app({command.split()!r})\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'pandas', 'torch', 'anndata', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


KEYWORDS = {
    keywords.PredictKeywords: (OfTrainedLayer, ReadingOptions),
    keywords.EmbedKeywords: (Running, ReadingOptions),
    keywords.AnnotateKeywords: (Labelling, Running, ReadingOptions),
    keywords.PerturbKeywords: (Perturbation, Running, ReadingOptions),
    keywords.TestKeywords: (Comparison,),
    keywords.NetworkKeywords: (NetworkSettings, NetworkRunning, ReadingOptions),
    keywords.ShiftKeywords: (ShiftSettings, Running, ReadingOptions),
}
# Named in the signature itself, or only with files.
ELSEWHERE = {"attributes", "state", "start", "goal"}


@pytest.mark.parametrize("typed", KEYWORDS, ids=lambda each: each.__name__)
def test_keywords_are_the_fields_of_settings(typed):
    def names(cls):
        for each, kind, _ in described_fields(cls):
            within = [one for one in (kind, *get_args(kind)) if is_settings(one)]
            yield from names(within[0]) if within else [each.name]

    fields = {name for cls in KEYWORDS[typed] for name in names(cls)}
    assert set(typed.__annotations__) - fields == set()
    assert fields - set(get_type_hints(typed)) <= ELSEWHERE


def test_faults_that_may_live_are_in_functions_that_there_are():
    """Of a function that was moved or renamed, they would be forgotten."""
    named = tomllib.loads((Path(__file__).parent / "mutation" / "survivors.toml").read_text())
    for place in {place for each in named["survivors"] for place in each["mutants"]}:
        words = place.split(".")
        depth = max(
            i for i in range(1, len(words))
            if (SOURCE.joinpath(*words[:i])).with_suffix(".py").exists()
        )  # fmt: skip
        found = importlib.import_module(f"rankformer.{'.'.join(words[:depth])}")
        for word in words[depth:]:
            found = getattr(found, word)


def test_a_folder_is_a_word_of_the_field():
    """What stands in no folder is ground, or a face."""
    folders = {each.name for each in SOURCE.iterdir() if (each / "__init__.py").exists()}
    assert folders == {
        "annotate", "cells", "checkpoints", "cli", "corpus", "embed", "evaluate", "finetuning",
        "genes", "mcp", "model", "networks", "perturb", "pretraining", "results", "show", "tokens",
        "training", "vocabulary", "report", "runs",
    }  # fmt: skip
