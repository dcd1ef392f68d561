"""Runs that are killed at random moments: ``python -m tests.runs --kills 200``.

Each round begins a run of at least 20 shards in a process of its own, kills it by SIGKILL at a
random moment, over and over until it has ended by itself, and compares its result with that of a
run that was left alone: every cell once, all numbers alike. Ends with status 1 where one differs.
Runs on Ray are killed beside a cluster of this machine, which goes on.
"""

import argparse
import json
import random
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.runs.kills import Way, lay_out, ray_cluster, try_way, ways


@dataclass
class Tally:
    """What became of a way."""

    rounds: int = 0
    kills: int = 0


def kill_runs(chosen: list[Way], n_kills: int, most: int, seed: int) -> dict[str, Tally]:
    """Round after round of all ways, until there were so many kills."""
    rng = random.Random(seed)  # noqa: S311
    tallies = {way.name: Tally() for way in chosen}
    with tempfile.TemporaryDirectory() as name:
        desk = Path(name) / "desk"
        desk.mkdir()
        lay_out(desk)
        while sum(each.kills for each in tallies.values()) < n_kills:
            for way in chosen:
                tally = tallies[way.name]
                tally.kills += try_way(desk, Path(name) / "round", way, rng, most)
                tally.rounds += 1
                print(f"{way.name:<20} {tally.rounds:>3} rounds {tally.kills:>4} kills", flush=True)
    return tallies


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="at least so many, over all ways")
    parser.add_argument("--most", type=int, default=6, help="the most kills of one command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="ways whose name begins so")
    parser.add_argument("--output", type=Path, help="a JSON file to write")
    parser.add_argument("--without-ray", action="store_true", help="no runs on a cluster of Ray")
    arguments = parser.parse_args()
    with nullcontext() if arguments.without_ray else ray_cluster() as address:
        chosen = [way for way in ways(address) if way.name.startswith(arguments.only)]
        tallies = kill_runs(chosen, arguments.kills, arguments.most, arguments.seed)
    document = {name: asdict(each) for name, each in tallies.items()}
    document["total"] = {"kills": sum(each.kills for each in tallies.values())}
    text = json.dumps(document, indent=2)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
