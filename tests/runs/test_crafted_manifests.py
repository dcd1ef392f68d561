"""Manifests that a stranger wrote, with a right hash: merging and going on end in a clear error."""

import copy
import json
import shutil

import pytest
from tests.faults.bad_input import run_here
from tests.runs.commands import give

from rankformer.runs.manifest import MANIFEST, _hash_of

EMBED = "embed cells/a.h5ad cells/b.h5ad -m model --dtype float32 --shard-cells 40"
COMMANDS = {
    "embed": EMBED,
    "gene": f"{EMBED} --mode gene",
    "annotate": "annotate cells/a.h5ad -r cells/c.h5ad --label cell_type --n-neighbors 5 -m model "
    "--dtype float32 --shard-cells 40",
    "perturb": "perturb cells/c.h5ad -m model --dtype float32 --genes G1,G2 --n-cells 6 "
    "--shard-cells 3",
    "tokenize": "tokenize cells/a.h5ad -m model --shard-cells 40 --shard 1/1",
}
ENDINGS = {"embed": ".npy", "gene": ".parquet", "annotate": ".csv", "perturb": ".parquet"}
# Of another type; or of the right one, and more than there is.
OTHERS = [None, True, -1, 0.5, 10**15, "x", "a\x00b", [], [{}], {}, {"a": 1}]


@pytest.fixture(scope="module")
def made(desk):
    """Task → the folder of a run that is done."""
    for name, command in COMMANDS.items():
        give(desk, f"{command} -o run-{name}")
    return {name: desk / f"run-{name}" for name in COMMANDS}


def places(value, path=()):
    """Paths of all values within values."""
    if path:
        yield path
    entries = value.items() if isinstance(value, dict) else ()
    entries = enumerate(value) if isinstance(value, list) else entries
    for name, each in entries:
        yield from places(each, (*path, name))


def write(folder, document):
    document = {key: each for key, each in document.items() if key != "sha256"}
    document["sha256"] = _hash_of(document)
    (folder / MANIFEST).write_text(json.dumps(document))


def changed(document, path, value):
    new = copy.deepcopy(document)
    within = new
    for each in path[:-1]:
        within = within[each]
    if value == "removed":
        del within[path[-1]]
    else:
        within[path[-1]] = value
    return new


def merge(desk, name, output):
    shutil.rmtree(output, ignore_errors=True)
    output.unlink(missing_ok=True)
    return run_here(["merge", f"run-{name}", "-o", str(output), "--overwrite"], desk)


@pytest.mark.parametrize("name", COMMANDS)
def test_any_value_may_be_another(desk, made, name, tmp_path):
    """What merging does not read may be anything; of the rest nothing ends in a traceback."""
    folder, output = made[name], tmp_path / f"out{ENDINGS.get(name, '')}"
    text = (folder / MANIFEST).read_text()
    document = json.loads(text)
    n_refused = 0
    try:
        found = [path for path in places(document) if path[0] in ("work", "inputs", "notes")]
        for number, path in enumerate(found):
            # Each place with one of the values, and each value at some of the places.
            values = ["removed", OTHERS[number % len(OTHERS)]]
            for value in values:
                write(folder, changed(document, path, value))
                done = merge(desk, name, output)
                assert done.status in (0, 2), f"{path} {value!r}: {done.stderr}"
                assert "Traceback" not in done.stderr, f"{path} {value!r}: {done.stderr}"
                n_refused += done.status == 2
    finally:
        (folder / MANIFEST).write_text(text)
    assert n_refused > 20
    assert merge(desk, name, output).status == 0


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("inputs", 0, "n_cells"), 10**11, "shards"),
        (("inputs", 0, "n_cells"), 10**30, "another type or size"),
        (("notes", "d_model"), 10**12, "notes.d_model"),
        (("notes", "d_model"), "removed", "notes.d_model is missing"),
        (("notes", "provenance"), "removed", "notes.provenance is missing"),
        (("notes", "key"), 3, "notes.key"),
        (("work", "shard_cells"), True, "another type or size"),
        (("notes", "shards"), [{"step": 0, "input": 9, "rows": "0-40"}], "no such cells"),
        (("notes", "shards"), [{"step": 0, "input": 0, "rows": "0-99999999999"}], "no such cells"),
    ],
)
@pytest.mark.parametrize("way", ["merge", "goes on"])
def test_what_is_odd_is_named(desk, made, path, value, told, way, tmp_path):
    folder = made["embed"]
    text = (folder / MANIFEST).read_text()
    try:
        write(folder, changed(json.loads(text), path, value))
        if way == "merge":
            done = merge(desk, "embed", tmp_path / "out.npy")
        else:
            done = run_here(f"{EMBED} -o run-embed".split(), desk)
    finally:
        (folder / MANIFEST).write_text(text)
    assert done.status == 2, done.stderr
    assert told in done.stderr
    assert "--restart" in done.stderr


def of_version(document, **vote):
    """A manifest of annotate as an earlier version wrote it: without some options."""
    own = document["work"]["options"]["vote"]
    for later in ("integrate", "max_doubt", "use_doubt"):
        del own[later]
    own |= vote
    return document


# Neither --integrate nor doubts; or both, and a limit without an end for --no-doubt.
@pytest.mark.parametrize(
    "vote", [{}, {"integrate": "none", "max_doubt": float("inf")}], ids=["first", "second"]
)
def test_a_run_of_an_earlier_version_goes_on_as_it_began(desk, tmp_path, vote):
    """Its labels are decided as they were then, by probability and distance."""
    words = f"{COMMANDS['annotate']} -o {tmp_path}/run"
    then = f"{words} --no-doubt --distance-quantile 0.95"
    give(desk, then)
    give(desk, f"merge {tmp_path}/run -o {tmp_path}/new.csv")
    folder = tmp_path / "run"
    write(folder, of_version(json.loads((folder / MANIFEST).read_text()), **vote))
    told = give(desk, words, 2)
    assert "begun by an earlier version of rankformer" in told
    assert "(--distance-quantile) is not given now, and was 0.95" in told
    assert "(--doubt) is true now, and was false" in told
    assert "--restart" in told
    give(desk, then)
    give(desk, f"merge {tmp_path}/run -o {tmp_path}/old.csv")
    assert (tmp_path / "old.csv").read_text() == (tmp_path / "new.csv").read_text()


@pytest.mark.parametrize("limit", [None, 1.7])
def test_a_run_by_doubts_goes_on_where_it_began_before_they_could_be_left_out(
    desk, tmp_path, limit
):
    words = f"{COMMANDS['annotate']} -o {tmp_path}/run{f' --max-doubt {limit}' if limit else ''}"
    give(desk, words)
    folder = tmp_path / "run"
    document = json.loads((folder / MANIFEST).read_text())
    write(folder, of_version(document, integrate="none", max_doubt=limit))
    give(desk, words)
    assert "(--doubt) is false now, and was true" in give(
        desk, f"{words.partition(' --max-doubt')[0]} --no-doubt", 2
    )


@pytest.mark.parametrize(("name", "value"), [("min_share", "removed"), ("by_moon", True)])
def test_options_of_another_version_are_no_damage(desk, made, name, value, tmp_path):
    folder = made["annotate"]
    text = (folder / MANIFEST).read_text()
    path = ("work", "options", "vote", name)
    try:
        write(folder, changed(json.loads(text), path, value))
        done = merge(desk, "annotate", tmp_path / "out.csv")
        again = run_here(f"{COMMANDS['annotate']} -o run-annotate".split(), desk)
    finally:
        (folder / MANIFEST).write_text(text)
    for each in (done, again):
        assert each.status == 2
        assert "begun by another version of rankformer" in each.stderr
        assert f"options.vote.{name} is" in each.stderr
        assert "--restart" in each.stderr
