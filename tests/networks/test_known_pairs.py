"""Known pairs: which they are, and how well they are found, beside scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from rankformer.errors import MissingFileError, SettingsError
from rankformer.networks.known_pairs import (
    check_met,
    find_known_pairs,
    list_known_pairs,
    mark_known,
    measure_recovery,
    read_known_pairs,
)


def test_precision_and_recall_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    known = rng.random(500) < 0.1
    scores = {name: rng.normal(size=500) + known for name in ("place", "effect", "coexpression")}
    rows, curves = measure_recovery(pd.DataFrame({**scores, "known": known}))
    for row in rows.itertuples():
        values = scores[row.score]
        assert row.average_precision == pytest.approx(average_precision_score(known, values))
        assert row.times_chance == pytest.approx(row.average_precision / known.mean())
        best = np.argsort(-values)[:100]
        assert row.precision_at_100 == pytest.approx(known[best].mean())
        curve = curves[curves["score"] == row.score]
        precision, recall, _ = precision_recall_curve(known, values)
        theirs = dict(zip(recall, precision, strict=True))
        assert curve["recall"].iloc[-1] == 1
        assert curve["precision"].iloc[-1] == pytest.approx(precision[recall == 1].max())
        assert set(np.round(curve["recall"], 9)) <= set(np.round(list(theirs), 9))


def test_which_pairs_are_known_and_which_could_be():
    known = np.array([[5, 7], [5, 8], [6, 8]])
    sources, targets = np.array([5, 6, 7, 8, 5, 9]), np.array([7, 7, 5, 6, 9, 8])
    is_known, could_be = mark_known(sources, targets, known, is_directed=True)
    assert is_known.tolist() == [True, False, False, False, False, False]
    assert could_be.tolist() == [True, True, False, False, False, False]
    is_known, could_be = mark_known(sources, targets, known, is_directed=False)
    assert is_known.tolist() == [True, False, True, True, False, False]
    assert could_be.tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "G1 G2\nALIAS1 ENSG00000000002\nG3   G4 # ours\nG5 G5\nG1 NO\n",
        "# of a database\nG1\tG2\tActivation\t123\nALIAS1\tG2\tUnknown\nG3\tG4\n",
        "tf,confidence,target\nG1,A,G2\nG3,B,G4\n",
        'target;source\n"G2";"G1"\n"G4";"G3"\n',
    ],
)
def test_names_are_looked_up(vocabulary, tmp_path, text):
    file = tmp_path / "pairs.tsv"
    file.write_text(text)
    pairs = read_known_pairs(file)
    token_of = vocabulary.token_of
    expected = [[token_of[f"ENSG{a:011d}"], token_of[f"ENSG{b:011d}"]] for a, b in ((1, 2), (3, 4))]
    assert find_known_pairs(pairs, vocabulary).tolist() == expected


def test_pairs_are_given_in_any_way(tmp_path):
    pairs = [["G1", "G2"], ["G3", "G4"]]
    (tmp_path / "pairs.csv").write_text("G1,G2\nG3,G4\n")
    table = pd.DataFrame({"tf": ["G1", "G3"], "gene": ["G2", "G4"], "mode": [1, -1]})
    for given in (pairs, table, tmp_path / "pairs.csv", str(tmp_path / "pairs.csv")):
        assert [list(pair) for pair in list_known_pairs(given)] == pairs
    assert not list_known_pairs(None)


def test_pairs_that_are_none(vocabulary, tmp_path):
    with pytest.raises(MissingFileError):
        read_known_pairs(tmp_path / "none.tsv")
    (tmp_path / "one.tsv").write_text("G1 G2\nG3\n")
    with pytest.raises(SettingsError, match="has the line 'G3'"):
        read_known_pairs(tmp_path / "one.tsv")
    (tmp_path / "header.tsv").write_text("source,target\n")
    with pytest.raises(SettingsError, match="a header and no pair"):
        read_known_pairs(tmp_path / "header.tsv")
    with pytest.raises(SettingsError, match="none is of two genes of the vocabulary"):
        find_known_pairs([("NO", "G1")], vocabulary)
    for odd in ([("G1", "G2", "G3")], [(1, 2)], [5], [("G1",)]):
        with pytest.raises(SettingsError, match="one is not of two names"):
            list_known_pairs(odd)


@pytest.mark.parametrize("known", [False, True])
def test_there_must_be_known_and_other_pairs(known, caplog):
    table = pd.DataFrame({"place": [0.1, 0.2], "known": known})
    assert measure_recovery(table) is None
    assert f"{2 * known} are known" in caplog.text


def test_pairs_whose_genes_the_network_lacks():
    check_met(np.array([[3, 9], [4, 5]]), np.array([4, 5, 9]))
    with pytest.raises(SettingsError, match="both genes of none"):
        check_met(np.array([[3, 9], [4, 8]]), np.array([4, 5, 9]))
