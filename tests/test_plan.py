"""The plan of `docs/scale.md` is what `benchmarks/plan.py` makes of its rates and prices."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rankformer.checkpoints.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
SCRIPT, GIVEN = ROOT / "benchmarks" / "plan.py", ROOT / "benchmarks" / "plan.json"
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
MARKS = "<!-- the plan: benchmarks/plan.py -->\n{}\n<!-- /the plan -->"


def plan(given=GIVEN):
    command = [sys.executable, SCRIPT, "--given", given]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def cells_of(text, model, machine):
    """The row of a model on a machine."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return next(row[2:] for row in rows if row[:2] == [model, machine])


@pytest.fixture(scope="module")
def given():
    return json.loads(GIVEN.read_text(encoding="utf-8"))


def test_the_page_has_the_plan_of_today():
    told = "docs/scale.md is old: python benchmarks/plan.py --write docs/scale.md"
    assert MARKS.format(plan()) in PAGE, told


def test_each_shape_that_is_published_is_planned_for():
    models = set(re.findall(r"^\| (gf-\S+) \|", PAGE, re.MULTILINE))
    planned = [each for each in MODELS if each.name in models]

    def shape(model):
        return model.n_layers, model.d_model, model.d_ff, model.release.input_length

    assert {shape(each) for each in planned} == {shape(each) for each in MODELS}


def test_the_pace_is_that_of_the_slowest_stage(given, tmp_path):
    """In numbers that can be done in the head: 100 s of start, and a million cells."""
    given["start_seconds"]["value"], given["share_of_time_at_work"]["value"] = 100, 1.0
    given["tokens"] = given["rates"]["h100"]["tokens"]
    given["rates"]["h100"]["gf-12L-95M-i4096"] = 500.0
    given["machines"]["8 H100"] |= {"processes": 8, "dollars_per_hour": 36.0}
    mine = tmp_path / "plan.json"
    found = []
    for reading in (10_000.0, 250.0):
        given["reading"]["cells_per_second"] = reading
        mine.write_text(json.dumps(given))
        found.append(cells_of(plan(mine), "gf-12L-95M-i4096", "8 H100"))
    # 250 s by the encoder, 500 s by reading.
    assert [row[0] for row in found] == ["4,000", "4,000"]
    assert [row[1] for row in found] == ["5.8 min, $3.5", "10 min, $6.0"]


def test_a_rate_that_was_not_measured_is_of_as_many_operations(given, tmp_path):
    """Of twelve layers of width 768 and as many tokens, twenty of 896 take 1.6 times as many."""
    by_hand = {}
    for name, layers, d, ffn in (("104M", 12, 768, 3072), ("20L", 20, 896, 1792)):
        tokens = given["tokens"]
        by_hand[name] = layers * (8 * d * d * tokens + 4 * d * ffn * tokens + 4 * d * tokens**2)
    rate = given["rates"]["h100"]["gf-12L-104M-i4096"] * by_hand["104M"] / by_hand["20L"]
    told = cells_of(PAGE, "gf-20L-95M-i4096", "1 H100")[0]
    assert told == f"≈ {round(rate, -1):,.0f}"
