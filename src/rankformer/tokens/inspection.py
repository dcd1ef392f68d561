"""What a file holds, and what to pass to embed it. Never fails on a file that can be read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rankformer.cells.source import CellSource, MatrixSurvey, open_cells, read_var, survey_matrices
from rankformer.checkpoints.find import models_here
from rankformer.checkpoints.model_folder import ModelFolder
from rankformer.checkpoints.registry import PACKAGED_MODEL
from rankformer.errors import RankformerError
from rankformer.genes.columns import INDEX, candidate_columns
from rankformer.genes.identifiers import IdentifierSummary, detect_identifiers
from rankformer.genes.map_genes import map_genes
from rankformer.genes.mapping import GeneMapping
from rankformer.tokens.reading_options import GeneOptions
from rankformer.tokens.sampled_cells import sampled_counts
from rankformer.vocabulary.vocabulary import Vocabulary

_NEARLY = 0.95


@dataclass(frozen=True)
class GenesPerCell:
    """How many genes cells have, of a vocabulary or in all, over a sample of cells.

    Attributes
    ----------
    n_cells, n_empty
        Cells looked at, and those of them without any gene of the vocabulary.
    least, median, most
        Genes a cell.
    cropped_share
        Share of the cells with more genes than the model reads; 0 where there is none.
    """

    n_cells: int
    n_empty: int
    least: int
    median: float
    most: int
    cropped_share: float


@dataclass(frozen=True)
class ModelMatch:
    """How a file's genes meet the vocabulary that some models share.

    Attributes
    ----------
    models
        Names of the models.
    vocabulary
        Their vocabulary.
    mapping
        What became of each variable by the identifiers that ``rankformer embed`` and `tl.embed`
        find, or None where they cannot be mapped.
    index_mapping
        The same by the index of ``var``, which `Geneformer.process_data` takes unless told.
    genes_per_cell
        None where there are no counts or no mapping.
    problem
        Why it cannot be used, or None.
    """

    models: tuple[str, ...]
    vocabulary: Vocabulary
    mapping: GeneMapping | None = None
    index_mapping: GeneMapping | None = None
    genes_per_cell: GenesPerCell | None = None
    problem: RankformerError | None = None

    @property
    def share(self) -> float:
        """Share of the vocabulary's genes that the file has."""
        return self.mapping.n_genes / len(self.vocabulary.ensembl_ids) if self.mapping else 0.0

    @property
    def n_otherwise_by_index(self) -> int:
        """Variables that get another gene, or none, by the index of ``var``."""
        if self.mapping is None:
            return 0
        if self.index_mapping is None:
            return self.mapping.n_mapped
        return int((self.mapping.tokens != self.index_mapping.tokens).sum())


@dataclass(frozen=True)
class Inspection:
    """What `inspect_file` found.

    Attributes
    ----------
    path
        The file or folder.
    matrices
        X, raw.X and each layer.
    cells
        The source with its counts found, or None where there are none.
    problem
        Why there are no counts, or None.
    undo_log1p
        Whether the counts are there only as logarithms.
    identifiers
        The index of ``var`` and its columns of text: name → what is written there.
    matches
        One entry a vocabulary of the models on this machine.
    broken
        Models on this machine that cannot be opened: name → why.
    variables_per_cell
        Variables that are not zero a cell; None where there are no counts.
    advised_options
        Words of the command line that the file was looked at with, which `arguments` repeat.
    """

    path: str
    matrices: tuple[MatrixSurvey, ...]
    cells: CellSource | None
    problem: RankformerError | None
    undo_log1p: bool
    identifiers: dict[str, IdentifierSummary]
    matches: tuple[ModelMatch, ...]
    broken: dict[str, RankformerError]
    variables_per_cell: GenesPerCell | None
    advised_options: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str] | None:
        """Arguments of ``rankformer embed`` that suit the file, or None where none do."""
        best = self._best_match()
        if self.cells is None or best is None:
            return None
        output = f"{Path(self.path).resolve().stem}.geneformer.h5ad"
        return [
            self.path,
            "-o",
            output,
            "--model",
            best.models[0],
            *self._place(),
            *self.advised_options,
        ]

    def _best_match(self) -> ModelMatch | None:
        """That with the largest share of its genes; a V2 one where it has nearly as much."""
        usable = [match for match in self.matches if match.mapping]
        most = max((match.share for match in usable), default=0)
        near = [match for match in usable if match.share >= _NEARLY * most]
        return max(
            near,
            key=lambda match: (match.vocabulary.cls_token is not None, match.share),
            default=None,
        )

    def _place(self) -> list[str]:
        """What must be said to take a logarithm; counts are found."""
        if self.cells is None or not self.undo_log1p:
            return []
        location = self.cells.location
        if location == "X":
            return ["--undo-log1p"]
        if location == "raw.X":
            return ["--use-raw", "--undo-log1p"]
        layer = location.removeprefix('layers["').removesuffix('"]')
        return ["--layer", layer, "--undo-log1p"]


def inspect_file(
    path: str | os.PathLike[str],
    *,
    models: Sequence[str] | None = None,
    genes: GeneOptions | None = None,
    advised_options: Sequence[str] = (),
) -> Inspection:
    """Look at a file of counts.

    Parameters
    ----------
    path
        A file or folder that `open_cells` reads.
    models
        Names or folders of models to map the genes to. Unless given, all published ones on this
        machine, or where there are none, the one that ships with rankformer.
    genes
        Which genes the variables are.
    advised_options
        Words of the command line by which their names were read, for the arguments that are
        advised.

    Raises
    ------
    CountsError
        If the file cannot be read at all.
    CheckpointError, VocabularyError
        If a model that is named cannot be opened.
    """
    vocabularies, broken = _vocabularies(models)
    matrices = tuple(survey_matrices(path))
    cells, problem, undo_log1p = _find_counts(path)
    var = cells.var if cells else read_var(path)
    genes = genes or GeneOptions()
    matches = tuple(_match(names, each, var, cells, genes) for names, each in vocabularies)
    return Inspection(
        str(path), matrices, cells, problem, undo_log1p, _identifiers(var), matches, broken,
        _genes_per_cell(cells) if cells else None, (*_words(genes), *advised_options),
    )  # fmt: skip


def _words(genes: GeneOptions) -> list[str]:
    column = [] if genes.gene_ids is None else ["--gene-ids", genes.gene_ids]
    is_usual = genes.min_recognised == GeneOptions.min_recognised
    return column if is_usual else [*column, "--min-recognised", str(genes.min_recognised)]


def _vocabularies(
    models: Sequence[str] | None,
) -> tuple[list[tuple[tuple[str, ...], Vocabulary]], dict[str, RankformerError]]:
    """The vocabularies with the models that have them, and models that cannot be opened."""
    names = models if models is not None else models_here() or [PACKAGED_MODEL]
    by_hash: dict[str, tuple[tuple[str, ...], Vocabulary]] = {}
    broken: dict[str, RankformerError] = {}
    for name in names:
        try:
            vocabulary = ModelFolder.open(name).vocabulary
        except RankformerError as error:
            if models is not None:
                raise
            broken[str(name)] = error
            continue
        known, _ = by_hash.get(vocabulary.sha256, ((), vocabulary))
        by_hash[vocabulary.sha256] = ((*known, str(name)), vocabulary)
    return list(by_hash.values()), broken


def _find_counts(
    path: str | os.PathLike[str],
) -> tuple[CellSource | None, RankformerError | None, bool]:
    problem: RankformerError | None = None
    for undo_log1p in (False, True):
        try:
            return open_cells(path, undo_log1p=undo_log1p), problem, undo_log1p
        except RankformerError as error:
            problem = problem or error
    return None, problem, False


def _identifiers(var: pd.DataFrame | None) -> dict[str, IdentifierSummary]:
    if var is None or not len(var):
        return {}
    return {each.name: detect_identifiers(each.identifiers) for each in candidate_columns(var)}


def _match(
    models: tuple[str, ...],
    vocabulary: Vocabulary,
    var: pd.DataFrame | None,
    cells: CellSource | None,
    genes: GeneOptions,
) -> ModelMatch:
    if var is None:
        return ModelMatch(models, vocabulary)
    try:
        mapping = map_genes(var, vocabulary, **vars(genes))
        per_cell = _genes_per_cell(cells, mapping, vocabulary) if cells else None
    except RankformerError as error:
        return ModelMatch(models, vocabulary, problem=error)
    is_index = mapping.column == INDEX
    by_index = mapping if is_index else _map_by_index(var, vocabulary, genes)
    return ModelMatch(models, vocabulary, mapping, by_index, per_cell)


def _map_by_index(
    var: pd.DataFrame, vocabulary: Vocabulary, genes: GeneOptions
) -> GeneMapping | None:
    try:
        return map_genes(var, vocabulary, **{**vars(genes), "gene_ids": INDEX})
    except RankformerError:
        return None


def _genes_per_cell(
    cells: CellSource, mapping: GeneMapping | None = None, vocabulary: Vocabulary | None = None
) -> GenesPerCell:
    lengths = np.concatenate([_count_genes(counts, mapping) for counts in sampled_counts(cells)])
    room = vocabulary.input_length - vocabulary.n_frame_tokens if vocabulary else np.inf
    return GenesPerCell(
        n_cells=len(lengths),
        n_empty=int((lengths == 0).sum()),
        least=int(lengths.min()),
        median=float(np.median(lengths)),
        most=int(lengths.max()),
        cropped_share=float((lengths > room).mean()),
    )


def _count_genes(counts: csr_matrix, mapping: GeneMapping | None) -> NDArray[np.int64]:
    """Different genes of the vocabulary, or variables, in each cell."""
    if mapping is None:
        return np.asarray(np.diff(counts.indptr), np.int64)
    mapped = np.flatnonzero(mapping.tokens >= 0)
    to_genes = csr_matrix((np.ones(len(mapped)), (mapped, mapping.tokens[mapped])),
                          shape=(mapping.n_vars, int(mapping.tokens.max()) + 1))  # fmt: skip
    genes: csr_matrix = (counts @ to_genes).tocsr()
    lengths: NDArray[np.int64] = np.diff(genes.indptr).astype(np.int64)
    return lengths
