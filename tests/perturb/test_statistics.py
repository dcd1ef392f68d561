"""Tests of perturbations: planted effects are found, trends along the ranks are not."""

import logging

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, kstest, ranksums, t

from rankformer.errors import SettingsError, TableError
from rankformer.perturb.settings import Comparison
from rankformer.perturb.statistics import _interval, compare_genes, place_among_like_ranks

PLANTED = ("G7", "G8", "G9")


def make_table(seed=0, n_cells=40, n_genes=200, planted=0.01, n_donors=4, trend=0.05):
    """Genes whose effect falls off with their rank in the cell, and three that do more."""
    rng = np.random.default_rng(seed)
    parts = []
    # Some genes lie at the top of most cells, others at the bottom.
    typical = rng.permutation(n_genes)
    for cell in range(n_cells):
        order = np.argsort(typical + rng.normal(scale=n_genes / 5, size=n_genes))
        ranks = np.arange(1, n_genes + 1)
        symbols = np.array([f"G{gene}" for gene in order])
        size = trend / (1 + np.log(ranks))
        shift = size + rng.normal(scale=0.004, size=n_genes)
        shift += planted * np.isin(symbols, PLANTED)
        parts.append(pd.DataFrame({
            "cell": f"cell{cell}", "donor": f"D{cell % n_donors}", "ensembl_id": symbols,
            "symbol": symbols, "rank": ranks, "n_genes": n_genes,
            "cosine": 1 - np.abs(size * rng.lognormal(sigma=0.3, size=n_genes)),
            "method": "exact", "shift_to_goal": shift, "shift_to_start": -shift,
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_planted_effects_are_found_and_ranks_alone_are_not():
    tested = compare_genes(make_table())
    called = tested[tested["q_value"] < 0.05]
    assert set(PLANTED) <= set(called["symbol"])
    assert len(called) <= len(PLANTED) + 10
    # What the published comparison calls are genes that lie at the top or the bottom.
    at_random = compare_genes(make_table(), Comparison("random"))
    assert (at_random["q_value"] < 0.05).mean() > 0.3


def test_p_values_are_uniform_where_there_is_nothing():
    tested = compare_genes(make_table(seed=1, planted=0, trend=0))
    assert kstest(tested["p_value"], "uniform").pvalue > 0.001
    with_donors = compare_genes(make_table(seed=2, planted=0, trend=0),
                                Comparison(replicate="donor"))  # fmt: skip
    assert (with_donors["p_value"] < 0.05).mean() < 0.12


@pytest.mark.parametrize("n_donors", [4, 8])
def test_donors_are_the_replicates(n_donors, caplog):
    table = make_table(n_donors=n_donors)
    tested = compare_genes(table, Comparison(replicate="donor")).set_index("symbol")
    assert (tested["n_replicates"] == n_donors).all()
    assert set(PLANTED) <= set(tested.nsmallest(8, "p_value").index)
    assert not caplog.records
    assert tested.loc[list(PLANTED), "p_mixed"].min() < 0.05
    # An effect of one donor alone is an effect of cells, and not of donors.
    own = (table["symbol"] == "G20") & (table["donor"] == "D0")
    table.loc[own, "shift_to_goal"] += 0.05
    with caplog.at_level(logging.WARNING, "rankformer"):
        by_cell = compare_genes(table).set_index("symbol")
    by_donor = compare_genes(table, Comparison(replicate="donor")).set_index("symbol")
    assert "Cells of one donor are not independent" in caplog.text
    assert by_donor.loc["G20", "p_value"] > by_cell.loc["G20", "p_value"]


def test_figures_are_those_of_plain_sums():
    table = make_table()
    tested = compare_genes(table, Comparison("aggregate")).set_index("symbol")
    by_gene = table.groupby("symbol")
    expected = by_gene["shift_to_goal"].mean()
    np.testing.assert_allclose(tested["effect"], expected[tested.index])
    np.testing.assert_allclose(tested["mean_rank"], by_gene["rank"].mean()[tested.index])
    sds = by_gene["shift_to_goal"].std()
    np.testing.assert_allclose(tested["sd"], sds[tested.index])
    assert ((tested["low"] < tested["effect"]) & (tested["effect"] < tested["high"])).all()
    # The interval of a mean is about two standard errors on each side.
    width = (tested["high"] - tested["low"]) / (4 * tested["sd"] / np.sqrt(tested["n_cells"]))
    assert width.median() == pytest.approx(0.96, abs=0.08)


def test_a_null_set_of_cells():
    table, null = make_table(), make_table(seed=5, planted=0)
    tested = compare_genes(table, Comparison("null"), null).set_index("symbol")
    for gene in ("G7", "G100"):
        values = [each.loc[each["symbol"] == gene, "shift_to_goal"] for each in (table, null)]
        assert tested.loc[gene, "p_value"] == pytest.approx(ranksums(*values).pvalue)
    adjusted = false_discovery_control(tested["p_value"])
    np.testing.assert_allclose(tested["q_value"], adjusted)
    with pytest.raises(SettingsError, match="without its table"):
        compare_genes(table, Comparison("null"))


def test_a_mixture_of_two_distributions():
    rng = np.random.default_rng(0)
    table = make_table(planted=0, trend=0, n_genes=150)
    strong = [f"G{i}" for i in range(15)]
    shifts = dict(zip(strong, rng.normal(scale=0.05, size=15), strict=True))
    table["shift_to_goal"] += table["symbol"].map(shifts).fillna(0)
    tested = compare_genes(table, Comparison("mixture")).set_index("symbol")
    large = [gene for gene in strong if abs(shifts[gene]) > 0.01]
    assert tested.loc[large, "impact"].min() > 0.9
    assert tested.drop(index=strong)["impact"].max() < 0.5


def test_without_states_the_movement_is_tested():
    table = make_table().drop(columns=["shift_to_goal", "shift_to_start"])
    table.loc[table["symbol"] == "G9", "cosine"] -= 0.05
    tested = compare_genes(table)
    assert tested["symbol"].iloc[0] == "G9"
    assert tested["effect"].iloc[0] == pytest.approx(
        1 - table.loc[table["symbol"] == "G9", "cosine"].mean()
    )


def test_movements_of_nothing_leave_their_neighbours_alone():
    table = make_table().drop(columns=["shift_to_goal", "shift_to_start"])
    table.loc[table["symbol"] == "G9", "cosine"] -= 0.05
    rng = np.random.default_rng(0)
    table.loc[rng.random(len(table)) < 0.03, "cosine"] = 1.0
    assert compare_genes(table)["symbol"].iloc[0] == "G9"


def test_a_mixed_model_is_of_what_lies_beyond_like_ranks():
    compared = compare_genes(make_table(), Comparison("random", replicate="donor"))
    assert "p_mixed" not in compared


def test_what_was_run_exactly_goes_before_estimates():
    table = make_table()
    exact = table[table["symbol"] == "G7"].assign(shift_to_goal=1.0)
    both = pd.concat([table.assign(method="screen"), exact], ignore_index=True)
    tested = compare_genes(both, Comparison("aggregate")).set_index("symbol")
    assert tested.loc["G7", "effect"] == 1.0
    assert tested.loc["G7", "n_cells"] == 40


def test_places_are_those_among_neighbours():
    """Without a trend, the place of a value among the nearest ranks is a plain count."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=60)
    rows = pd.DataFrame({"cell": "a", "rank": np.arange(1.0, 61), "value": values, "scale": values})
    rows.loc[30, ["value", "scale"]] = 100
    found = place_among_like_ranks(rows)
    assert found["place"].iloc[30] == pytest.approx(20.5 / 21)
    assert found["place"].between(0, 1).all()
    assert found["excess"].iloc[30] == pytest.approx(100, abs=2)


def test_tables_that_cannot_be_tested():
    table = make_table()
    with pytest.raises(TableError, match="no column rank"):
        compare_genes(table.drop(columns="rank"))
    with pytest.raises(TableError, match="no column cosine, gene_cosine or shift_to_STATE"):
        compare_genes(table.drop(columns=["cosine", "shift_to_goal", "shift_to_start"]))
    with pytest.raises(TableError, match="25 ranked genes a cell"):
        compare_genes(table[table["rank"] <= 25])
    with pytest.raises(SettingsError, match=r"no shift towards 'other'.*One of goal, start"):
        compare_genes(table, Comparison(goal="other"))
    with pytest.raises(SettingsError, match=r"no column 'batch'.*--attribute"):
        compare_genes(table, Comparison(replicate="batch"))
    with pytest.raises(SettingsError, match="against 'chance'"):
        Comparison("chance")
    few = compare_genes(table[table["cell"].isin(["cell0", "cell1"])])
    assert few["p_value"].isna().all()


def test_donors_that_do_not_differ_are_not_taken_for_many_cells():
    """Without variance between donors a mixed model would test cells."""
    table = make_table(n_cells=60, n_donors=3)
    tested = compare_genes(table, Comparison(replicate="donor"))
    known = tested["p_mixed"].dropna()
    assert (known > 1e-6).all()
    # With three donors the interval is Student's: three times as wide as their standard error.
    wide = (tested["high"] - tested["low"]).dropna()
    assert (wide > 0).all()


def test_few_values_have_the_interval_of_student():
    rng = np.random.default_rng(0)
    values = rng.normal(size=6)
    low, high = _interval(values, rng)
    expected = t.interval(0.95, 5, values.mean(), values.std(ddof=1) / np.sqrt(6))
    np.testing.assert_allclose((low, high), expected)


def test_perturbations_of_few_cells_take_no_part_in_a_mixture():
    table = make_table()
    gene = table["ensembl_id"].iloc[0]
    odd = table[table["ensembl_id"] == gene].head(1).assign(ensembl_id="ENSG9", shift_to_goal=9.0)
    tested = compare_genes(pd.concat([table, odd]), Comparison("mixture")).set_index("ensembl_id")
    assert np.isnan(tested.loc["ENSG9", "impact"])
    plain = compare_genes(table, Comparison("mixture")).set_index("ensembl_id")
    assert tested["impact"].drop("ENSG9").to_dict() == pytest.approx(plain["impact"].to_dict())
