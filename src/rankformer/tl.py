"""Tools in scanpy's manner: AnnData in, results in ``obsm``, ``obs`` and ``uns``."""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Unpack

from anndata import AnnData
from pandas import DataFrame

from rankformer.annotate.cells import annotate_cells, shared_genes_of
from rankformer.annotate.prepared import find_reference, name_keys
from rankformer.annotate.ready import find_ready, reading_of_reference
from rankformer.annotate.reference import Reference, build_reference
from rankformer.annotate.settings import Labelling
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.embed.cells import embed_cells
from rankformer.embed.embedder import AnyEmbedder, Embedder, open_embedder
from rankformer.embed.settings import CellMode, OfTrainedLayer, Running
from rankformer.errors import CountsError, SettingsError, expect_type
from rankformer.finetuning.predict import check_prefix, predict_in_memory
from rankformer.keywords import (
    AnnotateKeywords,
    EmbedKeywords,
    NetworkKeywords,
    PerturbKeywords,
    PredictKeywords,
    ShiftKeywords,
    TestKeywords,
    show_keywords,
    take,
)
from rankformer.names import as_names
from rankformer.networks.gene_network import build_network
from rankformer.networks.gene_shift import compare_states
from rankformer.networks.known_pairs import KnownPairs
from rankformer.networks.settings import NetworkRunning, NetworkSettings, ShiftSettings
from rankformer.perturb.exact import dtype_of_read_out
from rankformer.perturb.files import perturb_in_memory
from rankformer.perturb.settings import Comparison, Perturbation, ScreenSettings, States
from rankformer.perturb.statistics import compare_genes
from rankformer.progress import show_progress
from rankformer.results.anndata_files import Addition, add_to
from rankformer.results.cell_embeddings import add_vectors
from rankformer.results.cell_labels import store_labels_in
from rankformer.results.output_checks import check_key
from rankformer.tokens.reading_options import ReadingOptions
from rankformer.tokens.tokenize import Sources, open_tokens

__all__ = [
    "annotate",
    "embed",
    "gene_network",
    "gene_shift",
    "perturb",
    "perturb_test",
    "predict",
]
# Longer than 400 lines: most are docstrings, the manual of these functions.


def __dir__() -> list[str]:
    return sorted(__all__)


@show_keywords(Running, ReadingOptions)
def embed(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    mode: CellMode = "cell",
    key_added: str = "X_geneformer",
    copy: bool = False,
    **how: Unpack[EmbedKeywords],
) -> AnnData | None:
    """Compute the embedding of each cell with a Geneformer model.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, in ``raw`` or in a layer.
    model
        The name of a published model, the folder of one, a `Checkpoint`, or an `Embedder`. An
        embedder has its own layer, device and number format; keywords for these are then not used.
    mode
        How a cell becomes a vector: ``"cell"``, the mean of its genes' vectors, or ``"cls"``, the
        vector of the ``<cls>`` token, which V2 models have.
    key_added
        The name of the embedding in ``obsm``.
    copy
        Return a copy of `adata` with the embedding, and leave `adata` as it is.
    **how
        On what the model runs, and which layer is taken (see `rankformer.embed.settings.Running`);
        where the counts and the gene identifiers are (see `ReadingOptions`).

    Returns
    -------
    None, or the copy. Adds ``obsm[key_added]``, (n_cells, d_model) float32, in the order of the
    cells, and ``uns["rankformer"][key_added]`` with the model and settings it was made with. Cells
    without an embedding have NaN there, and the reason in ``obs[key_added + "_missing"]``.

    Raises
    ------
    RankformerError
        If there are no counts, the genes are not those of the model, or a setting does not fit.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.embed(adata, model="gf-12L-95M-i4096")
    >>> len(adata.obsm["X_geneformer"]) == adata.n_obs
    True

    scanpy takes the embedding in the place of principal components:

    >>> import scanpy as sc
    >>> sc.pp.neighbors(adata, use_rep="X_geneformer")
    >>> sc.tl.umap(adata)
    """
    _check_adata(adata)
    check_key(key_added)
    adata = adata.copy() if copy else adata
    embedder = open_embedder(model, **take(Running, how))
    options = ReadingOptions(**take(ReadingOptions, how))
    with show_progress(adata.n_obs, "Embedding cells") as progress:
        embeddings = embed_cells(adata, embedder, mode=mode, options=options, progress=progress)
    add_to(adata, add_vectors(embeddings, key_added))
    return adata if copy else None


# Longer than 80 lines: its docstring tells each column that it adds.
@show_keywords(Labelling, Running, ReadingOptions)
def annotate(
    adata: AnnData,
    *,
    reference: Reference | Sources,
    model: AnyEmbedder,
    label: str | Sequence[str] | None = None,
    key_added: str | Sequence[str] | None = None,
    mode: CellMode = "cell",
    unlabelled: str | Sequence[str] = (),
    copy: bool = False,
    **how: Unpack[AnnotateKeywords],
) -> AnnData | None:
    """Give cells the labels of a labelled reference, by the way that does best on it.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, in ``raw`` or in a layer.
    reference
        Labelled cells: AnnData, a file with counts, several of them, a folder that `save_reference`
        wrote, or a `Reference`. Build one with `build_reference` to use it for several queries.
        ``"blood"`` means 700 blood cells that ship, for a first look; see `datasets.blood_cells`.
    model
        As in `embed`. It must be the model that the reference was embedded with, where that is
        ready.
    label
        The column, or columns, of the reference's ``obs`` with labels. Of a reference that is ready
        all labels are taken unless some are named.
    key_added
        The names of the results in ``obs``, one for each label; ``predicted_LABEL`` unless given.
    mode
        As in `embed`.
    unlabelled
        Values of the labels that mean that a cell has none, such as ``["unassigned"]``.
    copy
        As in `embed`.
    **how
        By which way cells are named, and when a cell is called unknown (see `Labelling`);
        otherwise as in `embed`.

    Returns
    -------
    None, or the copy. Adds to ``obs``, for each key: ``key``, the label, or ``"unknown"``;
    ``key_best``, the most probable label in any case; ``key_probability``; ``key_uncertain``,
    whether the cell is unknown or its probability below 0.5, and ``key_why``; ``key_doubt``, how
    many times as far from the reference as the middle cell it lies, where counts are known;
    ``key_distance``, its mean cosine distance to the nearest cells of the reference;
    ``key_ontology_term_id``, where labels are cell types of the Cell Ontology; ``key_majority``
    with `majority_vote`; ``key_missing`` where cells have no embedding; with `probabilities`,
    ``obsm["key_probabilities"]``; and ``uns["rankformer"][key]`` with where it came from.

    Raises
    ------
    RankformerError
        If cells, reference, model and settings do not go together.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata, reference = anndata.read_h5ad("pbmc.h5ad"), anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.annotate(
    ...     adata, reference=reference, label="cell_type", model="gf-12L-95M-i4096"
    ... )
    >>> counts = adata.obs["predicted_cell_type"].value_counts()
    """
    _check_adata(adata)
    vote = Labelling(**take(Labelling, how))
    labels, keys = as_names(label or (), "label"), as_names(key_added or (), "key_added")
    if (ready := find_ready([reference])) is not None:
        ready.tell_limits()
        reference, labels = ready.path, labels or (ready.label,)
    found = find_reference(reference)
    running = take(Running, how)
    if isinstance(found, Reference):
        running["dtype"] = found.settle(running.get("dtype", Running.dtype))
    embedder = open_embedder(model, **running)
    options = ReadingOptions(**take(ReadingOptions, how))
    if not isinstance(found, Reference):
        reading = reading_of_reference(found, options)
        if vote.share_genes:
            only = shared_genes_of(found, adata, embedder, options)
            reading = replace(reading, only_genes=only)
        found = build_reference(
            found, embedder, labels,
            mode=mode, options=reading, unlabelled=unlabelled, group=vote.group,
        )  # fmt: skip
    names = name_keys(labels or tuple(found.codes), keys)
    adata = adata.copy() if copy else adata
    with show_progress(adata.n_obs, "Embedding cells") as progress:
        cells = annotate_cells(
            adata, found, embedder, names,
            mode=mode, vote=vote, options=options, progress=progress,
        )  # fmt: skip
    store_labels_in(adata, cells)
    return adata if copy else None


@show_keywords(OfTrainedLayer, ReadingOptions)
def predict(
    adata: AnnData,
    *,
    model: str | os.PathLike[str] | FineTunedModel,
    threshold: float = 0.5,
    prefix: str = "predicted_",
    copy: bool = False,
    **how: Unpack[PredictKeywords],
) -> AnnData | None:
    """Predict labels of cells with a model that was fine-tuned on such labels.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, in ``raw`` or in a layer.
    model
        The folder that `rankformer.finetune` wrote, or the `FineTunedModel` itself.
    threshold
        A label whose probability is lower than this is marked as uncertain.
    prefix
        What stands before the name of the label in ``obs``.
    copy
        Return a copy of `adata` with the predictions, and leave `adata` as it is.
    **how
        On what the model runs (see `rankformer.embed.settings.OfTrainedLayer`); where the counts
        and the gene identifiers are (see `ReadingOptions`).

    Returns
    -------
    None, or the copy. For each label adds ``obs[prefix + label]``; of classes also
    ``…_probability``, float32, calibrated on the validation cells, ``…_uncertain``, bool, and
    ``obsm["…_probabilities"]``, (n_cells, n_classes) float32; and ``uns["rankformer"]``. A cell
    without an embedding gets none, and the reason in ``…_missing``.

    Raises
    ------
    RankformerError
        If cells, model and settings do not go together.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> task = rankformer.CellTask("cell_type", group="donor")
    >>> tuned = rankformer.finetune("pbmc.h5ad", "my-model", "gf-12L-95M-i4096", task)
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.predict(adata, model="my-model")
    >>> counts = adata.obs["predicted_cell_type"].value_counts()
    """
    _check_adata(adata)
    options = ReadingOptions(**take(ReadingOptions, how))
    adata = adata.copy() if copy else adata
    tuned = model if isinstance(model, FineTunedModel) else FineTunedModel.open(model)
    check_prefix(prefix)
    for head in tuned.heads:
        check_key(prefix + head.name, "obs", "predicted_cell_type")
    embedder = Embedder(tuned.checkpoint, **take(OfTrainedLayer, how))
    with show_progress(adata.n_obs, "Predicting labels of cells") as progress:
        cells = predict_in_memory(
            adata, tuned, embedder,
            prefix=prefix, threshold=threshold, options=options, progress=progress,
        )  # fmt: skip
    store_labels_in(adata, cells)
    return adata if copy else None


@show_keywords(Perturbation, Running, ReadingOptions)
def perturb(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    attributes: str | Sequence[str] = (),
    n_affected: int | None = 100,
    key_added: str = "perturbation",
    copy: bool = False,
    **how: Unpack[PerturbKeywords],
) -> AnnData | None:
    """Perturb genes in silico: how far does the embedding of each cell move, and where to?

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, in ``raw`` or in a layer.
    model
        As in `embed`.
    attributes
        Columns of ``obs`` to carry over into the table, such as the donor.
    n_affected
        With ``read_out="gene"``, the most affected genes that are kept for each perturbation; None
        or 0 keeps all.
    key_added
        The name of the table in ``uns``.
    copy
        As in `embed`.
    **how
        What is done to which genes, and what is read (see
        `rankformer.perturb.settings.Perturbation`); between which states of cells (``state``,
        ``start``, ``goal``, ``alternatives``, ``state_statistic``; see
        `rankformer.perturb.settings.States`); how closely a screen estimates (see
        `rankformer.perturb.settings.ScreenSettings`); otherwise as in `embed`. With
        ``read_out="cls"``, the number format "auto" is float32.

    Returns
    -------
    None, or the copy. Adds ``uns[key_added]``, a data frame with a row a cell and gene;
    ``uns[key_added + "_affected"]`` with the read-out ``"gene"``; and
    ``uns["rankformer"][key_added]`` with where it came from.

    Raises
    ------
    RankformerError
        If cells, genes, model and settings do not go together.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.perturb(adata, model="gf-12L-95M-i4096", genes=["G5", "G9"])
    >>> rankformer.tl.perturb_test(adata, against="aggregate")
    >>> adata.uns["perturbation_test"]["symbol"].tolist()
    ['G...', 'G...']
    """
    _check_adata(adata)
    check_key(key_added, "uns", "perturbation")
    perturbation = Perturbation(
        **take(Perturbation, how), screen=ScreenSettings(**take(ScreenSettings, how)),
        states=States.asked_for(**take(States, how)),
    )  # fmt: skip
    running = take(Running, how)
    running["dtype"] = dtype_of_read_out(perturbation.read_out, running.get("dtype", Running.dtype))
    embedder = open_embedder(model, **running)
    table, affected, provenance = perturb_in_memory(
        adata, embedder, perturbation, ReadingOptions(**take(ReadingOptions, how)),
        attributes={name: name for name in as_names(attributes, "attributes")},
        n_affected=n_affected,
    )  # fmt: skip
    tables = {key_added: table}
    if affected is not None:
        tables[f"{key_added}_affected"] = affected
    return _add_tables(adata, tables, key_added, provenance, copy=copy)


@show_keywords(Comparison)
def perturb_test(
    adata: AnnData | DataFrame,
    *,
    key: str = "perturbation",
    null: DataFrame | None = None,
    key_added: str | None = None,
    **how: Unpack[TestKeywords],
) -> DataFrame | None:
    """Test which perturbed genes do more than chance would.

    Parameters
    ----------
    adata
        Cells after `perturb`; or the table that ``rankformer perturb`` wrote, as a data frame.
    key
        The name of the table in ``uns``.
    null
        With ``against="null"``: a table of cells in which the genes should do nothing.
    key_added
        The name of the result in ``uns``; ``key + "_test"`` unless given.
    **how
        What each gene is compared with; see `rankformer.perturb.settings.Comparison`.

    Returns
    -------
    Of AnnData None: adds ``uns[key_added]``, a data frame with a row a perturbation, the most
    certain first; see `rankformer.perturb.statistics.compare_genes`. Of a data frame, that data
    frame.

    Raises
    ------
    SettingsError, TableError
        If there is no such table, or it does not hold what is asked for.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.perturb(adata, model="gf-12L-95M-i4096")
    >>> rankformer.tl.perturb_test(adata)
    >>> strongest = adata.uns["perturbation_test"].head(10)
    """
    comparison = Comparison(**take(Comparison, how))
    expected = "A data frame of perturbations, such as pandas.read_parquet gives of a table."
    if null is not None:
        expect_type(null, DataFrame, "null", expected, "Read the table first.")
    if isinstance(adata, DataFrame):
        return compare_genes(adata, comparison, null)
    expect_type(adata, AnnData, "adata", f"AnnData after rankformer.tl.perturb. {expected}",
                "Pass one of these, or use `rankformer perturb-test`.")  # fmt: skip
    if key not in adata.uns:
        raise SettingsError(
            f"uns has no table {key!r}.",
            "A table that rankformer.tl.perturb added.",
            "Run rankformer.tl.perturb first, or correct key.",
        )
    adata.uns[key_added or f"{key}_test"] = compare_genes(adata.uns[key], comparison, null)
    return None


@show_keywords(NetworkSettings, NetworkRunning, ReadingOptions)
def gene_network(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    known: KnownPairs = None,
    key_added: str = "gene_network",
    copy: bool = False,
    **how: Unpack[NetworkKeywords],
) -> AnnData | None:
    """Measure which genes act on which in a state of cells, as the model has it.

    Parameters
    ----------
    adata
        Cells of one state by genes, with raw counts in ``X``, in ``raw`` or in a layer.
    model
        As in `embed`.
    known
        Pairs of genes that are known to act on each other, the one that acts first: how well the
        network finds them is measured. Pairs of names, a data frame whose first two columns hold
        them, or a file.
    key_added
        The name of the table in ``uns``.
    copy
        As in `embed`.
    **how
        What is measured between which genes (see `rankformer.networks.settings.NetworkSettings`);
        otherwise as in `embed`, but with float32 unless asked, as genes move by little.

    Returns
    -------
    None, or the copy. Adds ``uns[key_added]``, a data frame with a row a pair of genes (see
    `rankformer.networks.gene_network.build_network`); ``uns[key_added + "_known"]`` with average
    precision where `known` is given; and ``uns["rankformer"][key_added]`` with where it came from.

    Raises
    ------
    RankformerError
        If cells, genes, model and settings do not go together.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> b_cells = adata[adata.obs["cell_type"] == "B"].copy()
    >>> rankformer.tl.gene_network(b_cells, model="gf-12L-95M-i4096", by="similarity")
    >>> strongest = b_cells.uns["gene_network"].head(10)
    """
    _check_adata(adata)
    check_key(key_added, "uns", "gene_network")
    settings = NetworkSettings(**take(NetworkSettings, how))
    embedder = open_embedder(model, **{"dtype": NetworkRunning.dtype, **take(Running, how)})
    options = ReadingOptions(**take(ReadingOptions, how))
    with closing(open_tokens(adata, embedder.checkpoint.vocabulary, options)) as stream:
        network = build_network([stream], [stream.kept], embedder, settings, known)
    tables = {key_added: network.edges}
    if network.recovery is not None:
        tables[f"{key_added}_known"] = network.recovery
    return _add_tables(adata, tables, key_added, network.provenance, copy=copy)


@show_keywords(ShiftSettings, Running, ReadingOptions)
def gene_shift(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    state: str,
    start: str,
    goal: str,
    key_added: str = "gene_shift",
    copy: bool = False,
    **how: Unpack[ShiftKeywords],
) -> AnnData | None:
    """Find the genes whose contextual embeddings differ most between two states of cells.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, in ``raw`` or in a layer.
    model
        As in `embed`.
    state, start, goal
        The column of ``obs`` that holds the states, and the two states that are compared.
    key_added
        The name of the table in ``uns``.
    copy
        As in `embed`.
    **how
        Which cells and genes are compared (see `rankformer.networks.settings.ShiftSettings`);
        otherwise as in `embed`.

    Returns
    -------
    None, or the copy. Adds ``uns[key_added]``, a data frame with a row a gene, the most certain
    first (see `rankformer.networks.gene_shift.compare_states`), and
    ``uns["rankformer"][key_added]`` with where it came from.

    Raises
    ------
    RankformerError
        If cells, states, model and settings do not go together.

    Examples
    --------
    >>> import anndata
    >>> import rankformer
    >>> adata = anndata.read_h5ad("pbmc.h5ad")
    >>> rankformer.tl.gene_shift(
    ...     adata, model="gf-12L-95M-i4096", state="cell_type", start="T", goal="B", min_cells=3
    ... )
    >>> most_different = adata.uns["gene_shift"].head(10)
    """
    _check_adata(adata)
    check_key(key_added, "uns", "gene_shift")
    settings = ShiftSettings(state, start, goal, **take(ShiftSettings, how))
    embedder = open_embedder(model, **take(Running, how))
    options = ReadingOptions(**take(ReadingOptions, how))
    with closing(open_tokens(adata, embedder.checkpoint.vocabulary, options)) as stream:
        table, provenance = compare_states(stream, embedder, settings)
    return _add_tables(adata, {key_added: table}, key_added, provenance, copy=copy)


def _add_tables(
    adata: AnnData,
    tables: Mapping[str, DataFrame],
    key: str,
    provenance: dict[str, Any],
    *,
    copy: bool,
) -> AnnData | None:
    adata = adata.copy() if copy else adata
    adata.uns.update(tables)
    add_to(adata, Addition(provenance={key: provenance}))
    return adata if copy else None


def _check_adata(adata: AnnData) -> None:
    if not isinstance(adata, AnnData):
        raise CountsError(
            f"The cells are given as {type(adata).__name__}.",
            "AnnData, to which the result is added.",
            "Read a file first: anndata.read_h5ad(path). Or embed it as it lies: "
            "rankformer.embed_cells(path, model), or `rankformer embed` on the command line.",
        )
