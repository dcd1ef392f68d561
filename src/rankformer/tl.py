"""Tools in scanpy's manner: AnnData in, results in ``obsm``, ``obs`` and ``uns``."""

import os
from collections.abc import Sequence
from typing import Any

from anndata import AnnData

from rankformer.data.class_names import as_names
from rankformer.data.gene_tables import GeneTable
from rankformer.errors import CountsError
from rankformer.model.embedder import AnyEmbedder, Embedder, Pooling, open_embedder
from rankformer.model.finetuned import FineTunedModel
from rankformer.model.spec import LayerNumbering
from rankformer.tasks.anndata_output import add_to
from rankformer.tasks.annotate import NeighbourVote, annotate_cells
from rankformer.tasks.annotate_files import find_reference, name_keys
from rankformer.tasks.cell_labels import store_labels_in
from rankformer.tasks.embed import embed_cells
from rankformer.tasks.output import add_vectors
from rankformer.tasks.predict import check_prefix, predict_in_memory
from rankformer.tasks.progress import show_progress
from rankformer.tasks.reference import Reference, build_reference
from rankformer.tasks.targets import check_key
from rankformer.tasks.tokenize import ReadingOptions, Sources

__all__ = ["annotate", "embed", "predict"]


def embed(
    adata: AnnData,
    *,
    model: AnyEmbedder,
    mode: Pooling = "cell",
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
        numbering=layer_numbering,
        device=device,
        dtype=dtype,
        max_cells=batch_size,
    )
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    with show_progress(adata.n_obs, "Embedding cells") as progress:
        embeddings = embed_cells(adata, embedder, pooling=mode, options=options, progress=progress)
    add_to(adata, add_vectors(embeddings, key_added))
    return adata if copy else None


def annotate(
    adata: AnnData,
    *,
    reference: Reference | Sources,
    model: AnyEmbedder,
    label: str | Sequence[str] | None = None,
    key_added: str | Sequence[str] | None = None,
    mode: Pooling = "cell",
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
        numbering=layer_numbering,
        device=device,
        dtype=found.settle(dtype) if isinstance(found, Reference) else dtype,
        max_cells=batch_size,
    )
    options = ReadingOptions(
        layer, use_raw, undo_log1p, check, gene_ids, gene_table, pyensembl_genome, min_recognised,
        n_threads=n_threads, chunk_cells=chunk_cells,
    )  # fmt: skip
    if not isinstance(found, Reference):
        found = build_reference(
            found, embedder, labels, pooling=mode, options=options, unlabelled=unlabelled
        )
    names = name_keys(labels or tuple(found.codes), keys)
    adata = adata.copy() if copy else adata
    with show_progress(adata.n_obs, "Embedding cells") as progress:
        cells = annotate_cells(
            adata, found, embedder, names,
            pooling=mode, vote=vote, options=options, progress=progress,
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
    embedder = Embedder(tuned.checkpoint, device=device, dtype=dtype, max_cells=batch_size)
    with show_progress(adata.n_obs, "Predicting labels of cells") as progress:
        cells = predict_in_memory(
            adata, tuned, embedder,
            prefix=prefix, threshold=threshold, options=options, progress=progress,
        )  # fmt: skip
    store_labels_in(adata, cells)
    return adata if copy else None


def _check_adata(adata: AnnData) -> None:
    if not isinstance(adata, AnnData):
        raise CountsError(
            f"The cells are given as {type(adata).__name__}.",
            "AnnData, to which the result is added.",
            "Read a file first: anndata.read_h5ad(path). Or embed it as it lies: "
            "rankformer.embed_cells(path, model), or `rankformer embed` on the command line.",
        )
