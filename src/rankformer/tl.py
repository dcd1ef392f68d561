"""Tools in scanpy's manner: AnnData in, results in ``obsm``, ``obs`` and ``uns``."""

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from anndata import AnnData
from pandas import DataFrame

from rankformer.annotate.files import find_reference, name_keys
from rankformer.annotate.reference import Reference, build_reference
from rankformer.annotate.settings import NeighbourVote
from rankformer.annotate.vote import annotate_cells
from rankformer.checkpoints.finetuned import FineTunedModel
from rankformer.embed.cells import embed_cells
from rankformer.embed.embedder import AnyEmbedder, Embedder, open_embedder
from rankformer.embed.settings import CellMode
from rankformer.errors import CountsError, SettingsError, expect_type
from rankformer.finetuning.predict import check_prefix, predict_in_memory
from rankformer.genes.tables import GeneTable
from rankformer.model.spec import LayerNumbering
from rankformer.names import as_names
from rankformer.networks.gene_network import build_network
from rankformer.networks.gene_shift import compare_states
from rankformer.networks.known_pairs import KnownPairs
from rankformer.networks.settings import By, NetworkSettings, ShiftSettings
from rankformer.perturb.exact import dtype_of_read_out
from rankformer.perturb.files import perturb_in_memory
from rankformer.perturb.settings import (
    Against,
    Comparison,
    Method,
    Perturbation,
    ReadOut,
    ScreenSettings,
    States,
    StateStatistic,
)
from rankformer.perturb.statistics import compare_genes
from rankformer.progress import show_progress
from rankformer.results.anndata_files import Addition, add_to
from rankformer.results.cell_embeddings import add_vectors
from rankformer.results.cell_labels import store_labels_in
from rankformer.results.output_checks import check_key
from rankformer.tokens.edit_types import EditType
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


def embed(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    mode: CellMode = "cell",
    key_added: str = "X_geneformer",
    emb_layer: int = -1,
    layer_numbering: LayerNumbering = "hidden_states",
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    copy: bool = False,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    n_threads: int | None = None,
    chunk_cells: int = 2048,
) -> AnnData | None:
    """Embed each cell with a Geneformer model.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, ``raw`` or a layer.
    model
        A published name, a folder, a `Checkpoint`, or an `Embedder` (which carries its own layer,
        device and dtype; the arguments of these names are then not used).
    mode
        ``"cell"``: mean over the cell's genes. ``"cls"``: the ``<cls>`` token (V2 models).
    key_added
        Name in ``obsm``.
    emb_layer, layer_numbering
        The model's layer; see `EncoderSpec.hidden_state_index`.
    device, dtype, batch_size
        Where and how to run; see `Embedder`.
    copy
        Return a copy instead of writing to `adata`.
    layer, use_raw, undo_log1p, check
        Where the counts lie, and what is allowed of them; see `ReadingOptions`.
    gene_ids, gene_table, pyensembl_genome, min_recognised
        Where gene identifiers lie, and how they are mapped; see `ReadingOptions`. The best of
        index and columns is taken unless named, and logged; `Geneformer.process_data` takes the
        index.
    n_threads, chunk_cells
        How cells are read; see `ReadingOptions`.

    Returns
    -------
    None, or the copy. Adds ``obsm[key_added]``, (n_cells, d_model) float32, in the order of the
    cells; ``uns["rankformer"][key_added]`` with where it came from; and, where cells have no
    embedding, NaN and the reason in ``obs[key_added + "_missing"]``.

    Examples
    --------
    >>> rankformer.tl.embed(adata, model="gf-12L-95M-i4096")  # doctest: +SKIP
    >>> sc.pp.neighbors(adata, use_rep="X_geneformer")  # doctest: +SKIP
    """
    _check_adata(adata)
    check_key(key_added)
    adata = adata.copy() if copy else adata
    embedder = open_embedder(
        model,
        emb_layer=emb_layer,
        layer_numbering=layer_numbering,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
    )
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    with show_progress(adata.n_obs, "Embedding cells") as progress:
        embeddings = embed_cells(adata, embedder, mode=mode, options=options, progress=progress)
    add_to(adata, add_vectors(embeddings, key_added))
    return adata if copy else None


def annotate(
    adata: AnnData,
    *,
    reference: Reference | Sources,
    model: AnyEmbedder,
    label: str | Sequence[str] | None = None,
    key_added: str | Sequence[str] | None = None,
    mode: CellMode = "cell",
    n_neighbors: int = 15,
    min_share: float = 0.5,
    distance_quantile: float = 0.95,
    allow_shift: bool = True,
    unlabelled: str | Sequence[str] = (),
    emb_layer: int = -1,
    layer_numbering: LayerNumbering = "hidden_states",
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    copy: bool = False,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    n_threads: int | None = None,
    chunk_cells: int = 2048,
) -> AnnData | None:
    """Give cells the labels of a reference, by nearest neighbours in embedding space.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, ``raw`` or a layer.
    reference
        Labelled cells: AnnData, a file of counts, several of them, a folder that
        `save_reference` made, or a `Reference`. Build it once for several queries.
    model
        As in `embed`; the one that made the reference, where it is ready.
    label
        Columns of the reference's ``obs``; all that a ready reference has unless given.
    key_added
        Names in ``obs``, as many as labels; ``predicted_LABEL`` unless given.
    mode
        As in `embed`.
    n_neighbors, min_share, distance_quantile, allow_shift
        How labels are decided, and when a cell is unknown; see `NeighbourVote`.
    unlabelled
        Values of the reference that mean no label, such as ``["unassigned"]``.
    emb_layer, layer_numbering, device, dtype, batch_size, copy
        As in `embed`.
    layer, use_raw, undo_log1p, check
        Where the counts lie, and what is allowed of them; see `ReadingOptions`.
    gene_ids, gene_table, pyensembl_genome, min_recognised
        Where gene identifiers lie, and how they are mapped; see `ReadingOptions`.
    n_threads, chunk_cells
        How cells are read; see `ReadingOptions`.

    Returns
    -------
    None, or the copy. Adds to ``obs``, for each key: ``key``, the label, or ``"unknown"``;
    ``key_best``, the label that got most votes in any case; ``key_probability``, its share of
    the weighted votes; ``key_uncertain``, whether the cell is unknown, and ``key_why``;
    ``key_distance``, its mean cosine distance to the neighbours; ``key_missing`` where cells have
    no embedding; and ``uns["rankformer"][key]`` with where it came from.

    Raises
    ------
    RankformerError
        If query, reference, model and settings do not go together.
    """
    _check_adata(adata)
    vote = NeighbourVote(n_neighbors, min_share, distance_quantile, allow_shift)
    labels, keys = as_names(label or (), "label"), as_names(key_added or (), "key_added")
    found = find_reference(reference)
    embedder = open_embedder(
        model,
        emb_layer=emb_layer,
        layer_numbering=layer_numbering,
        device=device,
        dtype=found.settle(dtype) if isinstance(found, Reference) else dtype,
        batch_size=batch_size,
    )
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    if not isinstance(found, Reference):
        found = build_reference(
            found, embedder, labels, mode=mode, options=options, unlabelled=unlabelled
        )
    names = name_keys(labels or tuple(found.codes), keys)
    adata = adata.copy() if copy else adata
    with show_progress(adata.n_obs, "Embedding cells") as progress:
        cells = annotate_cells(
            adata, found, embedder, names,
            mode=mode, vote=vote, options=options, progress=progress,
        )  # fmt: skip
    store_labels_in(adata, cells)
    return adata if copy else None


def predict(
    adata: AnnData,
    *,
    model: str | os.PathLike[str] | FineTunedModel,
    threshold: float = 0.5,
    prefix: str = "predicted_",
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    copy: bool = False,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    n_threads: int | None = None,
    chunk_cells: int = 2048,
) -> AnnData | None:
    """Predict labels of cells with a model that was fine-tuned on them.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, ``raw`` or a layer.
    model
        The folder that `rankformer.finetune` wrote, or the model.
    threshold
        A label with a lower probability is marked as uncertain.
    prefix
        Before the label's name in ``obs``.
    device, dtype, batch_size
        Where and how to run; see `Embedder`.
    copy
        Return a copy instead of writing to `adata`.
    layer, use_raw, undo_log1p, check
        Where the counts lie, and what is allowed of them; see `ReadingOptions`.
    gene_ids, gene_table, pyensembl_genome, min_recognised
        Where gene identifiers lie, and how they are mapped; see `ReadingOptions`.
    n_threads, chunk_cells
        How cells are read; see `ReadingOptions`.

    Returns
    -------
    None, or the copy. For each label adds ``obs[prefix + label]``; of classes also
    ``…_probability``, float32, calibrated on the validation part, ``…_uncertain``, bool, and
    ``obsm["…_probabilities"]``, (n_cells, n_classes) float32; and ``uns["rankformer"]``. A cell
    without an embedding gets none, and the reason in ``…_missing``.
    """
    _check_adata(adata)
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    adata = adata.copy() if copy else adata
    tuned = model if isinstance(model, FineTunedModel) else FineTunedModel.open(model)
    check_prefix(prefix)
    for head in tuned.heads:
        check_key(prefix + head.name, "obs", "predicted_cell_type")
    embedder = Embedder(tuned.checkpoint, device=device, dtype=dtype, batch_size=batch_size)
    with show_progress(adata.n_obs, "Predicting labels of cells") as progress:
        cells = predict_in_memory(
            adata, tuned, embedder,
            prefix=prefix, threshold=threshold, options=options, progress=progress,
        )  # fmt: skip
    store_labels_in(adata, cells)
    return adata if copy else None


def perturb(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    kind: EditType = "delete",
    genes: str | Sequence[str] = "all",
    groups: Sequence[Sequence[str]] = (),
    anchor: str | None = None,
    share: float = 0.25,
    read_out: ReadOut = "cell",
    state: str | None = None,
    start: str | None = None,
    goal: str | None = None,
    alternatives: str | Sequence[str] = (),
    state_statistic: StateStatistic = "mean",
    method: Method = "exact",
    top: int | None = None,
    exact_cells: int | None = None,
    n_exact: int = 4,
    n_directions: int = 6,
    n_cells: int | None = None,
    seed: int = 0,
    as_published: bool = False,
    attributes: str | Sequence[str] = (),
    n_affected: int | None = 100,
    key_added: str = "perturbation",
    emb_layer: int = -1,
    layer_numbering: LayerNumbering = "hidden_states",
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    copy: bool = False,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    n_threads: int | None = None,
    chunk_cells: int = 2048,
) -> AnnData | None:
    """Perturb genes in silico: how far does each cell's embedding move, and where to?

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, ``raw`` or a layer.
    model
        As in `embed`.
    kind, genes, groups, anchor, share
        What is done to which genes; see `rankformer.perturb.run.Perturbation`.
    read_out
        ``"cell"``, ``"cls"`` (V2 models) or ``"gene"``.
    state, start, goal, alternatives, state_statistic
        The column of ``obs`` with states, the one whose cells are perturbed, the one they should
        turn into, further ones, and how a state is made of its cells.
    method, top, exact_cells, n_exact, n_directions
        Exact runs, or a screen of all genes and then the best ones exactly.
    n_cells, seed
        The most cells that are perturbed, and what decides which.
    as_published
        Crop and compare near the input length as the published package does.
    attributes
        Columns of ``obs`` to carry along, such as the donor.
    n_affected
        With the read-out ``"gene"``, the most genes kept for each perturbation.
    key_added
        Name in ``uns``.
    emb_layer, layer_numbering, device, dtype, batch_size, copy
        As in `embed`; of the read-out ``"cls"``, ``"auto"`` takes float32.
    layer, use_raw, undo_log1p, check
        Where the counts lie, and what is allowed of them; see `ReadingOptions`.
    gene_ids, gene_table, pyensembl_genome, min_recognised
        Where gene identifiers lie, and how they are mapped; see `ReadingOptions`.
    n_threads, chunk_cells
        How cells are read; see `ReadingOptions`.

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
    >>> rankformer.tl.perturb(adata, model="gf-12L-95M-i4096", genes=["ISG15"])  # doctest: +SKIP
    """
    _check_adata(adata)
    check_key(key_added, "uns", "perturbation")
    perturbation = Perturbation(
        kind=kind, genes=genes, groups=groups, anchor=anchor, share=share, read_out=read_out,
        states=States.asked_for(state, start, goal, alternatives, state_statistic),
        n_cells=n_cells, seed=seed, as_published=as_published, method=method,
        screen=ScreenSettings(n_exact, n_directions), top=top, exact_cells=exact_cells,
    )  # fmt: skip
    embedder = open_embedder(
        model, emb_layer=emb_layer, layer_numbering=layer_numbering, device=device,
        dtype=dtype_of_read_out(read_out, dtype), batch_size=batch_size,
    )  # fmt: skip
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    table, affected, provenance = perturb_in_memory(
        adata, embedder, perturbation, options,
        attributes={name: name for name in as_names(attributes, "attributes")},
        n_affected=n_affected,
    )  # fmt: skip
    adata = adata.copy() if copy else adata
    adata.uns[key_added] = table
    if affected is not None:
        adata.uns[f"{key_added}_affected"] = affected
    add_to(adata, Addition(provenance={key_added: provenance}))
    return adata if copy else None


def perturb_test(
    adata: AnnData | DataFrame,
    *,
    key: str = "perturbation",
    against: Against = "like_rank",
    goal: str | None = None,
    replicate: str | None = None,
    null: DataFrame | None = None,
    min_cells: int = 3,
    seed: int = 0,
    key_added: str | None = None,
) -> DataFrame | None:
    """Test perturbations: which genes do more than chance would?

    Parameters
    ----------
    adata
        After `perturb`; or a table that ``rankformer perturb`` wrote, as a data frame.
    key
        The table in ``uns``.
    against, goal, replicate, null, min_cells, seed
        See `rankformer.perturb.statistics.compare_genes`.
    key_added
        Name in ``uns``; ``key + "_test"`` unless given.

    Returns
    -------
    Of AnnData None: adds ``uns[key_added]``, a data frame with a row a perturbation, the most
    certain first. Of a data frame, that data frame.

    Raises
    ------
    SettingsError, TableError
        If there is no such table, or it does not hold what is asked for.
    """
    comparison = Comparison(against, goal, replicate, min_cells, seed)
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


def gene_network(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    by: By = "perturbation",
    genes: str | Sequence[str] = "all",
    kind: EditType = "delete",
    share: float = 0.25,
    layers: int | Sequence[int] = (-1,),
    heads: int | Sequence[int] = (),
    min_cells: int = 10,
    n_cells: int | None = None,
    seed: int = 0,
    top: int | None = 1000,
    known: KnownPairs = None,
    key_added: str = "gene_network",
    emb_layer: int = -1,
    layer_numbering: LayerNumbering = "hidden_states",
    device: str = "auto",
    dtype: str = "float32",
    batch_size: int | None = None,
    copy: bool = False,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    n_threads: int | None = None,
    chunk_cells: int = 2048,
) -> AnnData | None:
    """Measure what genes do to each other in a cell state, as the model sees it.

    Parameters
    ----------
    adata
        Cells of one state by genes, with raw counts in ``X``, ``raw`` or a layer.
    model
        As in `embed`.
    by
        ``"perturbation"``: how far deleting one gene moves the contextual embedding of another.
        ``"attention"``: how much one gene is attended to by another. ``"similarity"``: the cosine
        of their contextual embeddings, which has no direction.
    genes
        The genes that act: ``"all"``, or names.
    kind, share
        By perturbation: what is done to a gene; see `rankformer.tokens.edits.plan_edits`.
    layers, heads
        Of attention: layers from 1, or -1 for the last, and heads from 0. Means are taken.
    min_cells
        Genes and pairs in fewer cells are left out.
    n_cells, seed
        The most cells, and what decides which.
    top
        The most pairs kept, the most certain ones; None or 0 keeps all.
    known
        Pairs of names, (the gene that acts, the one that it acts upon), of which it is told how
        well they are found; or a data frame whose first two columns hold them, or a file.
    key_added
        Name in ``uns``.
    emb_layer, layer_numbering, device, dtype, batch_size, copy
        As in `embed`; float32 unless asked otherwise, as genes move by little.
    layer, use_raw, undo_log1p, check
        Where the counts lie, and what is allowed of them; see `ReadingOptions`.
    gene_ids, gene_table, pyensembl_genome, min_recognised
        Where gene identifiers lie, and how they are mapped; see `ReadingOptions`.
    n_threads, chunk_cells
        How cells are read; see `ReadingOptions`.

    Returns
    -------
    None, or the copy. Adds ``uns[key_added]``, a data frame with a row a pair of genes (see
    `rankformer.networks.gene_network.build_network`); ``uns[key_added + "_known"]`` with average
    precision where `known` is given; and ``uns["rankformer"][key_added]`` with where it came from.

    Raises
    ------
    RankformerError
        If cells, genes, model and settings do not go together.
    """
    _check_adata(adata)
    check_key(key_added, "uns", "gene_network")
    settings = NetworkSettings(
        by=by, genes=genes, kind=kind, share=share, layers=layers, heads=heads,
        min_cells=min_cells, n_cells=n_cells, seed=seed, top=top,
    )  # fmt: skip
    embedder = open_embedder(
        model, emb_layer=emb_layer, layer_numbering=layer_numbering, device=device, dtype=dtype,
        batch_size=batch_size,
    )  # fmt: skip
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    with closing(open_tokens(adata, embedder.checkpoint.vocabulary, options)) as stream:
        network = build_network([stream], [stream.kept], embedder, settings, known)
    adata = adata.copy() if copy else adata
    adata.uns[key_added] = network.edges
    if network.recovery is not None:
        adata.uns[f"{key_added}_known"] = network.recovery
    add_to(adata, Addition(provenance={key_added: network.provenance}))
    return adata if copy else None


def gene_shift(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    state: str,
    start: str,
    goal: str,
    within: str | None = None,
    min_cells: int = 10,
    n_permutations: int = 1000,
    n_cells: int | None = None,
    seed: int = 0,
    key_added: str = "gene_shift",
    emb_layer: int = -1,
    layer_numbering: LayerNumbering = "hidden_states",
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    copy: bool = False,
    layer: str | None = None,
    use_raw: bool | None = None,
    undo_log1p: bool = False,
    check: bool = True,
    gene_ids: str | None = None,
    gene_table: GeneTable | None = None,
    pyensembl_genome: Any = None,
    min_recognised: float = 0.5,
    n_threads: int | None = None,
    chunk_cells: int = 2048,
) -> AnnData | None:
    """Find the genes whose contextual embeddings differ most between two states of cells.

    Parameters
    ----------
    adata
        Cells by genes, with raw counts in ``X``, ``raw`` or a layer.
    model
        As in `embed`.
    state, start, goal
        The column of ``obs`` with states, and the two that are compared.
    within
        A column of ``obs``, such as the donor: states are permuted only among its cells of one
        value.
    min_cells
        Genes that fewer cells of a state have are left out.
    n_permutations
        How often states are permuted.
    n_cells, seed
        The most cells of each state, and what decides which.
    key_added
        Name in ``uns``.
    emb_layer, layer_numbering, device, dtype, batch_size, copy
        As in `embed`.
    layer, use_raw, undo_log1p, check
        Where the counts lie, and what is allowed of them; see `ReadingOptions`.
    gene_ids, gene_table, pyensembl_genome, min_recognised
        Where gene identifiers lie, and how they are mapped; see `ReadingOptions`.
    n_threads, chunk_cells
        How cells are read; see `ReadingOptions`.

    Returns
    -------
    None, or the copy. Adds ``uns[key_added]``, a data frame with a row a gene, the most certain
    first (see `rankformer.networks.gene_shift.compare_states`), and
    ``uns["rankformer"][key_added]`` with where it came from.

    Raises
    ------
    RankformerError
        If cells, states, model and settings do not go together.
    """
    _check_adata(adata)
    check_key(key_added, "uns", "gene_shift")
    settings = ShiftSettings(state, start, goal, within, min_cells, n_permutations, n_cells, seed)
    embedder = open_embedder(
        model, emb_layer=emb_layer, layer_numbering=layer_numbering, device=device, dtype=dtype,
        batch_size=batch_size,
    )  # fmt: skip
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    with closing(open_tokens(adata, embedder.checkpoint.vocabulary, options)) as stream:
        table, provenance = compare_states(stream, embedder, settings)
    adata = adata.copy() if copy else adata
    adata.uns[key_added] = table
    add_to(adata, Addition(provenance={key_added: provenance}))
    return adata if copy else None


def _check_adata(adata: AnnData) -> None:
    if not isinstance(adata, AnnData):
        raise CountsError(
            f"The cells are given as {type(adata).__name__}.",
            "AnnData, to which the result is added.",
            "Read a file first: anndata.read_h5ad(path). Or embed it as it lies: "
            "rankformer.embed_cells(path, model), or `rankformer embed` on the command line.",
        )
