"""Sums over cells, and what is more than chance, beside plain sums."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from rankformer.networks.pair_effects import CellPairs
from rankformer.networks.pair_places import compare_pairs
from rankformer.networks.pair_sums import PairSums


def draw_cells(n_cells, n_genes, seed=0, n_expressed=40, planted=()):
    """Cells whose genes are in random order, with effects of ranks and of chance."""
    rng = np.random.default_rng(seed)
    for cell in range(n_cells):
        genes = rng.permutation(n_genes)[:n_expressed]
        trend = np.add.outer(np.linspace(3, 0, n_expressed), np.linspace(1, 0, n_expressed))
        effects = np.exp2(trend + rng.normal(size=trend.shape) - 8)
        for a, b in planted:
            where = np.ix_(genes == a, genes == b)
            effects[where] *= 8
        yield cell_pairs(cell, effects), genes


def cell_pairs(cell, effects):
    return CellPairs(cell, np.arange(len(effects)), effects, np.log2(effects))


def add_all(cells, n_genes, acting=None):
    sums = PairSums(n_genes, np.arange(n_genes) if acting is None else acting)
    for pairs, genes in cells:
        sums.add(pairs, genes)
    return sums


def test_figures_are_those_of_plain_sums():
    cells = list(draw_cells(12, 60))
    table = add_all(cells, 60).summarise(5, is_directed=True).test()
    rows = []
    for pairs, genes in cells:
        excess, place = compare_pairs(np.log2(pairs.effects), pairs.ranks)
        for i, j in np.argwhere(~np.isnan(place)):
            rows.append((genes[i], genes[j], pairs.effects[i, j], excess[i, j], place[i, j]))
    plain = pd.DataFrame(rows, columns=["source", "target", "effect", "excess", "place"])
    by_pair = plain.groupby(["source", "target"])
    n = by_pair.size()
    kept = n[n >= 5].index
    assert set(map(tuple, table[["source", "target"]].to_numpy())) == set(kept)
    own = table.set_index(["source", "target"]).loc[kept]
    means = by_pair[["effect", "excess", "place"]].mean().loc[kept]
    pd.testing.assert_frame_equal(own[["effect", "excess", "place"]], means, rtol=1e-9)
    half = t.ppf(0.975, n[kept] - 1) * by_pair["effect"].sem().loc[kept]
    np.testing.assert_allclose(own["high"] - own["effect"], half, rtol=1e-6)
    np.testing.assert_allclose(own["effect"] - own["low"], half, rtol=1e-6)
    p = norm.sf((means["place"] - 0.5) / np.sqrt(1 / 12 / n[kept]))
    np.testing.assert_allclose(own["p_value"], p, rtol=1e-9)
    assert table["p_value"].is_monotonic_increasing


def test_planted_pairs_are_found_and_the_other_way_round_is_not():
    cells = draw_cells(60, 60, planted=[(3, 7)])
    table = add_all(cells, 60).summarise(10, is_directed=True).test()
    found = table[table["q_value"] < 0.05]
    assert found.iloc[0][["source", "target"]].tolist() == [3, 7]
    assert found.iloc[0]["excess"] == pytest.approx(3, abs=0.5)
    assert len(found) <= 3
    back = table[(table["source"] == 7) & (table["target"] == 3)]
    assert back["q_value"].item() > 0.05


@pytest.mark.parametrize("is_directed", [True, False])
def test_p_values_are_not_too_small_where_there_is_nothing(is_directed):
    cells = draw_cells(50, 60, seed=2)
    if not is_directed:
        cells = (
            (cell_pairs(each.cell, each.effects + each.effects.T), genes) for each, genes in cells
        )
    table = add_all(cells, 60).summarise(5, is_directed=is_directed).test()
    assert (table["p_value"] < 0.05).mean() < 0.06
    assert (table["q_value"] < 0.05).sum() <= 1


def test_a_pair_without_direction_is_there_once():
    cells = [
        (cell_pairs(each.cell, each.effects + each.effects.T), genes)
        for each, genes in draw_cells(12, 50)
    ]
    table = add_all(cells, 50).summarise(1, is_directed=False).test()
    assert (table["source"] < table["target"]).all()
    assert not table.duplicated(["source", "target"]).any()


def test_genes_that_do_not_act_or_are_not_of_the_network_are_left_out():
    cells = list(draw_cells(12, 60))
    full = add_all(cells, 60).summarise(3, is_directed=True).test()
    narrowed = [(each, np.where(genes < 50, genes, -1)) for each, genes in cells]
    some = add_all(narrowed, 50, np.array([4, 9])).summarise(3, is_directed=True).test()
    assert set(some["source"]) == {4, 9}
    assert some["target"].max() < 50
    both = some.merge(full, on=["source", "target"])
    assert len(both) == len(some)
    np.testing.assert_allclose(both["place_x"], both["place_y"])
