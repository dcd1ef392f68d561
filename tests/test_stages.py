"""Stages that are measured: work, waiting, and which was the slowest."""

import time

import pytest

from rankformer.read_ahead import read_ahead, use_behind
from rankformer.stages import Stages

NAMES = ("reading", "the model", "writing")
N_ITEMS, SECONDS = 8, 0.05


@pytest.mark.parametrize("slow", NAMES)
def test_the_stage_that_works_longest_is_the_slowest_and_the_others_wait_for_it(slow):
    stages = Stages(NAMES)

    def work(name):
        time.sleep(SECONDS if name == slow else 0)

    def read():
        for number in range(N_ITEMS):
            work("reading")
            yield number

    def write(numbers):
        for _ in numbers:
            work("writing")

    with (
        read_ahead(read(), maker=stages["reading"], user=stages["the model"]) as items,
        use_behind(write, 1, maker=stages["the model"], user=stages["writing"]) as put,
        stages["the model"].works(),
    ):
        for item in items:
            work("the model")
            put(item, 1)
    stages.end()

    figures = stages.figures()
    assert figures["slowest_stage"] == slow
    seconds = figures["seconds_of_stages"]
    least = N_ITEMS * SECONDS
    assert seconds[slow]["worked"] >= least
    assert stages.seconds >= least
    for name, own in seconds.items():
        # A stage that is through before the others waits no more.
        assert sum(own.values()) <= stages.seconds + 0.01, name
        if NAMES.index(name) > NAMES.index(slow):
            assert own["waited_for_input"] > 0.7 * least
        if NAMES.index(name) < NAMES.index(slow):
            # What is read ahead and what waits to be written need not wait.
            assert own["waited_for_room"] > 0.4 * least
    assert sum(seconds[NAMES[-1]].values()) == pytest.approx(stages.seconds, abs=0.05)
    assert f"slowest stage was {slow}" in str(stages)


def test_it_is_told_in_a_sentence():
    stages = Stages(NAMES)
    stages.seconds = 8.0
    for name, worked in zip(NAMES, (2.0, 6.0, 0.4), strict=True):
        stages[name].worked = worked
    assert str(stages) == (
        "The slowest stage was the model, which worked for 75% of 8.0 s; reading for 25% and "
        "writing for 5%."
    )
