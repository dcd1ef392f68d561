"""The screen beside exact runs: of the small model that ships, on cells it has not seen."""

from unittest import mock

import numpy as np
import pytest
from scipy.stats import spearmanr

import rankformer
from rankformer import Checkpoint
from rankformer.embed.embedder import Embedder
from rankformer.errors import SettingsError
from rankformer.perturb.exact import ExactPerturber, Responses
from rankformer.perturb.screen import Screen
from rankformer.perturb.settings import ScreenSettings
from rankformer.perturb.trust import Trust
from rankformer.ragged import select_rows
from rankformer.tokens.edits import plan_edits
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import tokenize_cells


@pytest.fixture(scope="module")
def blood():
    return states_and_cells("rankformer-mini")


@pytest.fixture(scope="module")
def blood_by_cls(tmp_path_factory):
    """Of random weights, as the <cls> of rankformer-mini does not read the cell."""
    vocabulary = Checkpoint.open("rankformer-mini").vocabulary
    shape = {"n_layers": 3, "d_model": 256, "n_heads": 2, "d_ff": 128, "initializer_range": 0.06}
    model = rankformer.draw_model(vocabulary, shape, seed=0)
    folder = tmp_path_factory.mktemp("models") / "random"
    return states_and_cells(rankformer.save_checkpoint(folder, model, vocabulary))


def states_and_cells(model):
    """Tokens of four cells of scanpy's blood cells, and states: B cells and monocytes."""
    import scanpy as sc

    adata = sc.datasets.pbmc68k_reduced()
    embedder = Embedder(model, device="cpu", dtype="float32")
    tokens = tokenize_cells(
        adata, embedder.checkpoint.vocabulary, ReadingOptions(use_raw=True, undo_log1p=True)
    )
    vectors = embedder.cells(tokens.ragged(0, adata.n_obs))
    labels = adata.obs["bulk_labels"].to_numpy()
    states = np.array([
        vectors[labels == name].mean(axis=0) for name in ("CD19+ B", "CD14+ Monocyte")
    ])  # fmt: skip
    rows = np.flatnonzero(labels == "CD14+ Monocyte")[:4]
    values, offsets = tokens.ragged(0, adata.n_obs)
    cells = [values[offsets[row] : offsets[row + 1]] for row in rows]
    own = np.concatenate([[0], np.cumsum([len(each) for each in cells])])
    return embedder, states.astype(np.float64), (np.concatenate(cells), own)


def gather(parts):
    responses = [each for *_, each in parts]
    cosines = np.concatenate([each.cosines for each in responses])
    shifts = np.concatenate([each.shifts for each in responses])
    return 1 - cosines, shifts[:, 0] - shifts[:, 1]


@pytest.mark.parametrize(
    ("kind", "least"), [("delete", 0.85), ("overexpress", 0.55), ("activate", 0.75)]
)
def test_estimates_rank_genes_as_exact_runs_do(blood, kind, least):
    compared = compare(blood, "cell", kind, ("movement", "shift"))
    likeness = [spearmanr(found, expected).statistic for found, expected in compared]
    # A movement is a length in all dimensions, of which the screen follows a few.
    movements, shifts = likeness[:4], likeness[4:]
    assert min(movements) > least
    assert min(shifts) > 0.95


@pytest.mark.parametrize("kind", ["delete", "overexpress", "activate"])
def test_movements_of_cls_are_estimated(blood_by_cls, kind):
    for found, expected in compare(blood_by_cls, "cls", kind, ("movement",)):
        assert spearmanr(found, expected).statistic > 0.8


def compare(blood, read_out, kind, names):
    """For each figure and cell: what is estimated for its genes, and what exact runs give."""
    embedder, states, ragged = blood
    exact = ExactPerturber(embedder, read_out, states)
    edits = plan_edits(ragged, exact.frame, kind)
    expected = gather(exact.run(ragged, edits))
    screen = Screen(exact, kind, ScreenSettings(6, 6))
    found = gather(screen.run(ragged, edits))
    # What is run exactly takes part in the estimates: the trust is of what did not.
    figures = screen.trust.figures()
    assert screen.trust.n_edits == 32
    assert min(figures[each] for each in names) > 0.6
    # Sizes as well as ranks.
    assert np.median(found[0]) == pytest.approx(np.median(expected[0]), rel=0.3)
    return [
        (estimate[edits.cells == cell], true[edits.cells == cell])
        for estimate, true in list(zip(found, expected, strict=True))[: len(names)]
        for cell in range(4)
    ]


def test_genes_that_cells_lack_are_put_in(blood):
    embedder, states, ragged = blood
    exact = ExactPerturber(embedder, "cell", states)
    present = set(ragged[0].tolist())
    absent = [t for t in embedder.checkpoint.vocabulary.tokens.tolist() if t not in present]
    groups = [[token] for token in absent[:: len(absent) // 60]]
    edits = plan_edits(ragged, exact.frame, "overexpress", groups=groups)
    expected = gather(exact.run(ragged, edits))
    found = gather(Screen(exact, "overexpress", ScreenSettings(6, 6)).run(ragged, edits))
    for estimate, true in zip(found, expected, strict=True):
        for cell in range(4):
            own = edits.cells == cell
            assert spearmanr(estimate[own], true[own]).statistic > 0.65


def test_without_states_the_movement_alone_is_estimated(blood):
    embedder, _, ragged = blood
    exact = ExactPerturber(embedder, "cell")
    edits = plan_edits(ragged, exact.frame, "delete")
    responses = [each for *_, each in Screen(exact, "delete").run(ragged, edits)]
    assert all(each.shifts.shape[1] == 0 and each.gene_cosines is None for each in responses)
    expected = np.concatenate([each.cosines for *_, each in exact.run(ragged, edits)])
    found = np.concatenate([each.cosines for each in responses])
    assert spearmanr(found, expected).statistic > 0.85


def test_one_gene_alone_is_run_exactly(blood):
    embedder, states, ragged = blood
    ragged = select_rows(ragged, np.array([0]))
    exact = ExactPerturber(embedder, "cell", states)
    edits = plan_edits(ragged, exact.frame, "delete", groups=[[int(ragged[0][5])]])
    screen = Screen(exact, "delete")
    found = gather(screen.run(ragged, edits))
    expected = gather(exact.run(ragged, edits))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert screen.trust.n_edits == 0
    assert np.isnan(screen.trust.figures()["shift"])


def test_trust_is_low_where_estimates_mean_nothing():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(2, 300, 3))
    trusts = Trust(2), Trust(2)
    estimates, exact = (Responses(each[:, 0], None, each[:, 1:]) for each in draws)
    for trust, guess in zip(trusts, (estimates, exact), strict=True):
        trust.add(guess, exact, np.arange(300) // 2)
    assert all(abs(value) < 0.2 for value in trusts[0].figures().values())
    assert trusts[1].figures() == {"movement": pytest.approx(1), "shift": pytest.approx(1)}
    assert np.isnan(Trust(0).figures()["movement"])


def test_trust_is_of_the_genes_of_a_cell_and_not_of_cells():
    """Cells that move much, and those that move little, are told apart by any estimate."""
    rng = np.random.default_rng(1)
    cells = np.repeat(np.arange(60), 4)
    of_cell = np.exp(rng.normal(size=60))[cells]
    draws = of_cell * np.exp(0.1 * rng.normal(size=(2, 240)))
    found, exact = (Responses(1 - 1e-3 * each, None, np.empty((240, 0))) for each in draws)
    trust = Trust(0)
    trust.add(found, exact, cells)
    assert spearmanr(*draws).statistic > 0.9
    assert abs(trust.figures()["movement"]) < 0.3


@pytest.mark.parametrize("settings", [{"n_exact": 0}, {"n_directions": -1}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(SettingsError, match=r"screen with .* exact runs"):
        ScreenSettings(**settings)


def test_later_cells_gain_from_earlier_ones(blood):
    """One exact run of a cell says little of it, and with those of others much."""
    embedder, states, ragged = blood
    exact = ExactPerturber(embedder, "cell", states)
    edits = plan_edits(ragged, exact.frame, "delete")
    expected = gather(exact.run(ragged, edits))
    screen = Screen(exact, "delete", ScreenSettings(1, 0))
    parts = [select_rows(ragged, np.array([cell])) for cell in range(4)]
    found = [gather(screen.run(each, plan_edits(each, exact.frame, "delete"))) for each in parts]
    for cell in (1, 2, 3):
        own = edits.cells == cell
        assert spearmanr(found[cell][1], expected[1][own]).statistic > 0.93
    # Of the first cell, so many that directions could be chosen.
    assert screen.trust.n_edits == 32 + 3


def test_the_latest_runs_are_remembered(blood):
    embedder, _, ragged = blood
    exact = ExactPerturber(embedder, "cell")
    screen = Screen(exact, "delete", ScreenSettings(4, 2))
    edits = plan_edits(ragged, exact.frame, "delete")
    with mock.patch("rankformer.perturb.screen._N_FORMER", 20):
        for _ in screen.run(ragged, edits):
            pass
        first = screen._former
        for _ in screen.run(ragged, edits):
            pass
    assert len(first.places) == len(screen._former.places) == 20
    # 16 runs of the second time, and behind them four of the first.
    np.testing.assert_allclose(screen._former.places[:4], first.places[-4:])
    assert not np.isin(screen._former.places[4:], first.places).all()


def test_single_genes_are_not_estimated(blood):
    with pytest.raises(SettingsError, match=r"read-out gene.*cell or cls"):
        Screen(ExactPerturber(blood[0], "gene"), "delete")
