"""The interface that users of Helical's Geneformer know. It only delegates.

Names, defaults and the shapes of results are those of ``helical.models.geneformer``, so that a
notebook runs with its import changed.
"""

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rankformer.checkpoints.checkpoint import Checkpoint
from rankformer.checkpoints.registry import PACKAGED_MODEL, require_model
from rankformer.errors import SettingsError, expect_type
from rankformer.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from datasets import Dataset

    from rankformer.embed.embedder import Embedder
    from rankformer.embed.settings import CellMode
    from rankformer.genes.orthologs import OrthologTable
    from rankformer.model.encoder import Encoder
    from rankformer.progress import Progress
    from rankformer.tokens.tokenize import TokenStream
    from rankformer.tokens.tokenized_cells import TokenizedCells

_ENSEMBL_IDS = "ensembl_id"
_MODES = ("cell", "gene", "cls")


@dataclass(frozen=True)
class GeneformerConfig:
    """Which model, and how to run it.

    Attributes
    ----------
    model_name
        A published name, old or new, or the folder of a checkpoint.
    batch_size
        The most cells of one batch; fewer where memory is short.
    emb_layer
        Index of the hidden state, as Hugging Face counts: -1 is the last layer.
    emb_mode
        ``"cell"``: mean over genes. ``"gene"``: a vector for each gene of each cell. ``"cls"``: the
        ``<cls>`` token (models named …-i4096).
    device
        ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"auto"``.
    accelerator
        Take the fastest device present, as ``device="auto"`` does, whatever `device` says.
    nproc
        Threads that tokenize; None for as many as there are cores.
    custom_attr_name_dict
        Columns of ``obs`` to carry into the dataset: dataset column → obs column.
    output_attentions
        Give attention weights too, unless the call of `get_embeddings` says otherwise.
    dtype
        ``"auto"``: bfloat16 where the hardware multiplies it natively, else float32; or a name as
        of `Embedder`.

    Raises
    ------
    CheckpointError
        If the model is neither a folder nor known by name.
    SettingsError
        If a setting is impossible, or the mode needs a ``<cls>`` token and the model has none.
    """

    model_name: str | os.PathLike[str] = "gf-12L-30M-i2048"
    batch_size: int = 24
    emb_layer: int = -1
    emb_mode: Literal["cell", "gene", "cls"] = "cell"
    device: str = "cpu"
    accelerator: bool = False
    nproc: int | None = 1
    custom_attr_name_dict: Mapping[str, str] | None = None
    output_attentions: bool = False
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.emb_mode not in _MODES:
            raise SettingsError(
                f"emb_mode is {self.emb_mode!r}.",
                f"One of {', '.join(map(repr, _MODES))}.",
                "Correct GeneformerConfig(emb_mode=…).",
            )
        if self.nproc is not None and self.nproc < 1:
            raise SettingsError(
                f"nproc is {self.nproc}.",
                "A whole number, at least 1.",
                "Leave it out for one, or pass None for as many as there are cores.",
            )
        if isinstance(self.model_name, str | os.PathLike):
            self._check_name(str(self.model_name))

    def _check_name(self, name: str) -> None:
        if name != PACKAGED_MODEL and not Path(name).is_dir():
            published = require_model(name)
            _check_cls(self.emb_mode, published.name, has_cls=published.release.has_cls)


@dataclass
class Geneformer:
    """A Geneformer model that makes datasets of cells and embeddings of datasets.

    Making one finds the model on this machine and reads its vocabulary. Nothing is downloaded;
    the weights are loaded at the first `get_embeddings`.

    Parameters
    ----------
    configurer
        See `GeneformerConfig`.

    Raises
    ------
    CheckpointError, VocabularyError
        If the model is not on this machine, or inconsistent.
    SettingsError
        If the model has no such layer, or the mode needs a ``<cls>`` token and the model has none.
    """

    configurer: GeneformerConfig = field(default_factory=GeneformerConfig)

    def __post_init__(self) -> None:
        expect_type(
            self.configurer, GeneformerConfig, "The configuration", "A GeneformerConfig.",
            'Write Geneformer(GeneformerConfig(model_name="rankformer-mini")).',
        )  # fmt: skip
        self.config = self.configurer
        self.checkpoint = Checkpoint.open(self.config.model_name)
        self._embedder: Embedder | None = None
        self._trained: Encoder | None = None
        self.checkpoint.spec.hidden_state_index(self.config.emb_layer)
        has_cls = self.vocabulary.cls_token is not None
        _check_cls(self.config.emb_mode, self.checkpoint.name, has_cls=has_cls)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.checkpoint.vocabulary

    @property
    def embedder(self) -> "Embedder":
        """The model with its weights, loaded when first needed."""
        if self._embedder is None:
            from rankformer.embed.embedder import Embedder

            self._embedder = Embedder(
                self.checkpoint,
                emb_layer=self.config.emb_layer,
                device="auto" if self.config.accelerator else self.config.device,
                dtype=self.config.dtype,
                batch_size=self.config.batch_size,
                encoder=self._trained,
            )
        return self._embedder

    def process_data(
        self,
        adata: "AnnData",
        gene_names: str = "index",
        output_path: str | os.PathLike[str] | None = None,
        use_raw_counts: bool = True,
        orthologs: "OrthologTable | None" = None,
    ) -> "Dataset":
        """Tokenize cells.

        Parameters
        ----------
        adata
            Cells by genes. What each variable was mapped to is written into ``var["ensembl_id"]``,
            as Helical does, missing where it is no gene that is known; a column of that name stays
            as it is, and a view gets none, as it would be copied.
        gene_names
            Where the identifiers are: ``"index"``, or a column of ``var``. Ensembl ids, symbols
            and aliases are recognised, mixed too. As in Helical, the index is taken unless another
            column is named, while `tl.embed` looks for the best one: where the index holds symbols
            and a column Ensembl ids, the two may differ in the genes of some cells. Pass
            ``gene_names="ensembl_id"`` for the same tokens. Which was taken is logged.
        output_path
            A folder to save the dataset to as well.
        use_raw_counts
            Insist on raw counts (in ``X``, ``raw`` or a layer). With False, ``X`` is taken as it
            is, whatever non-negative values it holds, and no other place is looked at.
        orthologs
            For cells of another species: its genes are taken for their human orthologs. From
            `read_orthologs`; Helical has no such argument.

        Returns
        -------
        A Hugging Face `Dataset` with ``input_ids``, ``length`` and the custom attributes: a row a
        cell, in the order of `adata`. Cells whose ``obs["filter_pass"]`` is 0 are left out, as the
        published tokenizer does, and their number is logged.

        Raises
        ------
        CountsError, GeneError, SettingsError, OutputError
            If the input does not fit; the message says what to do.
        """
        from rankformer.tokens.reading_options import ReadingOptions
        from rankformer.tokens.tokenize import open_tokens
        from rankformer.tokens.tokenized_cells import TokenizedCells

        options = ReadingOptions(
            layer=None if use_raw_counts else "X",
            check=use_raw_counts,
            gene_ids=gene_names,
            attributes=self.config.custom_attr_name_dict or {},
            n_threads=self.config.nproc,
            orthologs=orthologs,
        )
        with (
            closing(open_tokens(adata, self.vocabulary, options)) as stream,
            closing(stream.parts()) as parts,
        ):
            cells = TokenizedCells.concatenate(part.cells for part in parts)
            _write_ensembl_ids(adata, stream)
        if output_path is not None:
            cells.save(output_path)
        return cells.to_dataset()

    def get_embeddings(
        self,
        dataset: "Dataset",
        output_attentions: bool | None = None,
        output_genes: bool = False,
    ) -> Any:
        """Embed the cells of a dataset.

        Parameters
        ----------
        dataset
            From `process_data`, or made by the published tokenizer.
        output_attentions
            Give the attention weights of the embedding's layer too: a list, one array a cell,
            (n_heads, length, length) float32. They grow with the square of the length.
        output_genes
            Give the genes too: a list, one array of Ensembl ids in rank order a cell.

        Returns
        -------
        Embeddings, or a tuple of embeddings, attentions and genes, as far as asked for. Modes cell
        and cls: (n_cells, d_model) float32, in the dataset's order, NaN for a cell without genes.
        Mode gene: a list, one pandas Series a cell, of vectors (d_model,) float32 indexed by
        Ensembl id in rank order.

        Raises
        ------
        TokensError
            If the dataset is none, or was made for another model.
        """
        from rankformer.tokens.tokenized_cells import TokenizedCells

        cells = TokenizedCells.from_dataset(dataset)
        cells.check_fits(self.vocabulary)
        results: list[Any] = [self._embed(cells, self.config.emb_mode)]
        if self.config.output_attentions if output_attentions is None else output_attentions:
            results.append(self._attentions(cells))
        if output_genes:
            results.append(self._genes(cells))
        return results[0] if len(results) == 1 else tuple(results)

    def _embed(
        self, cells: "TokenizedCells", mode: Literal["cell", "gene", "cls"]
    ) -> "NDArray[np.float32] | list[pd.Series[Any]]":
        from rankformer.progress import show_progress

        with show_progress(len(cells), "Embedding cells") as progress:
            if mode == "gene":
                return self._gene_series(cells, progress)
            return self._cell_vectors(cells, mode, progress)

    def _cell_vectors(
        self, cells: "TokenizedCells", mode: "CellMode", progress: "Progress"
    ) -> NDArray[np.float32]:
        from rankformer.embed.likeness import tell_alike

        vectors = np.empty((len(cells), self.embedder.d_model), np.float32)
        for first, ragged in cells.blocks():
            for start, stop, pooled in self.embedder.cell_batches(ragged, mode):
                vectors[first + start : first + stop] = pooled
                progress(stop - start)
        _tell_without_genes(np.isnan(vectors[:, 0]))
        tell_alike(vectors)
        return vectors

    def _gene_series(self, cells: "TokenizedCells", progress: "Progress") -> "list[pd.Series[Any]]":
        import pandas as pd

        ensembl_ids = self.vocabulary.ensembl_id_of
        series: list[pd.Series[Any]] = []
        for _, ragged in cells.blocks():
            for genes in self.embedder.genes(ragged):
                for start, stop in pairwise(genes.offsets):
                    vectors = list(genes.vectors[start:stop])
                    series.append(pd.Series(vectors, ensembl_ids[genes.tokens[start:stop]], object))
                progress(len(genes.offsets) - 1)
        _tell_without_genes([each.empty for each in series])
        return series

    def _attentions(self, cells: "TokenizedCells") -> list[NDArray[np.float32]]:
        return [each for _, ragged in cells.blocks() for each in self.embedder.attention(ragged)]

    def _genes(self, cells: "TokenizedCells") -> list[NDArray[np.object_]]:
        special = list(self.vocabulary.special_tokens.values())
        tokens = (cells.cell(index) for index in range(len(cells)))
        return [self.vocabulary.ensembl_id_of[each[~np.isin(each, special)]] for each in tokens]


def _check_cls(mode: str, model: str, *, has_cls: bool) -> None:
    if mode == "cls" and not has_cls:
        raise SettingsError(
            f"emb_mode is 'cls', and {model} has no <cls> token.",
            "A V2 model: V1 models were trained without special tokens.",
            "Use emb_mode='cell' with this model, or a model named …-i4096.",
        )


def _write_ensembl_ids(adata: "AnnData", stream: "TokenStream") -> None:
    from anndata import AnnData

    # Counts may lie in raw, whose variables are others.
    if (
        isinstance(adata, AnnData)
        and not adata.is_view
        and _ENSEMBL_IDS not in adata.var
        and stream.source.var.index.equals(adata.var.index)
    ):
        adata.var[_ENSEMBL_IDS] = stream.mapping.ensembl_ids


def _tell_without_genes(without: "NDArray[np.bool_] | list[bool]") -> None:
    from rankformer.embed.cells import tell_missing
    from rankformer.tokens.tokenize import NO_GENES

    missing = np.full(len(without), None, dtype=object)
    missing[np.flatnonzero(without)] = NO_GENES
    tell_missing(missing)
