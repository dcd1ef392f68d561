"""Ways of naming cells: what they learn, how they are weighed, and when a cell is unknown."""

import json
import re
from itertools import combinations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from tests.conftest import save_small_checkpoint, small_vocabulary

import rankformer
from rankformer.annotate.calibration import calibrate
from rankformer.annotate.doubt import Doubts
from rankformer.annotate.profiles import Profiles
from rankformer.annotate.shift import Shift, Sight, Space, choose_shift, find_shift
from rankformer.annotate.variable_genes import choose_variable_genes
from rankformer.annotate.ways import AGREEMENT, BEST_TWO, SINGLE_WAYS, Lesson, fit_ways, learn
from rankformer.annotate.weighing import choose_way, hold_out, sample_of, score
from rankformer.cells.normalise import log_normalise
from rankformer.errors import SettingsError

KINDS = ("a", "b", "c", "d")


def counts_of(codes, rng, n_genes=150, batch=None, strength=4.0):
    """Poisson counts: each kind has 12 genes of its own, and a batch scales each gene."""
    means = np.full((len(KINDS), n_genes), 0.6)
    for code in range(len(KINDS)):
        means[code, 12 * code : 12 * code + 12] *= strength
    scale = np.ones(n_genes) if batch is None else batch
    return csr_matrix(rng.poisson(means[codes] * scale).astype(np.float32))


def lesson_of(codes, counts, k=15):
    expression = log_normalise(counts)
    vectors = np.asarray(expression.toarray()[:, :60], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Lesson(Profiles(vectors, expression), codes.astype(np.int32), len(KINDS), k)


@pytest.fixture(scope="module")
def lesson():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(4), [60, 50, 40, 30])
    return lesson_of(codes, counts_of(codes, rng))


def test_variable_genes_are_those_of_scanpy():
    rng = np.random.default_rng(1)
    means = rng.gamma(0.5, 2, 900)
    values = log_normalise(csr_matrix(rng.negative_binomial(2, 2 / (2 + means), (300, 900))))
    # scanpy also puts genes without a count into its bins.
    values = values[:, np.asarray(values.sum(axis=0)).ravel() > 0]
    table = sc.pp.highly_variable_genes(
        ad.AnnData(values), n_top_genes=200, flavor="seurat", inplace=False
    )
    expected = np.flatnonzero(table["highly_variable"].to_numpy())
    found = choose_variable_genes(values, 200)
    assert len(found) == 200
    assert len(np.intersect1d(found, expected)) >= 195


def test_the_regression_is_that_of_scikit_learn(lesson):
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(4), 20)
    cells = lesson_of(codes, counts_of(codes, rng)).cells
    fitted = fit_ways(["logistic"], lesson, cells)["logistic"]
    genes = choose_variable_genes(lesson.cells.expression)
    own = LogisticRegression(C=0.1, max_iter=100, tol=1e-3)
    own.fit(lesson.cells.expression[:, genes].toarray(), lesson.codes)
    less_shift = cells.expression[:, genes].toarray() - fitted.shift
    np.testing.assert_allclose(
        fitted.probabilities(cells), own.predict_proba(less_shift), atol=1e-4
    )
    assert np.abs(fitted.shift).mean() < 0.4


@pytest.mark.parametrize("way", SINGLE_WAYS)
def test_a_way_names_cells_of_another_batch(lesson, way):
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(4), [10, 20, 30, 60])
    batch = np.exp(rng.normal(0, 0.7, 150))
    cells = lesson_of(codes, counts_of(codes, rng, batch=batch)).cells
    said = fit_ways([way], lesson, cells)[way].probabilities(cells)
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    assert f1_score(codes, said.argmax(axis=1), average="macro") > 0.9


def test_a_shift_is_found_though_labels_have_other_shares():
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(2, 5)) * 5
    labelled = np.repeat([0, 1], [90, 10])
    others = np.repeat([0, 1], [20, 80])
    moved = np.array([1.0, -2, 0, 3, 0.5])
    sight = sight_of(centres[others] + moved, centres[labelled], labelled, nearest_mean(centres, 1))
    found = sight.shift(np.eye(2, dtype=np.float32)[others])
    np.testing.assert_allclose(found, moved, atol=1e-4)


def sight_of(points, labelled, codes, say):
    """Where cells are the points themselves."""
    return Sight.of(Space(np.float32, say), points, labelled, np.int32(codes))


def nearest_mean(centres, sharpness):
    """Probabilities by the distance to each centre."""

    def say(points):
        return softmax(-sharpness * cdist(points, centres, "sqeuclidean"), axis=1)

    return say


def moved_cells(n_dims, seed):
    """Labelled cells of three kinds, others of other shares that are moved, and by how much."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, n_dims)) * 1.5
    codes, others = np.repeat([0, 1, 2], 100), np.repeat([0, 1, 2], [20, 60, 120])
    moved = rng.normal(size=n_dims) * 2
    labelled = centres[codes] + rng.normal(size=(300, n_dims))
    points = centres[others] + moved + rng.normal(size=(200, n_dims))
    return centres, (points, labelled, codes), others, moved


def test_a_way_that_fails_on_the_query_does_not_decide_the_shift():
    """Two ways see the kinds; the third takes cells for any, whatever the shift."""

    def by_chance(points):
        return np.eye(3, dtype=np.float32)[np.random.default_rng(9).integers(3, size=len(points))]

    sights, right = {}, {}
    for seed, way in enumerate(("neighbours", "logistic", "pca")):
        centres, seen, others, right[way] = moved_cells(10, seed)
        say = by_chance if way == "logistic" else nearest_mean(centres, 0.5)
        sights[way] = sight_of(*seen, say)
    found = find_shift(sights, AGREEMENT)
    assert found.by != "logistic"
    for way in ("neighbours", "pca"):
        np.testing.assert_allclose(found.of[way], right[way], atol=0.5)
        assert (sights[way].say(found.of[way]).argmax(axis=1) == others).mean() > 0.95
    named = [sights[way].say(found.of[way]).argmax(axis=1) for way in sights]
    alike = [np.mean(one == other) for one, other in combinations(named, 2)]
    assert found.agreement.mean() == pytest.approx(np.mean(alike))


def shift_by(by, n_agreed, overturned=0.0):
    """As of 400 cells, of which two of the three pairs of ways agree on the first ones."""
    agreement = np.where(np.arange(400) < n_agreed, 1, 1 / 3)
    return Shift({}, by, agreement, 0.5, overturned)


@pytest.mark.parametrize(
    ("shifts", "by"),
    [
        # 3 of 400 cells are 1.7 standard errors, and 20 of them 4.6.
        ((shift_by(AGREEMENT, 200), shift_by("pca", 203)), AGREEMENT),
        ((shift_by(AGREEMENT, 200), shift_by("pca", 220)), "pca"),
        ((shift_by(AGREEMENT, 200), shift_by("pca", 380, overturned=0.6)), AGREEMENT),
        ((shift_by(AGREEMENT, 200, overturned=0.3), shift_by("pca", 190)), "pca"),
        ((shift_by(AGREEMENT, 200, overturned=0.3), shift_by("pca", 90)), "pca"),
    ],
)
def test_labels_of_all_ways_are_relied_on_unless_others_are_clearly_better(shifts, by):
    assert choose_shift({each.by: each for each in shifts}, AGREEMENT).by == by


@pytest.mark.parametrize(
    ("n_agreed", "overturned", "is_credible"),
    [(200, 0.05, True), (200, 0.1, False), (101, 0.005, True), (90, 0.0, False)],
)
def test_a_shift_is_credible_where_more_agree_and_few_are_overturned(
    n_agreed, overturned, is_credible
):
    """Ways agree on 0.67, 0.67, 0.5 and 0.48, and on 0.5 without the shift."""
    assert shift_by("pca", n_agreed, overturned).is_credible == is_credible


@pytest.mark.parametrize("width", [0, 0.4, 0.7])
@pytest.mark.parametrize("sizes", [[1000, 0, 0, 0], [0, 0, 0, 500], [700, 0, 0, 300]], ids=str)
def test_a_query_of_few_kinds_is_not_moved_onto_others(lesson, sizes, width):
    """As cells that were sorted: less what they have in common, they would lie anywhere."""
    rng = np.random.default_rng(100)
    codes = np.repeat(np.arange(4), sizes)
    batch = np.exp(rng.normal(0, width, 150))
    cells = lesson_of(codes, counts_of(codes, rng, batch=batch)).cells
    learned = learn(lesson, cells)
    said = np.mean([way.probabilities(cells) for way in learned.ways.values()], axis=0)
    assert (said.argmax(axis=1) == codes).mean() > 0.95


def test_rounds_go_on_until_the_shift_and_the_labels_are_at_one():
    """Where kinds are much alike, each round mends the labels of a few cells alone."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0], [3.0]])
    codes, others = np.repeat([0, 1], [1900, 100]), np.repeat([0, 1], [450, 50])
    labelled = centres[codes] + rng.normal(size=(2000, 1))
    points = centres[others] + 2.2 + rng.normal(size=(500, 1))
    sight = sight_of(points, labelled, codes, nearest_mean(centres, 0.5))
    shift = find_shift({"a": sight, "b": sight}, AGREEMENT).of["a"]
    again = sight.shift(sight.say(shift))
    np.testing.assert_allclose(again, shift, atol=0.02)


def test_ways_are_scored_as_scikit_learn_does_on_cells_that_were_held_out(lesson):
    held = hold_out(lesson, None, SINGLE_WAYS)
    tested = np.concatenate([each for _, each in held.folds])
    assert sorted(tested.tolist()) == list(range(len(lesson)))
    for learned, held_out in held.folds:
        assert not set(learned) & set(held_out)
    for way in SINGLE_WAYS:
        said = held.probabilities[way].argmax(axis=1)
        tried = score(way, (way,), held)
        assert tried.accuracy == pytest.approx(accuracy_score(lesson.codes, said))
        assert tried.macro_f1 == pytest.approx(f1_score(lesson.codes, said, average="macro"))
    mean = np.mean([held.probabilities[way] for way in SINGLE_WAYS], axis=0).argmax(axis=1)
    agreed = score(AGREEMENT, SINGLE_WAYS, held)
    assert agreed.macro_f1 == pytest.approx(f1_score(lesson.codes, mean, average="macro"))


def test_whole_groups_are_held_out(lesson):
    groups = np.array([f"donor{i % 3}" for i in range(len(lesson))], dtype=object)
    held = hold_out(lesson, groups, ["neighbours"])
    assert len(held.folds) == 3
    for learned, held_out in held.folds:
        assert not set(groups[learned]) & set(groups[held_out])
    assert held.by == "whole groups, 3 in 3 folds"


def test_one_label_to_learn_from_is_what_all_cells_get(lesson):
    # Two donors of one label each: what is learned from one of them knows no other label.
    two = lesson.take(np.flatnonzero(lesson.codes < 2))
    donors = np.array(["x", "y"], dtype=object)[two.codes]
    held = hold_out(two, donors, SINGLE_WAYS)
    for way in SINGLE_WAYS:
        np.testing.assert_array_equal(held.probabilities[way].argmax(axis=1), 1 - two.codes)


def test_the_best_way_is_taken_and_the_agreement_where_it_is_as_good(lesson):
    held = hold_out(lesson, None, SINGLE_WAYS)
    codes = lesson.codes
    right = np.eye(4, dtype=np.float32)[codes]
    wrong = np.eye(4, dtype=np.float32)[(codes + 1) % 4]
    for best in SINGLE_WAYS:
        made = {way: right * 0.6 if way == best else wrong for way in SINGLE_WAYS}
        object.__setattr__(held, "probabilities", made)
        choice = choose_way(held, "auto", SINGLE_WAYS)
        assert (choice.way, choice.parts) == (best, (best,))
        assert choice.tried[0].way == best
        assert len(choice.tried) == 5
    # Better by one cell, which is chance; and by ten.
    for n_wrong, expected in ((1, AGREEMENT), (30, BEST_TWO)):
        few = right.copy()
        few[::5][:n_wrong] = 1.9 * wrong[::5][:n_wrong]
        made = {"logistic": right, "neighbours": few, "pca": right * 0.5}
        object.__setattr__(held, "probabilities", made)
        assert choose_way(held, "auto", SINGLE_WAYS).way == expected
    object.__setattr__(held, "probabilities", dict.fromkeys(SINGLE_WAYS, right))
    assert choose_way(held, "auto", SINGLE_WAYS).way == AGREEMENT
    assert choose_way(held, "pca", SINGLE_WAYS).parts == ("pca",)
    assert choose_way(held, "agreement", SINGLE_WAYS).parts == SINGLE_WAYS
    with pytest.raises(SettingsError, match="only neighbours can be had"):
        choose_way(held, "logistic", ("neighbours",))


def test_a_small_reference_is_not_weighed(lesson):
    few = lesson.take(np.arange(0, len(lesson), 4))
    assert hold_out(few, None, SINGLE_WAYS) is None
    assert choose_way(None, "auto", SINGLE_WAYS).way == "neighbours"
    assert choose_way(None, "pca", SINGLE_WAYS).way == "pca"
    with pytest.raises(SettingsError, match="too small"):
        choose_way(None, "agreement", SINGLE_WAYS)


def test_the_limit_parts_left_out_classes_from_known_ones(lesson):
    held = hold_out(lesson, None, ["logistic"])
    limits = calibrate(lesson, held, ["logistic"], KINDS)
    assert limits.by == "doubt"
    # With three kinds left, a cell of the fourth is not like those of the others.
    assert limits.found > 0.6 > limits.found_by_half
    assert limits.kept >= 0.95
    assert limits.auroc > 0.95
    # Of two fifths of 120 cells a doubt cannot be known.
    few = lesson.take(np.arange(0, 180, 3)[:60].repeat(2))
    assert calibrate(few, hold_out(few, None, SINGLE_WAYS), SINGLE_WAYS, KINDS) is None
    assert set(limits.called_else) == set(KINDS)
    assert limits.found == pytest.approx(1 - np.mean(list(limits.called_else.values())))


def test_without_counts_the_limit_is_one_of_probability(lesson):
    cells = Profiles(lesson.cells.vectors)
    vectors = Lesson(cells, lesson.codes, lesson.n_classes, lesson.n_neighbors)
    held = hold_out(vectors, None, ["neighbours"])
    assert calibrate(vectors, held, ["neighbours"], KINDS) is None
    limits = calibrate(vectors, held, ["neighbours"], KINDS, by_doubt=False)
    assert limits.by == "probability"
    assert 0 < limits.limit < 1
    assert limits.auroc == limits.auroc_of_probability
    # Of two fifths of the cells, named by the others, at least 19 in 20 are beyond the limit.
    tested = np.sort(np.concatenate([each for _, each in held.folds[:2]]))
    others = np.setdiff1d(np.arange(len(vectors)), tested)
    fitted = fit_ways(["neighbours"], vectors.take(others), cells.take(tested))["neighbours"]
    said = fitted.probabilities(cells.take(tested))
    right = said.argmax(axis=1) == vectors.codes[tested]
    assert (said.max(axis=1)[right] >= limits.limit - 1e-6).mean() == pytest.approx(limits.kept)


def test_a_kind_that_the_reference_lacks_is_doubted_in_another_batch_too(lesson):
    rng = np.random.default_rng(6)
    codes = np.repeat(np.arange(4), [20, 30, 40, 50])
    cells = lesson_of(codes, counts_of(codes, rng, batch=np.exp(rng.normal(0, 0.5, 150)))).cells
    for code in range(4):
        taught = lesson.take(np.flatnonzero(lesson.codes != code))
        learned = learn(taught, cells)
        doubts = Doubts.learn(taught, cells, learned).of(cells, np.arange(len(cells)))
        assert roc_auc_score(codes == code, doubts) > 0.95
        assert np.median(doubts) == pytest.approx(1, abs=0.15)
        # Cells that were not shown are doubted as those that were.
        some = np.arange(0, len(cells), 2)
        seen = cells.take(some)
        of_seen = Doubts.learn(taught, seen, learn(taught, seen))
        others = np.setdiff1d(np.arange(len(cells)), some)
        found = of_seen.of(cells.take(others), np.full(len(others), -1))
        assert roc_auc_score(codes[others] == code, found) > 0.8


def test_cells_of_the_reference_itself_have_no_doubt(lesson):
    learned = learn(lesson, lesson.cells)
    places = np.arange(len(lesson))
    doubts = Doubts.learn(lesson, lesson.cells, learned).of(lesson.cells, places)
    np.testing.assert_allclose(doubts, 1, atol=0.05)


def test_a_shift_is_taken_away_where_ways_then_agree_more(lesson):
    rng = np.random.default_rng(7)
    codes = np.repeat(np.arange(4), [10, 20, 30, 60])
    batch = np.exp(rng.normal(0, 1.0, 150))
    shifted = lesson_of(codes, counts_of(codes, rng, batch=batch)).cells
    choice = learn(lesson, shifted).choice
    assert choice.taken_away
    assert choice.agreement_with > choice.agreement_without
    # A query of one kind: less the "shift" of its own, that kind is not to be told any more.
    alone = lesson_of(np.zeros(60, int), counts_of(np.zeros(60, int), rng)).cells
    learned = learn(lesson, alone)
    for way in learned.ways.values():
        assert (way.probabilities(alone).argmax(axis=1) == 0).mean() > 0.9
    few = learn(lesson, alone.take(np.arange(20)))
    assert few.choice is None
    assert not few.ways["logistic"].shift.any()


def test_a_sample_has_each_class_and_keeps_small_ones():
    codes = np.repeat([0, 1, 2], [5000, 900, 30]).astype(np.int32)
    rows = sample_of(codes, 600)
    sizes = np.bincount(codes[rows])
    assert sizes[2] == 30
    assert 450 < sizes[0] < 550
    assert (np.diff(rows) > 0).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reference and a query of 4 kinds, the query of another batch; and a model."""
    folder = tmp_path_factory.mktemp("ways")
    vocabulary = small_vocabulary()
    save_small_checkpoint(folder / "model", vocabulary)
    rng = np.random.default_rng(5)
    batch = np.exp(rng.normal(0, 0.4, 150))
    sizes = {"reference": ([60, 50, 40, 30], None), "query": ([20, 10, 30, 15], batch)}
    for name, (each, scale) in sizes.items():
        codes = np.repeat(np.arange(4), each)
        adata = ad.AnnData(counts_of(codes, rng, batch=scale, strength=6.0))
        adata.var_names = [vocabulary.symbol_of[gene] for gene in vocabulary.ensembl_ids[:150]]
        adata.obs_names = [f"{name}{i}" for i in range(len(codes))]
        adata.obs["kind"] = pd.Categorical(np.array(KINDS)[codes])
        adata.obs["donor"] = np.arange(len(codes)) % 3
        adata.write_h5ad(folder / f"{name}.h5ad")
    return folder


def annotate(command, folder, output, *words):
    status, _, said = command(
        "annotate", folder / "query.h5ad", "-r", folder / "reference.h5ad", "--label", "kind",
        "-o", folder / output, "--model", folder / "model", "--dtype", "float32", *words,
    )  # fmt: skip
    assert status == 0, said
    return said


def test_files_are_named_by_the_way_that_does_best(command, folder):
    said = annotate(command, folder, "auto.h5ad", "--group", "donor", "--probabilities")
    assert "whole groups, 3 in 3 folds" in said
    assert "logistic regression on counts" in said
    assert "taken" in said
    assert re.search(r"label +cells +mean +called +divided", said)
    tables = [line for line in said.splitlines() if line.startswith("  ") and "/" not in line]
    assert max(map(len, tables)) <= 80
    found = ad.read_h5ad(folder / "auto.h5ad")
    truth = found.obs["kind"].to_numpy(str)
    best = found.obs["predicted_kind_best"].to_numpy(str)
    assert f1_score(truth, best, average="macro") > 0.9
    shares = found.obsm["predicted_kind_probabilities"]
    assert shares.shape == (75, 4)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-4)
    told = found.uns["rankformer"]["predicted_kind"]
    classes = np.array(told["classes"])
    np.testing.assert_array_equal(classes[shares.argmax(axis=1)], best)
    np.testing.assert_allclose(shares.max(axis=1), found.obs["predicted_kind_probability"])
    tried = {way: each["macro_f1"] for way, each in told["method"]["tried"].items()}
    assert set(tried) == {"neighbours", "logistic", "pca", "agreement", "best_two"}
    assert told["method"]["way"] in (max(tried, key=tried.get), "agreement", "best_two")
    assert told["unknown"]["by"] == "doubt"
    assert told["max_doubt"] == told["unknown"]["limit"]
    assert set(told["markers"]["label"]) == set(KINDS)
    assert min(told["markers"]["auroc_in_query"]) > 0.8
    assert "How well marker genes tell cells of a label from others" in said
    assert told["shift_of_query"]["agreement_with"] > 0.75
    doubtful = found.obs["predicted_kind_doubt"] > told["max_doubt"]
    np.testing.assert_array_equal(found.obs["predicted_kind"] == "unknown", doubtful)
    np.testing.assert_array_equal(
        found.obs["predicted_kind_uncertain"],
        doubtful | (found.obs["predicted_kind_probability"] < 0.5),
    )


def test_labels_of_the_query_change_nothing(command, folder):
    annotate(command, folder, "as-is.csv")
    whole = ad.read_h5ad(folder / "query.h5ad")
    other = whole.copy()
    other.obs["kind"] = "a"
    other.write_h5ad(folder / "query.h5ad")
    annotate(command, folder, "other.csv")
    whole.write_h5ad(folder / "query.h5ad")
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "as-is.csv"), pd.read_csv(folder / "other.csv")
    )


def test_shards_are_named_as_a_file_is_and_a_saved_reference_names_as_its_file(command, folder):
    saved = folder / "saved"
    annotate(command, folder, "whole.csv", "--group", "donor", "--save-reference", saved)
    words = (
        "annotate", folder / "query.h5ad", "--model", folder / "model", "--dtype", "float32",
        "--group", "donor", "-r",
    )  # fmt: skip
    status, _, said = command(*words, saved, "-o", folder / "again.csv")
    assert status == 0, said
    for share in ("1/2", "2/2"):
        status, _, said = command(
            *words, folder / "reference.h5ad", "--label", "kind", "-o", folder / "run",
            "--shard-cells", 20, "--shard", share,
        )  # fmt: skip
        assert status == 0, said
    assert command("merge", folder / "run", "-o", folder / "merged.csv")[0] == 0
    whole, again, merged = (
        pd.read_csv(folder / f"{name}.csv") for name in ("whole", "again", "merged")
    )
    pd.testing.assert_frame_equal(whole, again, atol=1e-4)
    pd.testing.assert_frame_equal(whole, merged, atol=1e-4)


def test_in_python_as_on_the_command_line(command, folder):
    annotate(command, folder, "file.csv", "--method", "agreement")
    query = ad.read_h5ad(folder / "query.h5ad")
    rankformer.tl.annotate(
        query, reference=folder / "reference.h5ad", label="kind", model=folder / "model",
        dtype="float32", method="agreement",
    )  # fmt: skip
    found = pd.read_csv(folder / "file.csv")
    assert query.obs["predicted_kind"].astype(str).tolist() == found["predicted_kind"].tolist()
    np.testing.assert_allclose(
        query.obs["predicted_kind_probability"], found["predicted_kind_probability"], atol=1e-4
    )


def test_a_limit_that_is_given_is_taken(command, folder):
    annotate(command, folder, "given.csv", "--method", "logistic", "--min-share", 0.97)
    told = json.loads((folder / "given.csv.json").read_text())["predicted_kind"]
    assert told["vote"]["min_share"] == 0.97
    assert told["unknown"]["by"] == "doubt"
    found = pd.read_csv(folder / "given.csv")
    divided = found["predicted_kind_why"].fillna("").str.contains("divided")
    np.testing.assert_array_equal(divided, found["predicted_kind_probability"] < 0.97)
    assert (found["predicted_kind"][divided] == "unknown").all()
    annotate(command, folder, "lenient.csv", "--max-doubt", 100)
    lenient = json.loads((folder / "lenient.csv.json").read_text())["predicted_kind"]
    assert (lenient["max_doubt"], lenient["unknown"]) == (100, {})
    assert (pd.read_csv(folder / "lenient.csv")["predicted_kind"] != "unknown").all()
    annotate(command, folder, "without.csv", "--no-doubt")
    without = json.loads((folder / "without.csv.json").read_text())["predicted_kind"]
    assert without["unknown"]["by"] == "probability"
    assert without["vote"]["min_share"] == pytest.approx(without["unknown"]["limit"])


def test_limits_of_neighbours_alone_hold_alone(folder):
    embedder = rankformer.Embedder(rankformer.Checkpoint.open(folder / "model"), dtype="float32")
    reference = rankformer.build_reference(folder / "reference.h5ad", embedder, "kind")
    vote = rankformer.NeighbourVote(min_share=0.7, distance_quantile=0.9)
    found = rankformer.annotate_cells(
        folder / "query.h5ad", reference, embedder, {"kind": "k"}, vote=vote
    ).labels["k"]
    assert "doubt" not in found.further
    assert "max_doubt" not in found.provenance
    said = pd.Series(found.further["why"]).dropna().str.contains("unlike")
    assert not said.any()
    assert (found.uncertain == (np.asarray(found.values) == "unknown")).all()
    np.testing.assert_array_equal(
        found.probability < 0.7,
        pd.Series(found.further["why"]).fillna("").str.contains("divided"),
    )


def test_reference_and_query_are_integrated(command, folder):
    pytest.importorskip("harmonypy")
    said = annotate(
        command, folder, "mixed.csv", "--method", "neighbours", "--integrate", "harmony"
    )
    assert "were mixed by Harmony" in said
    told = json.loads((folder / "mixed.csv.json").read_text())["predicted_kind"]
    assert told["integrate"] == "harmony"
    annotate(command, folder, "unmixed.csv", "--method", "neighbours")
    mixed, as_is = (pd.read_csv(folder / f"{name}.csv") for name in ("mixed", "unmixed"))
    column = "predicted_kind_distance"
    assert mixed[column].median() < as_is[column].median()


def test_clusters_vote(command, folder):
    whole = ad.read_h5ad(folder / "query.h5ad")
    clustered = whole.copy()
    truth = whole.obs["kind"].to_numpy(str)
    clustered.obs["cluster"] = np.where(truth == "a", "one", np.where(truth == "b", "two", "three"))
    clustered.write_h5ad(folder / "query.h5ad")
    annotate(command, folder, "clusters.csv", "--majority-vote", "cluster")
    annotate(command, folder, "computed.csv", "--majority-vote", "computed")
    whole.write_h5ad(folder / "query.h5ad")
    found = pd.read_csv(folder / "clusters.csv")
    best, majority = found["predicted_kind_best"], found["predicted_kind_majority"]
    for cluster in ("one", "two", "three"):
        own = clustered.obs["cluster"].to_numpy() == cluster
        counts = best[own].value_counts()
        expected = counts.index[0] if counts.iloc[0] > own.sum() / 2 else "unknown"
        assert set(majority[own]) == {expected}
    computed = pd.read_csv(folder / "computed.csv")["predicted_kind_majority"]
    assert set(computed) <= {*KINDS, "unknown"}
    status, _, said = command(
        "annotate", folder / "query.h5ad", "-r", folder / "reference.h5ad", "--label", "kind",
        "-o", folder / "x.csv", "--model", folder / "model", "--majority-vote", "cluster",
    )  # fmt: skip
    assert status == 2
    assert "no column 'cluster'" in said
