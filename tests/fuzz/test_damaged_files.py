"""The short form of ``python -m tests.fuzz``, and whether it would notice what it looks for."""

from tests.fuzz import planted
from tests.fuzz.bench import Bench, share_out
from tests.fuzz.cases import BAD, OUTCOMES

N_CASES = 150
# Cases that were mended, each by the loader that it was found with.
MENDED = (
    ("10x folder", 205), ("10x folder", 207), ("10x folder", 262), ("10x h5", 65), ("10x h5", 268),
    ("10x h5", 274), ("gene table", 50), ("gene table", 61), ("h5ad", 290), ("h5ad", 303),
    ("reference", 3), ("reference", 147), ("reference", 237), ("resumed fine-tuning", 99),
    ("vocabulary", 155), ("zarr", 81), ("zarr", 237),
)  # fmt: skip


def test_damaged_files_are_read_rightly_or_refused(tmp_path):
    """A case that fails is run again with ``python -m tests.fuzz --again "LOADER:NUMBER"``."""
    cases = [*share_out(N_CASES), *MENDED]
    bench = Bench(tmp_path)
    outcomes = list(bench.run(cases))
    bench.close()
    bad = [each.as_document() for each in outcomes
           if each.answer.outcome in BAD]  # fmt: skip
    assert not bad
    # Were all refused, nothing would be told of wrong results.
    found = {each.answer.outcome for each in outcomes}
    assert {"read", "read, as the file says", "refused"} <= found


def test_what_goes_wrong_in_a_reader_is_noticed(tmp_path):
    bench = Bench(tmp_path, seconds=2, module="tests.fuzz.planted", n_workers=1)
    outcomes = {each.case: each.answer.outcome for each in
                bench.run([(name, 0) for name in planted.PLANTED])}  # fmt: skip
    bench.close()
    assert outcomes == {f"{name}:0": name.partition(", refused")[0] for name in planted.PLANTED}
    assert set(outcomes.values()) <= set(OUTCOMES)
