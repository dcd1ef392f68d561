"""Plots in scanpy's manner: AnnData or a result in, axes out."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anndata import AnnData
from numpy.typing import ArrayLike
from pandas import DataFrame

from rankformer.show.canvas import canvas
from rankformer.show.cell_values import (
    expect_adata,
    find_colour,
    find_coordinates,
    find_expression,
)
from rankformer.show.confusion_plot import confusion_of, confusion_size, draw_confusion
from rankformer.show.embedding_plot import (
    EMBEDDING_SIZE,
    Dots,
    DotStyle,
    LegendLoc,
    draw_embedding,
)
from rankformer.show.gene_mapping_plot import (
    MappedGenes,
    draw_mapping,
    mapping_size,
    read_mapping,
)
from rankformer.show.gene_pairs import Network
from rankformer.show.marker_plot import draw_markers, groups_of, marker_size, markers_of
from rankformer.show.matrix_plot import choose_matrix, draw_matrix, matrix_size
from rankformer.show.network_plot import (
    choose_edges,
    draw_network,
    network_size,
    place_genes,
)
from rankformer.show.palette import Palette
from rankformer.show.perturbation_plots import (
    VOLCANO_SIZE,
    choose_effects,
    draw_effects,
    draw_volcano,
    effects_size,
    read_tested,
)
from rankformer.show.training_plot import CURVES_SIZE, Run, choose_curves, draw_curves, read_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "attention",
    "confusion",
    "embedding",
    "gene_mapping",
    "gene_network",
    "marker_genes",
    "ranked_effects",
    "training_curves",
    "volcano",
]
# Longer than 400 lines: most are docstrings, the manual of these functions.

Save = str | os.PathLike[str] | None


def __dir__() -> list[str]:
    return sorted(__all__)


# Longer than 80 lines: its docstring tells what each keyword does.
def embedding(  # noqa: PLR0913  # scanpy's keywords
    adata: AnnData,
    *,
    color: str | None = None,
    basis: str = "X_umap",
    components: Sequence[int] | None = None,
    layer: str | None = None,
    use_raw: bool | None = None,
    palette: Palette = None,
    size: float | None = None,
    vmin: float | None = None,
    vmax: float | None = None,
    legend_loc: LegendLoc = "right margin",
    title: str | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw cells as dots, where an embedding has them.

    Parameters
    ----------
    adata
        Cells, with two dimensions of an embedding in ``obsm``.
    color
        A column of ``obs``, or a gene by its name in ``var_names`` or in a column of symbols.
        Where the matrix holds counts, the gene is drawn as log1p of counts per 10,000.
    basis
        The key of ``obsm``, with ``X_`` before it or without. One of more than two dimensions,
        such as ``"X_geneformer"``, is refused: make a UMAP of it first. Of ``"X_pca"`` the first
        two components are drawn.
    components
        Which two dimensions to draw, counted from 1.
    layer, use_raw
        Where the expression of a gene is taken from; as in scanpy ``raw``, where there is one and
        no layer is named.
    palette
        Of categories: a mapping to colours, or colours in the order of the categories, such as
        ``adata.uns["cell_type_colors"]``. Of numbers: the name of one of matplotlib's colour maps.
        The default colours are told apart by colour-blind readers. A category keeps its colour
        whatever the order of the cells.
    size
        Of a dot, in square points; made to fit the number of cells unless given.
    vmin, vmax
        Least and greatest value of the colour bar.
    legend_loc
        Where the names of categories stand: ``"right margin"``, with their numbers of cells,
        ``"on data"``, or ``"none"``.
    title
        What is written above; `color` where it is a category, unless given.
    ax
        Axes to draw in; a figure of the width of a journal's column is made unless given.
    show
        Whether to show the figure; by default where neither `ax` nor `save` is given.
    save
        A file to write the figure to, ``.png``, ``.svg`` or ``.pdf``. What is there is replaced.
        Of more than 2,000 cells the dots are pixels, and all else stays vectors and text.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError
        If there is no such column, gene or embedding, or a setting does not fit.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> import scanpy as sc
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.embed(adata, model="gf-12L-95M-i4096")
    >>> sc.pp.neighbors(adata, use_rep="X_geneformer")
    >>> sc.tl.umap(adata)
    >>> ax = rankformer.pl.embedding(adata, color="cell_type", save="umap.pdf")
    """
    expect_adata(adata)
    places, names = find_coordinates(adata, basis, components)
    colour = None if color is None else find_colour(adata, color, layer, use_raw)
    dots = Dots(places, names, colour, title)
    style = DotStyle(palette, size, (vmin, vmax), legend_loc)
    with canvas(EMBEDDING_SIZE, ax=ax, show=show, save=save) as axes:
        draw_embedding(axes, dots, style)
    return axes


def confusion(
    adata: AnnData | DataFrame,
    *,
    true: str | None = None,
    predicted: str | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw what cells were called, by what they are.

    Each row shows how the cells of one true label were shared among the predicted ones, in percent.

    Parameters
    ----------
    adata
        Cells with both labels in ``obs``; such a table by itself; or a table of numbers of cells,
        true labels in rows and predicted ones in columns.
    true, predicted
        The columns of the labels; neither for a table that is counted already. Cells without a
        true label are left out. Those without a predicted one are in a column of their own.
    title
        What is written above.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError, TableError
        If a column is missing, or a table holds no numbers.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.annotate(
    ...     adata, reference="pbmc.h5ad", label="cell_type", model="gf-12L-95M-i4096"
    ... )
    >>> ax = rankformer.pl.confusion(
    ...     adata, true="cell_type", predicted="predicted_cell_type", save="confusion.pdf"
    ... )
    """
    table = confusion_of(adata, true, predicted)
    with canvas(confusion_size(table), ax=ax, show=show, save=save) as axes:
        draw_confusion(axes, table, title)
    return axes


def gene_mapping(
    mapping: MappedGenes,
    *,
    key: str | None = None,
    counts: ArrayLike | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw how many variables were mapped to genes of the model, by which rule, and what was lost.

    Parameters
    ----------
    mapping
        A `GeneMapping`, as `map_genes` gives it; AnnData after `rankformer.tl.embed` or
        ``rankformer embed``; or a gene report, as a table or as the file that ``--gene-report``
        wrote.
    key
        Of AnnData: the result whose genes are meant, such as ``"X_geneformer"``; the first unless
        given.
    counts
        (n_vars,) counts of each variable over all cells, in the order of the variables: their
        shares of all counts are drawn beside. Not with AnnData, whose ``uns`` does not tell
        variables apart.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError, TableError, MissingFileError
        If there is no mapping, or `counts` does not fit it.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> mapping = rankformer.map_genes(adata, "gf-12L-95M-i4096")
    >>> counts = adata.X.sum(axis=0)
    >>> ax = rankformer.pl.gene_mapping(mapping, counts=counts, save="genes.pdf")
    """
    figures = read_mapping(mapping, key, counts)
    with canvas(mapping_size(figures), ax=ax, show=show, save=save) as axes:
        draw_mapping(axes, figures)
    return axes


def marker_genes(  # noqa: PLR0913  # scanpy's keywords
    adata: AnnData,
    *,
    groupby: str | None = None,
    basis: str = "X_geneformer",
    n_neighbourhoods: int = 8,
    n_genes: int = 3,
    layer: str | None = None,
    use_raw: bool | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw the genes that tell the neighbourhoods of an embedding from all other cells.

    What lies together in an embedding should have genes in common that a biologist knows. Genes
    are ranked by Welch's t statistic of their log-normalised expression; each is shown for the
    neighbourhood alone of which it is the surest marker. The size of a dot is the share of cells
    that express the gene, its colour the mean expression beside that of the highest group.

    Parameters
    ----------
    adata
        Cells, with expression of genes and an embedding.
    groupby
        A column of ``obs``, such as clusters or labels, whose groups are drawn. Without it, the
        embedding is divided into neighbourhoods: by k-means on vectors of length one, from a fixed
        seed.
    basis
        The embedding in ``obsm`` that is divided.
    n_neighbourhoods
        Into how many.
    n_genes
        Most genes of a group.
    layer, use_raw
        Where expression is taken from, as in `embedding`. Counts are log-normalised first.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError
        If there is no such column or embedding, or no gene tells groups apart.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.embed(adata, model="gf-12L-95M-i4096")
    >>> ax = rankformer.pl.marker_genes(adata, n_neighbourhoods=3, save="neighbourhoods.pdf")
    >>> ax = rankformer.pl.marker_genes(adata, groupby="cell_type", save="markers.pdf")
    """
    expect_adata(adata)
    expression = find_expression(adata, layer, use_raw)
    groups = groups_of(adata, groupby, basis, n_neighbourhoods)
    markers = markers_of(expression, groups, n_genes)
    with canvas(marker_size(markers), ax=ax, show=show, save=save) as axes:
        draw_markers(axes, markers, expression.label)
    return axes


def volcano(
    tested: AnnData | DataFrame,
    *,
    key: str = "perturbation_test",
    level: float = 0.05,
    n_labels: int = 8,
    label: str | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":  # fmt: skip
    """Draw the effect of each perturbation against how certain it is.

    Parameters
    ----------
    tested
        AnnData after `rankformer.tl.perturb_test`, or the table that it or
        ``rankformer perturb-test`` made, with q values.
    key
        The name of the table in ``uns``.
    level
        The false discovery rate up to which dots are coloured.
    n_labels
        How many genes are named on each side, the large and certain ones.
    label
        What the effect is called.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError, TableError
        If there is no such table, or it has no q values.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.perturb(adata, model="gf-12L-95M-i4096")
    >>> rankformer.tl.perturb_test(adata)
    >>> ax = rankformer.pl.volcano(adata, save="volcano.pdf")
    """
    table = read_tested(tested, key)
    with canvas(VOLCANO_SIZE, ax=ax, show=show, save=save) as axes:
        draw_volcano(axes, table, level=level, n_labels=n_labels, label=label)
    return axes


def ranked_effects(  # noqa: PLR0913  # which genes, how they are drawn, and where
    tested: AnnData | DataFrame,
    *,
    key: str = "perturbation_test",
    n_genes: int = 20,
    genes: str | Sequence[str] | None = None,
    level: float = 0.05,
    label: str | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw effects of perturbations with their 95 % intervals, the greatest first.

    Parameters
    ----------
    tested
        As in `volcano`; also without q values, as ``against="aggregate"`` gives it.
    key
        The name of the table in ``uns``.
    n_genes
        How many of the most certain ones; without q values, of the largest.
    genes
        Symbols or Ensembl ids of those to draw in their place.
    level
        The false discovery rate above which a mark is open.
    label
        What the effect is called.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError, TableError
        If there is no such table, or a gene is not in it.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.perturb(adata, model="gf-12L-95M-i4096")
    >>> rankformer.tl.perturb_test(adata)
    >>> ax = rankformer.pl.ranked_effects(adata, n_genes=12, save="effects.pdf")
    """
    chosen = choose_effects(read_tested(tested, key), n_genes, genes)
    with canvas(effects_size(chosen), ax=ax, show=show, save=save) as axes:
        draw_effects(axes, chosen, level=level, label=label)
    return axes


def attention(  # noqa: PLR0913  # which genes, how they are drawn, and where
    network: Network,
    *,
    key: str = "gene_network",
    value: str = "effect",
    genes: str | Sequence[str] | None = None,
    n_genes: int = 25,
    cmap: str | None = None,
    title: str | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw attention between genes, or another measure of their pairs, as a heat map.

    Genes are in the order of a tree, so that those with like rows and columns stand together. Pairs
    that the table does not have are grey: keep all with ``top=None`` when the network is made.

    Parameters
    ----------
    network
        AnnData after `rankformer.tl.gene_network`, best with ``by="attention"``; the table of one;
        or a square table of genes by genes, whose rows are acted upon.
    key
        The name of the network in ``uns``.
    value
        The column that is drawn, such as ``"excess"`` or ``"coexpression"``.
    genes
        Which genes; those with the greatest values among each other unless given.
    n_genes
        How many of these.
    cmap
        The name of one of matplotlib's colour maps.
    title
        What is written above.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError, TableError
        If there is no such network, column or gene.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.gene_network(adata, model="gf-12L-95M-i4096", by="attention", top=None)
    >>> ax = rankformer.pl.attention(adata, n_genes=15, save="attention.pdf")
    """
    matrix = choose_matrix(network, key, value, genes, n_genes)
    with canvas(matrix_size(matrix), ax=ax, show=show, save=save) as axes:
        draw_matrix(axes, matrix, cmap=cmap, title=title)
    return axes


def gene_network(  # noqa: PLR0913  # which pairs, how they are drawn, and where
    network: Network,
    *,
    key: str = "gene_network",
    weight: str = "excess",
    genes: str | Sequence[str] | None = None,
    n_edges: int = 40,
    title: str | None = None,
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw the most certain pairs of a network of genes.

    Genes are dots, the larger the more pairs they are in; pairs are lines, the wider the greater
    their weight, orange where it is positive and blue where it is negative, with an arrow from the
    gene that acts where there is a direction. Within `ax` that is smaller than the figure would be,
    names can overlap: draw fewer pairs.

    Parameters
    ----------
    network
        AnnData after `rankformer.tl.gene_network`, or the table of one, the most certain pairs
        first.
    key
        The name of the network in ``uns``.
    weight
        The column of the pairs' weight, such as ``"coexpression"``.
    genes
        Draw only pairs with these genes.
    n_edges
        How many pairs.
    title
        What is written above.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    SettingsError, TableError
        If there is no such network, column or gene.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.gene_network(adata, model="gf-12L-95M-i4096", by="similarity")
    >>> ax = rankformer.pl.gene_network(adata, n_edges=20, save="network.pdf")
    """
    pairs = choose_edges(network, key, weight, genes, n_edges)
    drawing = place_genes(pairs)
    with canvas(network_size(drawing), ax=ax, show=show, save=save) as axes:
        draw_network(axes, drawing, weight=weight, title=title)
    return axes


def training_curves(
    run: Run | Mapping[str, Any],
    *,
    figure: str = "loss",
    ax: "Axes | None" = None,
    show: bool | None = None,
    save: Save = None,
) -> "Axes":
    """Draw a figure of a training by step, on the cells trained on and on held-out ones.

    Parameters
    ----------
    run
        The folder that `pretrain` or `finetune` wrote, or its ``OUTPUT.run`` while it is at work;
        a file ``training.json`` or ``trainer_state.json``; or a folder of TensorBoard's. Several
        runs are given as names with their folders.
    figure
        What is drawn: ``"loss"``, ``"learning_rate"``, or a figure of the evaluations, such as
        ``"accuracy"``.
    ax, show, save
        As in `embedding`.

    Returns
    -------
    The axes.

    Raises
    ------
    MissingFileError, TableError, SettingsError
        If there is no log, or no such figure in it.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import rankformer
    >>> task = rankformer.CellTask("cell_type", group="donor")
    >>> tuned = rankformer.finetune("pbmc.h5ad", "my-model", "gf-12L-95M-i4096", task)
    >>> ax = rankformer.pl.training_curves("my-model", save="training.pdf")
    """
    curves = choose_curves(read_runs(run), figure)
    with canvas(CURVES_SIZE, ax=ax, show=show, save=save) as axes:
        draw_curves(axes, curves, figure)
    return axes
