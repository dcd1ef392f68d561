"""Plots in scanpy's manner: what is drawn of what was given, what is refused, where it goes."""

import inspect
import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from scipy.sparse import csr_matrix

import rankformer
from rankformer import pl
from rankformer.errors import MissingFileError, OutputError, SettingsError, TableError
from rankformer.show.palette import CATEGORIES, DOWN, MISSING, UP
from tests.show.pictures import PICTURES, cells, effects, log, pairs, report


def dots(axes):
    """Place → colour, of all dots."""
    found = {}
    for each in axes.collections:
        places = np.asarray(each.get_offsets())
        colours = np.broadcast_to(each.to_rgba(each.get_array()) if each.get_array() is not None
                                  else each.get_facecolor(), (len(places), 4))  # fmt: skip
        found |= {tuple(place): to_hex(colour) for place, colour in
                  zip(places.round(6), colours, strict=True)}  # fmt: skip
    return found


def of_cells(adata, axes):
    drawn = dots(axes)
    return np.array([drawn[tuple(place)] for place in adata.obsm["X_umap"].round(6)])


def texts(axes):
    return [each.get_text() for each in axes.get_legend().get_texts()]


# --- the manner -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", pl.__all__)
def test_axes_in_and_out_and_options_by_keyword(name):
    parameters = inspect.signature(getattr(pl, name)).parameters
    first, *others = parameters.values()
    assert first.kind is first.POSITIONAL_OR_KEYWORD
    assert {each.kind for each in others} == {inspect.Parameter.KEYWORD_ONLY}
    assert {"ax", "show", "save"} <= set(parameters)
    assert set(pl.__all__) == {each.replace("-", "_") for each in {
        "attention", "confusion", "embedding", "gene-mapping", "gene-network", "marker-genes",
        "ranked-effects", "training-curves", "volcano"}}  # fmt: skip


CALLS = {
    "embedding": lambda **how: pl.embedding(cells(), color="cell_type", **how),
    "confusion": lambda **how: pl.confusion(
        cells(), true="cell_type", predicted="predicted", **how
    ),
    "gene_mapping": lambda **how: pl.gene_mapping(report(), **how),
    "marker_genes": lambda **how: pl.marker_genes(cells(), n_neighbourhoods=4, **how),
    "volcano": lambda **how: pl.volcano(effects(), **how),
    "ranked_effects": lambda **how: pl.ranked_effects(effects(), **how),
    "attention": lambda **how: pl.attention(pairs(), **how),
    "gene_network": lambda **how: pl.gene_network(pairs(), **how),
    "training_curves": lambda **how: pl.training_curves({"log": log()}, **how),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_it_draws_into_axes_that_are_given(call, tmp_path):
    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    before = dict(mpl.rcParams)
    assert call(ax=left, save=tmp_path / "both.png") is left
    assert left.has_data() or left.patches or left.collections
    assert not right.has_data()
    assert tuple(figure.get_size_inches()) == (8, 3)
    assert dict(mpl.rcParams) == before
    assert [each.name for each in tmp_path.iterdir()] == ["both.png"]


def test_every_kind_of_plot_is_tried_here():
    assert set(CALLS) == set(pl.__all__)


def test_pyplot_is_loaded_only_where_something_is_shown(tmp_path):
    code = (
        "import sys, rankformer; rankformer.pl.embedding\n"
        "assert not {'torch', 'matplotlib', 'networkx'} & set(sys.modules)\n"
        "from tests.show.pictures import cells\n"
        "ax = rankformer.pl.embedding(cells(), show=False)\n"
        f"rankformer.pl.embedding(cells(), save={str(tmp_path / 'a.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "ax.set_title('mine'); ax.figure.savefig(sys.argv[1])\n"
        "from matplotlib import pyplot\n"
        "shown = rankformer.pl.embedding(cells(), show=False)\n"
        "assert pyplot.gcf() is shown.figure\n"
        "rankformer.pl.embedding(cells(), save=sys.argv[1])\n"
        "assert len(pyplot.get_fignums()) == 1\n"
    )
    environment = {**os.environ, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "b.png"], check=True, env=environment)
    assert (tmp_path / "b.png").stat().st_size > 5_000


def test_show(monkeypatch):
    from matplotlib import pyplot

    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(1))
    axes = pl.volcano(effects())
    pl.volcano(effects(), show=True)
    assert len(shown) == 2
    pl.volcano(effects(), show=False)
    pl.volcano(effects(), ax=axes)
    assert len(shown) == 2
    pyplot.close("all")


def test_where_a_picture_cannot_be_written(tmp_path):
    for name in ("volcano.jpg", ".pdf", "no/volcano.png"):
        with pytest.raises(OutputError):
            pl.volcano(effects(), save=tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingsError, match="ax is given as list"):
        pl.volcano(effects(), ax=[])


def test_what_is_there_is_replaced(tmp_path):
    file = tmp_path / "a.svg"
    file.write_text("old")
    pl.volcano(effects(), save=str(file))
    assert "<svg" in file.read_text()


def test_without_matplotlib_its_extra_is_named(monkeypatch):
    from rankformer import requirements

    monkeypatch.setattr(requirements, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r'pip install "matplotlib>='):
        pl.volcano(effects())


# --- embedding --------------------------------------------------------------------------------


def test_each_category_keeps_its_colour_whatever_the_order_of_cells():
    adata = cells()
    first = of_cells(adata, pl.embedding(adata, color="cell_type", show=False))
    types = adata.obs["cell_type"]
    for i, name in enumerate(types.cat.categories):
        assert set(first[types == name]) == {CATEGORIES[i].lower()}
    assert set(first[types.isna()]) == {MISSING.lower()}
    turned = adata[::-1].copy()
    again = of_cells(turned, pl.embedding(turned, color="cell_type", show=False))
    np.testing.assert_array_equal(again[::-1], first)
    few = adata[types.isna() | (types != "B cells")].copy()
    few.obs["cell_type"] = few.obs["cell_type"].astype(str).replace("nan", np.nan)
    axes = pl.embedding(few, color="cell_type", palette={"CD4 T cells": "red", "Monocytes": "k",
                        "NK cells": "b"}, show=False)  # fmt: skip
    assert set(of_cells(few, axes)[few.obs["cell_type"] == "CD4 T cells"]) == {"#ff0000"}


def test_names_stand_with_their_numbers_of_cells():
    adata = cells()
    adata.obs["odd"] = np.where(np.arange(adata.n_obs) < 9, "_$a$ b_", "cluster 10")
    adata.obs.loc[adata.obs_names[20:40], "odd"] = "cluster 9"
    axes = pl.embedding(adata, color="odd", show=False)
    # No formula, none left out for its underscore, numbers in their order.
    assert texts(axes) == [r"_\$a\$ b_ (9)", "cluster 9 (20)", "cluster 10 (211)"]
    told = texts(pl.embedding(adata, color="cell_type", show=False))
    assert told[-1] == "missing (6)"
    assert pl.embedding(adata, color="odd", legend_loc="none", show=False).get_legend() is None


def test_names_on_the_data_stand_at_the_medians():
    adata = cells()
    axes = pl.embedding(adata, color="cell_type", legend_loc="on data", show=False)
    found = {each.get_text(): each.xy for each in axes.texts}
    for name, own in adata.obs.groupby("cell_type", observed=True):
        rows = adata.obs_names.get_indexer(own.index)
        np.testing.assert_allclose(found[name], np.median(adata.obsm["X_umap"][rows], axis=0))


@pytest.mark.parametrize("name", ["GENE4", "ENSG00000000004"])
def test_a_gene_is_log_normalised_where_the_matrix_holds_counts(name):
    import scanpy as sc

    adata = cells()
    axes = pl.embedding(adata, color=name, show=False)
    scaled = sc.pp.log1p(sc.pp.normalize_total(adata, target_sum=1e4, copy=True), copy=True)
    expected = scaled.X.toarray()[:, 4]
    (drawn,) = axes.collections
    np.testing.assert_allclose(drawn.get_array(), np.sort(expected), rtol=1e-5)
    # The greatest are drawn last, on top.
    order = np.argsort(expected, kind="stable")
    np.testing.assert_allclose(drawn.get_offsets(), adata.obsm["X_umap"][order])
    (bar,) = axes.child_axes
    assert bar.get_ylabel() == f"{name}, log1p of counts per 10,000"
    adata.layers["scaled"] = adata.X * 0.5
    taken = pl.embedding(adata, color=name, layer="scaled", show=False).collections[0]
    np.testing.assert_allclose(taken.get_array(), np.sort(adata.X.toarray()[:, 4] / 2))


def test_raw_is_taken_as_in_scanpy():
    adata = cells()
    adata.raw = ad.AnnData(adata.X * 0.25, var=adata.var)
    values = [pl.embedding(adata, color="GENE4", use_raw=use, show=False).collections[0].get_array()
              for use in (None, True, False)]  # fmt: skip
    np.testing.assert_allclose(values[0], np.sort(adata.raw.X.toarray()[:, 4]))
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.allclose(values[0], values[2])


def test_numbers_that_are_missing_are_grey_and_cells_without_a_place_are_told(caplog):
    adata = cells()
    adata.obs.loc[adata.obs_names[:7], "n_counts"] = np.nan
    adata.obsm["X_umap"][-3:] = np.nan
    axes = pl.embedding(adata, color="n_counts", vmin=0, vmax=50, show=False)
    drawn = dots(axes)
    assert len(drawn) == adata.n_obs - 3
    assert {drawn[tuple(p)] for p in adata.obsm["X_umap"][:7].round(6)} == {MISSING.lower()}
    assert axes.collections[1].get_clim() == (0, 50)
    assert "grey: no value (7)" in {each.get_text() for each in axes.texts}
    assert "3 of 240 cells have no place and are not drawn." in caplog.text


def test_many_cells_are_pixels_and_few_are_vectors(tmp_path):
    many = ad.concat([cells()] * 9)
    sizes = {}
    for name, adata in (("few", cells()), ("many", many)):
        pl.embedding(adata, color="predicted", save=tmp_path / f"{name}.svg")
        sizes[name] = (tmp_path / f"{name}.svg").read_text()
    assert "<image" in sizes["many"]
    assert "<image" not in sizes["few"]
    # Names stay text.
    assert ">UMAP 1</text>" in sizes["many"]


REFUSED = {
    "a column that is misspelt": ({"color": "cell_typ"}, r"Did you mean 'cell_type'\?"),
    "a gene that is misspelt": ({"color": "gene4"}, r"Did you mean 'GENE4'\?"),
    "several at once": ({"color": ["cell_type", "GENE4"]}, "color is given as list"),
    "an embedding that is misspelt": ({"basis": "X_gneformer"}, r"Did you mean 'X_geneformer'\?"),
    "an embedding as it is": ({"basis": "X_geneformer"}, r'neighbors\(adata, use_rep="X_geneform'),
    "a dimension too many": ({"basis": "X_geneformer", "components": (1, 7)}, "6 dimensions"),
    "a layer that is not there": ({"color": "GENE4", "layer": "countz"}, "no layer 'countz'"),
    "raw that is not there": ({"color": "GENE4", "use_raw": True}, "raw is empty"),
    "a legend elsewhere": ({"color": "cell_type", "legend_loc": "left"}, "'on data'"),
    "colours of categories for numbers": ({"color": "GENE4", "palette": ["red"]}, "colour map"),
}


@pytest.mark.parametrize(("how", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drawn_is_told(how, told):
    with pytest.raises(SettingsError, match=told):
        pl.embedding(cells(), show=False, **how)


def test_where_there_is_no_umap_it_is_said_how_to_make_one():
    adata = cells()
    del adata.obsm["X_umap"]
    with pytest.raises(SettingsError, match=r"scanpy.tl.umap\(adata\)"):
        pl.embedding(adata, show=False)
    with pytest.raises(SettingsError, match="AnnData"):
        pl.embedding(adata.obs, show=False)


def test_the_basis_may_be_named_without_its_x():
    adata = cells()
    adata.obsm["X_pca"] = adata.obsm["X_geneformer"]
    assert pl.embedding(adata, basis="umap", show=False).get_xlabel() == "UMAP 1"
    axes = pl.embedding(adata, basis="pca", show=False)
    np.testing.assert_allclose(axes.collections[0].get_offsets(), adata.obsm["X_pca"][:, :2])
    axes = pl.embedding(adata, basis="geneformer", components=(3, 1), show=False)
    np.testing.assert_allclose(axes.collections[0].get_offsets(),
                               adata.obsm["X_geneformer"][:, [2, 0]])  # fmt: skip


# --- confusion --------------------------------------------------------------------------------


def test_confusion_counts_cells():
    adata = cells()
    adata.obs.loc[adata.obs_names[1:13], "predicted"] = None
    axes = pl.confusion(adata, true="cell_type", predicted="predicted", show=False)
    obs = adata.obs.dropna(subset=["cell_type"])
    expected = pd.crosstab(obs["cell_type"], obs["predicted"].fillna("no label"), normalize="index")
    shown = np.asarray(axes.images[0].get_array())
    columns = [each.get_text() for each in axes.get_xticklabels()]
    assert columns[-1] == "no label"
    np.testing.assert_allclose(shown, expected[columns].to_numpy())
    rows = [each.get_text() for each in axes.get_yticklabels()]
    assert rows[0] == f"B cells ({(obs['cell_type'] == 'B cells').sum()})"
    counted = pd.crosstab(obs["cell_type"], obs["predicted"].fillna("no label"))[columns]
    again = pl.confusion(counted, show=False)
    np.testing.assert_allclose(np.asarray(again.images[0].get_array()), shown)
    of_table = pl.confusion(adata.obs, true="cell_type", predicted="predicted", show=False)
    np.testing.assert_array_equal(np.asarray(of_table.images[0].get_array()), shown)


def test_confusion_says_what_it_lacks():
    adata = cells()
    with pytest.raises(SettingsError, match=r"Did you mean 'predicted'\?"):
        pl.confusion(adata, true="cell_type", predicted="predicte", show=False)
    with pytest.raises(SettingsError, match="without the names"):
        pl.confusion(adata, show=False)
    with pytest.raises(SettingsError, match="Only one of"):
        pl.confusion(adata, true="cell_type", show=False)
    with pytest.raises(TableError, match="numbers"):
        pl.confusion(adata.obs, show=False)


# --- genes ------------------------------------------------------------------------------------


def bars(axes):
    names = [each.get_text() for each in axes.get_yticklabels()]
    return [dict(zip(names, (bar.get_width() for bar in each), strict=True))
            for each in axes.containers]  # fmt: skip


def test_bars_are_the_shares_of_variables_and_of_counts():
    table = report()
    variables, counts = bars(pl.gene_mapping(table, counts=table["counts"], show=False))
    why = table["rule"].where(table["rule"] != "", table["fate"])
    assert variables == pytest.approx(why.value_counts(normalize=True).to_dict())
    assert counts == pytest.approx((table["counts"].groupby(why).sum() / 5050).to_dict())


@pytest.mark.parametrize("vocabulary", [True], indirect=True)
def test_a_mapping_its_report_its_file_and_uns_are_drawn_alike(
    small_adata, checkpoint_folder, tmp_path
):
    mapping = rankformer.map_genes(small_adata, checkpoint_folder)
    expected = bars(pl.gene_mapping(mapping, show=False))
    assert expected == [{"symbol": 150 / 170, "unknown": 20 / 170}]
    mapping.report().to_csv(tmp_path / "genes.csv", index=False)
    rankformer.tl.embed(small_adata, model=checkpoint_folder)
    small_adata.write_h5ad(tmp_path / "cells.h5ad")
    for source in (
        mapping.report(),
        tmp_path / "genes.csv",
        mapping.summary(),
        small_adata,
        ad.read_h5ad(tmp_path / "cells.h5ad"),
        small_adata.uns["rankformer"],
    ):
        assert bars(pl.gene_mapping(source, show=False)) == expected
    with pytest.raises(SettingsError, match=r"Did you mean 'X_geneformer'\?"):
        pl.gene_mapping(small_adata, key="X_genefomer", show=False)
    with pytest.raises(SettingsError, match="does not tell variables apart"):
        pl.gene_mapping(small_adata, counts=np.ones(170), show=False)


def test_genes_without_a_mapping_are_told(tmp_path):
    with pytest.raises(SettingsError, match="says nothing of genes"):
        pl.gene_mapping(cells(), show=False)
    with pytest.raises(MissingFileError):
        pl.gene_mapping(tmp_path / "no.csv", show=False)
    with pytest.raises(TableError, match="no column fate"):
        pl.gene_mapping(pd.DataFrame({"rule": ["symbol"]}), show=False)
    with pytest.raises(SettingsError, match="99 values"):
        pl.gene_mapping(report(), counts=np.ones(99), show=False)


def test_markers_are_the_genes_that_groups_have(monkeypatch):
    axes = pl.marker_genes(cells(), groupby="cell_type", show=False)
    names = [each.get_text() for each in axes.get_xticklabels()]
    own = [sorted(names[i : i + 3]) for i in range(0, 12, 3)]
    assert own == [sorted(f"GENE{3 * code + i}" for i in range(3)) for code in range(4)]


def test_neighbourhoods_of_an_embedding_are_its_groups():
    adata = cells()
    adata.obsm["X_geneformer"][0] = np.nan
    axes = pl.marker_genes(adata, n_neighbourhoods=4, show=False)
    rows = [each.get_text() for each in axes.get_yticklabels()]
    assert rows == [f"neighbourhood {i} ({n})" for i, n in ((1, 60), (2, 60), (3, 60), (4, 59))]
    # Types have vectors of their own, and so are the neighbourhoods.
    names = [each.get_text() for each in axes.get_xticklabels()]
    groups = {frozenset(names[i : i + 3]) for i in range(0, 12, 3)}
    assert groups == {frozenset(f"GENE{3 * code + i}" for i in range(3)) for code in range(4)}


def test_dots_are_shares_of_cells_and_means():
    adata = cells()
    axes = pl.marker_genes(adata, groupby="predicted", n_genes=1, show=False)
    gene = axes.get_xticklabels()[0].get_text()
    expressed = adata.X.toarray()[:, adata.var["gene_symbol"].tolist().index(gene)] > 0
    shares = pd.Series(expressed).groupby(adata.obs["predicted"].to_numpy()).mean()
    (drawn,) = (each for each in axes.collections if len(each.get_offsets()) > 1)
    first = np.asarray(drawn.get_offsets())[:, 0] == 0
    sizes = drawn.get_sizes()[first]
    np.testing.assert_allclose(sizes / sizes.max(), shares / shares.max())


def test_scores_are_those_of_scanpys_t_test():
    import scanpy as sc

    from rankformer.cells.marker_genes import find_markers

    adata = cells()
    adata.obs["group"] = adata.obs["predicted"].astype("category")
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.tl.rank_genes_groups(adata, "group", method="t-test", use_raw=False)
    codes = adata.obs["group"].cat.codes.to_numpy(np.int64)
    found = find_markers(csr_matrix(adata.X), codes, 3)
    assert len(found.genes) == 12
    for gene, group, score in zip(found.genes, found.groups, found.scores, strict=True):
        table = sc.get.rank_genes_groups_df(adata, adata.obs["group"].cat.categories[group])
        expected = table.set_index("names")["scores"][adata.var_names[gene]]
        assert score == pytest.approx(expected, rel=1e-4)


def test_markers_need_groups():
    adata = cells()
    adata.obs["one"] = "a"
    for how, told in (
        ({"groupby": "one"}, "one group"),
        ({"groupby": "cell_typ"}, r"Did you mean 'cell_type'\?"),
        ({"basis": "X_geneforme"}, r"Did you mean 'X_geneformer'\?"),
        ({"n_neighbourhoods": 1}, "At least 2"),
    ):
        with pytest.raises(SettingsError, match=told):
            pl.marker_genes(adata, show=False, **how)


# --- perturbations ----------------------------------------------------------------------------


def annotated(axes):
    """Names with their dots and the ends of their lines, in shares of the axes."""
    axes.figure.draw_without_rendering()
    to_share = axes.transData + axes.transAxes.inverted()
    return [(each.get_text(), to_share.transform(each.xy), np.array(each.xyann))
            for each in axes.texts if each.get_text().startswith("GENE")]  # fmt: skip


def turn(a, b, c):
    return np.sign(round(float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])), 9))


def crowded():
    """Genes that are all about as certain, so that their names stand far below their dots."""
    table, rng = effects(), np.random.default_rng(0)
    table.loc[:29, "excess"] = np.where(np.arange(30) % 2, -1, 1) * rng.uniform(1, 3, 30)
    table.loc[:29, "q_value"] = 10 ** -rng.uniform(19, 20, 30)
    return table


@pytest.mark.parametrize("table", [effects(), crowded()], ids=["effects", "crowded"])
def test_lines_of_a_volcano_lead_to_their_dots_and_do_not_cross(table):
    axes = pl.volcano(table, n_labels=14, show=False)
    found = annotated(axes)
    assert len(found) > 20
    for (_, a, b), (_, c, d) in combinations(found, 2):
        crosses = turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
        assert not crosses
    by_name = table.set_index("symbol")
    for each in axes.texts:
        row = by_name.loc[each.get_text()]
        assert each.xy[0] == pytest.approx(row["excess"])
        assert each.xy[1] == pytest.approx(-np.log10(row["q_value"]))


def test_names_of_a_volcano_hide_nothing():
    axes = pl.volcano(effects(), n_labels=30, show=False)
    axes.figure.draw_without_rendering()
    boxes = [each.get_window_extent() for each in axes.texts if each.get_text()]
    # The box of an annotation holds its line; that of its text alone does not.
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(each) for each in axes.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    places = np.concatenate([axes.transData.transform(each.get_offsets())
                             for each in axes.collections])  # fmt: skip
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_a_volcano_of_adata_and_of_a_table_are_one():
    adata = cells()
    adata.uns["perturbation_test"] = effects()
    one, other = pl.volcano(adata, show=False), pl.volcano(effects(), show=False)
    assert dots(one) == dots(other)
    with pytest.raises(SettingsError, match=r"Did you mean 'perturbation_test'\?"):
        pl.volcano(adata, key="perturbation_tst", show=False)
    with pytest.raises(TableError, match="no column q_value"):
        pl.volcano(effects().drop(columns="q_value"), show=False)
    with pytest.raises(TableError, match="no column symbol"):
        pl.ranked_effects(report(), show=False)
    with pytest.raises(SettingsError, match="given as str"):
        pl.volcano("tested.csv", show=False)


def test_effects_are_ranked_and_open_where_they_are_not_certain():
    table = effects()
    table.loc[3, "symbol"] = table.loc[5, "symbol"] = "TWICE"
    axes = pl.ranked_effects(table, n_genes=60, show=False)
    (drawn,) = (each for each in axes.collections if len(each.get_offsets()) == 60)
    x = np.asarray(drawn.get_offsets())[:, 0]
    assert sorted(x) == sorted(table["excess"].head(60))
    assert list(x) == sorted(x, reverse=True)
    by_x = table.set_index(table["excess"].round(9))
    for value, face, edge in zip(x, drawn.get_facecolor(), drawn.get_edgecolor(), strict=True):
        certain = by_x.loc[round(value, 9), "q_value"] <= 0.05
        assert (tuple(face) == to_rgba("white")) != certain
        if certain:
            assert to_hex(edge) == (UP if value > 0 else DOWN).lower()
    names = [each.get_text() for each in axes.get_yticklabels()]
    assert len(set(names)) == 60
    assert sum(each.startswith("TWICE ENSG") for each in names) == 2


def test_effects_of_chosen_genes_and_without_q_values():
    axes = pl.ranked_effects(effects(), genes=["GENE7", "ENSG00000000009"], show=False)
    names = {each.get_text().split()[0] for each in axes.get_yticklabels()}
    assert names == {"GENE7", "GENE9"}
    plain = effects().drop(columns=["q_value", "excess"]).sample(frac=1, random_state=1)
    axes = pl.ranked_effects(plain, n_genes=5, show=False)
    found = {round(float(each), 9) for each in axes.collections[-1].get_offsets()[:, 0]}
    largest = plain["effect"].abs().nlargest(5).index
    assert found == {round(each, 9) for each in plain.loc[largest, "effect"]}
    with pytest.raises(SettingsError, match=r"Did you mean 'GENE7'\?"):
        pl.ranked_effects(effects(), genes="gene7", show=False)


# --- networks ---------------------------------------------------------------------------------


def heat(axes):
    rows = [each.get_text() for each in axes.get_yticklabels()]
    columns = [each.get_text() for each in axes.get_xticklabels()]
    return pd.DataFrame(np.ma.filled(axes.images[0].get_array(), np.nan), rows, columns)


def test_the_heat_map_holds_each_pair_at_its_genes():
    table = pairs()
    found = heat(pl.attention(table, value="excess", n_genes=11, show=False))
    assert list(found.index) == list(found.columns)
    for row in table.itertuples():
        assert found.loc[row.target, row.source] == pytest.approx(row.excess)
    assert np.isfinite(found.to_numpy()).sum() == len(table)
    # Genes that have pairs with each other stand together.
    groups = [int(each.removeprefix("GENE")) < 6 for each in found.index]
    assert np.count_nonzero(np.diff(groups)) == 1


def test_the_heat_map_of_chosen_genes_and_of_a_square_table():
    axes = pl.attention(pairs(), genes=["GENE1", "GENE3", "GENE0"], show=False)
    assert set(heat(axes).index) == {"GENE0", "GENE1", "GENE3"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("acts", "acted upon")
    square = pd.DataFrame(np.arange(9.0).reshape(3, 3), list("abc"), list("abc"))
    found = heat(pl.attention(square, show=False))
    pd.testing.assert_frame_equal(found.loc[list("abc"), list("abc")], square)
    both = pl.attention(square + square.T, show=False)
    assert both.get_xlabel() == ""
    with pytest.raises(SettingsError, match="Did you mean 'excess'"):
        pl.attention(pairs(), value="exces", show=False)
    with pytest.raises(SettingsError, match="Did you mean 'GENE1'"):
        pl.attention(pairs(), genes=["gene1", "GENE2"], show=False)
    with pytest.raises(TableError, match="no column source"):
        pl.attention(report(), show=False)


@pytest.mark.parametrize("vocabulary", [True], indirect=True)
def test_attention_of_adata_is_called_so(small_adata, checkpoint_folder):
    rankformer.tl.gene_network(small_adata, model=checkpoint_folder, by="attention", top=None,
                               min_cells=5)  # fmt: skip
    axes = pl.attention(small_adata, n_genes=6, show=False)
    assert axes.get_xlabel() == "attended to"
    assert axes.child_axes[0].get_ylabel() == "attention"
    rankformer.tl.gene_network(small_adata, model=checkpoint_folder, by="similarity", min_cells=5)
    found = heat(pl.attention(small_adata, n_genes=6, show=False))
    np.testing.assert_array_equal(found, found.T)
    axes = pl.gene_network(small_adata, n_edges=9, show=False)
    assert {each.get_arrowstyle().__class__.__name__ for each in axes.patches} == {"Curve"}


def test_a_network_has_its_pairs_with_signs_and_names():
    table = pairs()
    axes = pl.gene_network(table, n_edges=20, show=False)
    lines = [each for each in axes.patches if isinstance(each, FancyArrowPatch)]
    shown = table.head(20)
    assert len(lines) == 20
    ups = sum(to_hex(each.get_edgecolor()) == UP.lower() for each in lines)
    assert ups == (shown["excess"] > 0).sum()
    widths = np.array([each.get_linewidth() for each in lines])
    order = np.argsort(shown["excess"].abs().to_numpy())
    assert (np.diff(widths[order]) >= 0).all()
    genes = sorted({*shown["source"], *shown["target"]})
    assert sorted(each.get_text() for each in axes.texts) == genes
    few = pl.gene_network(table, genes="GENE7", show=False)
    assert len(few.patches) == ((table["source"] == "GENE7") | (table["target"] == "GENE7")).sum()


def test_names_in_a_network_do_not_overlap():
    rng = np.random.default_rng(5)
    # A hub, a dense part, and single pairs, as networks of attention have them.
    ends = [("HUB", f"GENE{i}") for i in range(15)]
    ends += [(f"LONGNAME{a}", f"LONGNAME{b}") for a, b in combinations(range(7), 2)]
    ends += [(f"A{i}", f"B{i}") for i in range(3)]
    table = pd.DataFrame(ends, columns=["source", "target"]).assign(excess=rng.normal(size=39))
    axes = pl.gene_network(table, n_edges=60, show=False)
    axes.figure.draw_without_rendering()
    boxes = [each.get_window_extent() for each in axes.texts]
    assert len(boxes) == 16 + 7 + 6
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_a_network_without_pairs_is_told():
    adata = cells()
    with pytest.raises(SettingsError, match="uns has no network 'gene_network'"):
        pl.gene_network(adata, show=False)
    with pytest.raises(TableError, match="no pair"):
        pl.gene_network(pairs().head(0), show=False)
    with pytest.raises(SettingsError, match="Did you mean 'excess'"):
        pl.gene_network(pairs(), weight="excss", show=False)
    with pytest.raises(SettingsError, match="n_edges is 0"):
        pl.gene_network(pairs(), n_edges=0, show=False)


# --- training ---------------------------------------------------------------------------------


def curves(axes):
    return [each.get_xydata() for each in axes.lines]


def test_curves_of_all_that_a_run_leaves_are_one(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    expected = curves(pl.training_curves({"log": log()}, show=False))
    assert len(expected) == 2
    np.testing.assert_allclose(expected[1][:, 0], [50, 100, 150, 200])
    np.testing.assert_allclose(expected[1][:, 1], 5 / expected[1][:, 0] ** 0.5 + 1.2)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "training.json").write_text(json.dumps({"log": log()}))
    for step in (90, 200):
        state = tmp_path / "going.run" / f"checkpoint-{step}" / "trainer_state.json"
        state.parent.mkdir(parents=True)
        entries = [each for each in log() if each["step"] <= step]
        state.write_text(json.dumps({"log_history": entries}))
    writer = SummaryWriter(tmp_path / "board")
    for entry in log():
        for name, value in entry.items():
            tag = name.replace("eval_", "eval/") if "eval" in name else f"train/{name}"
            writer.add_scalar(tag, value, entry["step"])
    writer.close()
    # "going" is not written yet: its run is at work.
    for run in (folder, folder / "training.json", tmp_path / "going.run", tmp_path / "going",
                state, str(tmp_path / "board")):  # fmt: skip
        for one, other in zip(curves(pl.training_curves(run, show=False)), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_several_runs_and_other_figures():
    runs = {"a": log(), "b": log()[:12]}
    axes = pl.training_curves(runs, show=False)
    assert texts(axes) == ["a, cells trained on", "a, held-out cells", "b, cells trained on",
                           "b, held-out cells"]  # fmt: skip
    colours = [each.get_color() for each in axes.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3]
    accuracy = pl.training_curves({"log": log()}, figure="accuracy", show=False)
    np.testing.assert_allclose(curves(accuracy)[0][:, 1], 0.5)
    mini = pl.training_curves(rankformer.Checkpoint.open("rankformer-mini").folder, show=False)
    assert curves(mini)[1][-1].tolist() == pytest.approx([600, 6.582], abs=1e-3)


def test_a_run_without_a_log_is_told(tmp_path):
    with pytest.raises(MissingFileError):
        pl.training_curves(tmp_path / "no", show=False)
    with pytest.raises(TableError, match="no log"):
        pl.training_curves(tmp_path, show=False)
    with pytest.raises(SettingsError, match=r"Did you mean 'loss'\?"):
        pl.training_curves({"log": log()}, figure="los", show=False)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(TableError, match="cannot be read"):
        pl.training_curves(tmp_path, show=False)


def test_all_plots_return_axes():
    assert all(isinstance(make(), Axes) for make in PICTURES.values())
    assert Path(pl.__file__).name == "pl.py"
