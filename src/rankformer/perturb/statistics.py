"""Which perturbations do more than chance would: tests over cells or donors.

What a perturbation does depends strongly on the gene's rank in the cell, whatever gene it is. By
default each value is therefore placed among those of genes of like rank in the same cell: a number
from 0 to 1, which is uniform where the gene is like its neighbours.
"""

import logging
import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rankformer.errors import SettingsError, TableError
from rankformer.perturb.settings import Comparison

logger = logging.getLogger(__name__)
SHIFT = "shift_to_"
_LEAST_NEIGHBOURS, _SHARE_OF_NEIGHBOURS = 10, 16
_LEAST_GENES = 30
_N_BOOTSTRAPS, _N_RANDOM, _N_MIXED = 500, 2_000, 50
# A bootstrap of fewer values is too narrow.
_LEAST_TO_DRAW_FROM = 10
# Between replicates, as a share of that of all cells.
_NO_VARIANCE = 1e-4
_NEEDED = ("cell", "ensembl_id", "symbol", "rank")


def compare_genes(
    table: pd.DataFrame, comparison: Comparison | None = None, null: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Test each perturbation of a table of `rankformer perturb`.

    Parameters
    ----------
    table
        A row a cell and gene; see `PerturbationTable`. Of rows that are both screened and run
        exactly, the exact ones are taken.
    comparison
        How to test.
    null
        With ``against="null"``: a table of cells in which nothing is expected.

    Returns
    -------
    A row a perturbation, the most certain first: ``ensembl_id``, ``symbol``, ``n_cells``,
    ``mean_rank``, ``effect`` (the mean value), ``low`` and ``high`` (the 95 % interval of what is
    tested, over replicates or cells: by bootstrap, of fewer than ten by Student's t), ``p_value``
    and ``q_value`` (Benjamini-Hochberg). Against genes of like rank also ``excess``, the mean of
    the value less what its rank makes expect, and ``place``, its mean place among them, from 0 to
    1. Of a mixture ``impact``, the probability of the component that lies farther from most. With
    replicates ``n_replicates`` and, for the most certain ones against genes of like rank,
    ``p_mixed`` of a linear mixed model.

    Raises
    ------
    TableError, SettingsError
        If columns or genes are missing, or settings do not go together.
    """
    comparison = comparison or Comparison()
    rows = _prepare(table, comparison)
    if comparison.against == "like_rank":
        rows = place_among_like_ranks(rows)
    summary = _summarise(rows, comparison)
    if comparison.against == "like_rank":
        summary["p_value"] = _p_of_places(rows, comparison)
    elif comparison.against == "random":
        summary["p_value"] = _p_of_random(rows, comparison)
    elif comparison.against == "null":
        summary["p_value"] = _p_of_null(rows, null, comparison)
    elif comparison.against == "mixture":
        tested = summary["n_cells"] >= comparison.min_cells
        summary.loc[tested, "impact"] = _impact(summary.loc[tested, "effect"])
    if "p_value" in summary:
        summary.loc[summary["n_cells"] < comparison.min_cells, "p_value"] = np.nan
        if summary["p_value"].isna().all():
            logger.warning(
                "Nothing could be tested: no gene was perturbed in %s cells (min_cells, "
                "--min-cells) and, with replicates, in two of them.", comparison.min_cells,
            )  # fmt: skip
        summary["q_value"] = _adjust(summary["p_value"])
        size = summary.get("excess", summary["effect"]).abs()
        order = np.lexsort((-size.to_numpy(), summary["p_value"].to_numpy()))
    else:
        order = np.argsort(-summary["effect"].to_numpy(), kind="stable")
    summary = summary.iloc[order].reset_index()
    if comparison.replicate is not None and comparison.against == "like_rank":
        summary["p_mixed"] = _p_of_mixed_models(rows, summary["ensembl_id"].head(_N_MIXED))
    return summary


def place_among_like_ranks(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``excess`` and ``place`` to rows with ``cell``, ``rank``, ``value`` and ``scale``.

    The value that a rank makes expect is a line in the logarithm of the rank through the values of
    the nearest ranks of the same cell; ``place`` is the share of these with a smaller residual.

    Raises
    ------
    TableError
        If too few genes of the cells have a rank.
    """
    ranked = rows[rows["rank"].notna()]
    if len(ranked) < len(rows):
        logger.warning(
            "%s of %s perturbations have no rank in their cell (groups, and genes that were put "
            "in): they cannot be compared with genes of like rank and are left out.",
            f"{len(rows) - len(ranked):,}", f"{len(rows):,}",
        )  # fmt: skip
    ranked = ranked.sort_values(["cell", "rank"], kind="stable").reset_index(drop=True)
    n_genes = ranked.groupby("cell", observed=True).size()
    if not len(n_genes) or n_genes.median() < _LEAST_GENES:
        raise TableError(
            f"The table has {0 if not len(n_genes) else int(n_genes.median())} ranked genes a cell "
            "in the median.",
            f"At least {_LEAST_GENES}, to compare each gene with those of like rank.",
            "Perturb all genes (--genes all, perhaps with --method screen), or compare otherwise "
            "(--against random).",
        )
    excess, place = np.full(len(ranked), np.nan), np.full(len(ranked), np.nan)
    values, scaled, ranks = (ranked[c].to_numpy(float) for c in ("value", "scale", "rank"))
    for own in ranked.groupby("cell", observed=True).indices.values():
        if len(own) >= _LEAST_GENES:
            x = np.log(ranks[own])
            excess[own] = _beyond_a_line(x, values[own])[0]
            place[own] = _beyond_a_line(x, scaled[own])[1]
    return ranked.assign(excess=excess, place=place).dropna(subset=["place"])


def _beyond_a_line(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a value is beyond the line through its neighbours, and its place among their own."""
    n_sides = max(_LEAST_NEIGHBOURS, len(y) // _SHARE_OF_NEIGHBOURS)
    width = min(2 * n_sides + 1, len(y))
    starts = np.clip(np.arange(len(y)) - n_sides, 0, len(y) - width)
    own_x, own_y = (
        np.lib.stride_tricks.sliding_window_view(each, width)[starts] for each in (x, y)
    )
    is_other = (np.arange(width) + starts[:, None]) != np.arange(len(y))[:, None]
    n_others = width - 1
    mean_x, mean_y = ((each * is_other).sum(axis=1) / n_others for each in (own_x, own_y))
    apart = (own_x - mean_x[:, None]) * is_other
    spread = (apart**2).sum(axis=1)
    slope = (apart * own_y).sum(axis=1) / np.where(spread > 0, spread, 1)
    residual = y - mean_y - slope * (x - mean_x)
    others = own_y - mean_y[:, None] - slope[:, None] * (own_x - mean_x[:, None])
    below = ((others < residual[:, None]) & is_other).sum(axis=1)
    equal = ((others == residual[:, None]) & is_other).sum(axis=1)
    return residual, (below + equal / 2 + 0.5) / width


def _prepare(table: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    missing = [name for name in _NEEDED if name not in table]
    if missing:
        raise TableError(
            f"The table has no column {' or '.join(missing)}.",
            "A table that `rankformer perturb` wrote.",
            "Name such a table.",
        )
    if comparison.replicate is not None and comparison.replicate not in table:
        raise SettingsError(
            f"The table has no column {comparison.replicate!r}.",
            f"One of {', '.join(map(str, table.columns))}.",
            "Carry it along: rankformer perturb … --attribute NAME.",
        )
    cell = table["cell"].astype(str)
    if "source" in table:
        cell = table["source"].astype(str) + "\t" + cell
    value, scale = _values(table, comparison.goal)
    columns = {
        "cell": cell.astype("category"), "ensembl_id": table["ensembl_id"].astype("category"),
        "symbol": table["symbol"].astype(str), "value": value, "scale": scale,
        "rank": table["rank"].astype("Float64").to_numpy(float, na_value=np.nan),
    }  # fmt: skip
    if comparison.replicate is None:
        logger.warning(
            "Cells are taken as the replicates. Cells of one donor are not independent, so that p "
            "values are too small: name the column of donors (replicate, --replicate) where there "
            "are several."
        )
    else:
        columns["replicate"] = table[comparison.replicate].astype(str)
    rows = pd.DataFrame(columns)
    if "method" in table:
        is_exact = (table["method"] == "exact").to_numpy()
        rows = rows.iloc[np.argsort(~is_exact, kind="stable")]
        rows = rows.drop_duplicates(["cell", "ensembl_id"])
    return rows.dropna(subset=["value"]).reset_index(drop=True)


def _values(
    table: pd.DataFrame, goal: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is tested, and on the scale on which neighbours are compared."""
    shifts = [str(name) for name in table.columns if str(name).startswith(SHIFT)]
    if goal is not None and f"{SHIFT}{goal}" not in shifts:
        raise SettingsError(
            f"The table has no shift towards {goal!r}.",
            f"One of {', '.join(name.removeprefix(SHIFT) for name in shifts) or '(none)'}.",
            "Correct goal (--goal).",
        )
    if shifts:
        value = table[f"{SHIFT}{goal}" if goal else shifts[0]].to_numpy(float)
        return value, value
    cosines = [name for name in ("cosine", "gene_cosine") if name in table]
    if not cosines:
        raise TableError(
            "The table has no column cosine, gene_cosine or shift_to_STATE.",
            "A table that `rankformer perturb` wrote.",
            "Name such a table.",
        )
    value = 1 - table[cosines[0]].to_numpy(float)
    # A movement of exactly 0 is one too small to be seen, not infinitely far from the others.
    least = value[value > 0].min(initial=1.0)
    return value, np.log(np.maximum(value, least))


def _summarise(rows: pd.DataFrame, comparison: Comparison) -> pd.DataFrame:
    by_gene = rows.groupby("ensembl_id", observed=True)
    summary = pd.DataFrame({
        "symbol": by_gene["symbol"].first(), "n_cells": by_gene.size(),
        "mean_rank": by_gene["rank"].mean(), "effect": by_gene["value"].mean(),
    })  # fmt: skip
    tested = "excess" if "excess" in rows else "value"
    if "excess" in rows:
        summary["excess"], summary["place"] = by_gene["excess"].mean(), by_gene["place"].mean()
    units = rows
    if "replicate" in rows:
        means = rows.groupby(["ensembl_id", "replicate"], observed=True)[tested].mean()
        units = means.reset_index()
        summary["n_replicates"] = units.groupby("ensembl_id", observed=True).size()
    else:
        summary["sd"] = by_gene["value"].std()
    rng = np.random.default_rng(comparison.seed)
    groups = units.groupby("ensembl_id", observed=True)[tested]
    bounds = {gene: _interval(each.to_numpy(), rng) for gene, each in groups}
    summary[["low", "high"]] = pd.DataFrame.from_dict(bounds, orient="index")
    return summary


def _interval(values: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """The 95 % interval of a mean: by bootstrap, of few values by Student's t."""
    from scipy.stats import t

    if len(values) < 2:
        return np.nan, np.nan
    if len(values) < _LEAST_TO_DRAW_FROM:
        half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        return float(values.mean()) - half, float(values.mean()) + half
    means = values[rng.integers(0, len(values), (_N_BOOTSTRAPS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _p_of_places(rows: pd.DataFrame, comparison: Comparison) -> "pd.Series[float]":
    """Mean places against 1/2: of cells by their known variance 1/12, of replicates by a t test."""
    from scipy.stats import norm, t

    by_gene = rows.groupby("ensembl_id", observed=True)["place"]
    if comparison.replicate is None:
        z = (by_gene.mean() - 0.5).abs() * np.sqrt(12 * by_gene.size())
        return pd.Series(2 * norm.sf(z), z.index)
    means = rows.groupby(["ensembl_id", "replicate"], observed=True)["place"].agg(["mean", "size"])
    by_gene_again = means.groupby("ensembl_id", observed=True)
    n = by_gene_again.size()
    # Replicates that agree by chance are not surer than their cells are.
    least = (1 / (12 * means["size"])).groupby("ensembl_id", observed=True).mean()
    variance = np.maximum(by_gene_again["mean"].var(), least)
    statistic = (by_gene_again["mean"].mean() - 0.5).abs() / np.sqrt(variance / n)
    return pd.Series(2 * t.sf(statistic, n - 1), n.index).where(n > 1)


def _units(rows: pd.DataFrame) -> pd.DataFrame:
    """Values of replicates where there are any, else of cells."""
    if "replicate" not in rows:
        return rows
    by_replicate = rows.groupby(["ensembl_id", "replicate"], observed=True)["value"]
    return by_replicate.mean().reset_index()


def _p_of_random(rows: pd.DataFrame, comparison: Comparison) -> "pd.Series[float]":
    from scipy.stats import ranksums

    units, rng = _units(rows), np.random.default_rng(comparison.seed)
    values, genes = units["value"].to_numpy(), units["ensembl_id"].cat.codes.to_numpy()
    drawn = rng.permutation(len(values))[:_N_RANDOM]
    return pd.Series(
        {
            gene: ranksums(each, values[drawn[genes[drawn] != genes[each.index[0]]]]).pvalue
            for gene, each in units.groupby("ensembl_id", observed=True)["value"]
        }
    )


def _p_of_null(
    rows: pd.DataFrame, null: pd.DataFrame | None, comparison: Comparison
) -> "pd.Series[float]":
    from scipy.stats import ranksums

    if null is None:
        raise SettingsError(
            "A comparison with a null set of cells was asked for, without its table.",
            "The table of `rankformer perturb` on cells in which nothing is expected.",
            "Name it (null, --null), or compare otherwise (--against).",
        )
    expected = _units(_prepare(null, comparison)).groupby("ensembl_id", observed=True)["value"]
    values = {gene: each.to_numpy() for gene, each in expected}
    return pd.Series(
        {
            gene: ranksums(each, values[gene]).pvalue if gene in values else np.nan
            for gene, each in _units(rows).groupby("ensembl_id", observed=True)["value"]
        }
    )


def _impact(effects: "pd.Series[float]") -> NDArray[np.float64]:
    """The probability of the component that lies farther from most, of two normal distributions."""
    from sklearn.mixture import GaussianMixture

    if len(effects) < _LEAST_NEIGHBOURS:
        raise TableError(
            f"The table has {len(effects)} perturbations.",
            f"At least {_LEAST_NEIGHBOURS} for a mixture of two distributions.",
            "Perturb more genes, or compare otherwise (--against).",
        )
    values = effects.to_numpy()[:, None]
    # The fit depends on the unit otherwise.
    scaled = (values - values.mean()) / (values.std() or 1)
    mixture = GaussianMixture(2, random_state=0, n_init=5).fit(scaled)
    size = mixture.means_[:, 0] ** 2 + mixture.covariances_[:, 0, 0]
    of_impact = int(np.argmax(size))
    return np.asarray(mixture.predict_proba(scaled)[:, of_impact])


def _adjust(p_values: "pd.Series[float]") -> NDArray[np.float64]:
    """Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289, 1995; NaN stays NaN."""
    from scipy.stats import false_discovery_control

    adjusted = np.full(len(p_values), np.nan)
    known = p_values.notna().to_numpy()
    if known.any():
        adjusted[known] = false_discovery_control(np.clip(p_values.to_numpy()[known], 0, 1))
    return adjusted


def _p_of_mixed_models(rows: pd.DataFrame, genes: "pd.Series[str]") -> "pd.Series[float]":
    """P values of ``excess ~ 1 + (1 | replicate)``, by Student's t with the replicates' degrees.

    NaN where it does not converge, or finds no variance between replicates: it would then take
    cells for replicates.
    """
    import statsmodels.formula.api as models
    from scipy.stats import t

    found = {}
    for place, gene in genes.items():
        own = rows[rows["ensembl_id"] == gene]
        own = own.assign(tested=own["excess"] / (own["excess"].std() or 1))
        n_replicates = own["replicate"].nunique()
        found[place] = np.nan
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit = models.mixedlm("tested ~ 1", own, groups=own["replicate"]).fit()
            if fit.converged and float(fit.cov_re.iloc[0, 0]) > _NO_VARIANCE and n_replicates > 1:
                z = abs(float(fit.tvalues["Intercept"]))
                found[place] = float(2 * t.sf(z, n_replicates - 1))
        # What cannot be fitted shows as any error of linear algebra.
        except Exception:
            logger.debug("No mixed model of %s.", gene, exc_info=True)
    return pd.Series(found)
