"""Geneformer embeddings of single cells: fast, faithful, and clear about what it did.

Names are imported on first use, so that ``import rankformer`` loads neither torch nor anndata.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankformer import tl
    from rankformer.annotate.reference import Reference, build_reference
    from rankformer.annotate.reference_files import open_reference, save_reference
    from rankformer.annotate.settings import NeighbourVote
    from rankformer.annotate.vote import annotate_cells
    from rankformer.cells.source import CellSource, CountChunk, open_cells
    from rankformer.checkpoints.checkpoint import Checkpoint
    from rankformer.checkpoints.finetuned import FineTunedModel
    from rankformer.checkpoints.known_models import KnownModel, list_models
    from rankformer.checkpoints.save import save_checkpoint
    from rankformer.corpus.build_vocabulary import build_vocabulary
    from rankformer.corpus.expression_sketch import ExpressionSketch
    from rankformer.corpus.sketch_expression import sketch_expression
    from rankformer.embed.cells import embed_cells
    from rankformer.embed.embedder import Embedder
    from rankformer.embed.gene_summary import summarize_genes
    from rankformer.errors import RankformerError
    from rankformer.evaluate.embedding_report import EmbeddingEvaluation
    from rankformer.evaluate.embeddings import evaluate_embeddings
    from rankformer.evaluate.expression_baselines import fit_baseline
    from rankformer.evaluate.finetuned import evaluate_finetuned
    from rankformer.evaluate.predictions import evaluate_predictions
    from rankformer.finetuning.classifier_report import ClassifierEvaluation, evaluate_classifier
    from rankformer.finetuning.finetune import cross_validate, finetune, search_hyperparameters
    from rankformer.finetuning.hyperparameters import FineTuningHyperparameters
    from rankformer.finetuning.settings import CellTask, FineTuningSettings, GeneTask
    from rankformer.geneformer import Geneformer, GeneformerConfig
    from rankformer.geneformer_finetuning import GeneformerFineTuningModel
    from rankformer.genes.mapping import GeneMapping
    from rankformer.genes.tables import GeneTable, read_gene_table
    from rankformer.model.encoder import Encoder, MaskedLanguageModel, PackedBatch
    from rankformer.model.spec import EncoderSpec
    from rankformer.pretraining.hyperparameters import PretrainingHyperparameters
    from rankformer.pretraining.pretrain import continue_model, draw_model, pretrain
    from rankformer.results.cell_embeddings import CellEmbeddings
    from rankformer.results.cell_labels import CellLabels, LabelledCells, write_cell_labels
    from rankformer.results.gene_embeddings import GeneSummary, GeneVectors
    from rankformer.tokens.gene_tokens import encode_rank_values, map_genes
    from rankformer.tokens.reading_options import ReadingOptions
    from rankformer.tokens.tokenize import open_tokens, tokenize_cells
    from rankformer.tokens.tokenized_cells import TokenizedCells, save_tokens
    from rankformer.training.split_plan import SplitPlan
    from rankformer.vocabulary.vocabulary import Vocabulary

_HOMES = {
    "CellSource": "cells.source",
    "CountChunk": "cells.source",
    "open_cells": "cells.source",
    "ExpressionSketch": "corpus.expression_sketch",
    "GeneTable": "genes.tables",
    "read_gene_table": "genes.tables",
    "GeneMapping": "genes.mapping",
    "TokenizedCells": "tokens.tokenized_cells",
    "save_tokens": "tokens.tokenized_cells",
    "RankformerError": "errors",
    "Geneformer": "geneformer",
    "GeneformerConfig": "geneformer",
    "GeneformerFineTuningModel": "geneformer_finetuning",
    "Checkpoint": "checkpoints.checkpoint",
    "save_checkpoint": "checkpoints.save",
    "Embedder": "embed.embedder",
    "GeneVectors": "results.gene_embeddings",
    "Encoder": "model.encoder",
    "MaskedLanguageModel": "model.encoder",
    "PackedBatch": "model.encoder",
    "FineTunedModel": "checkpoints.finetuned",
    "KnownModel": "checkpoints.known_models",
    "list_models": "checkpoints.known_models",
    "EncoderSpec": "model.spec",
    "NeighbourVote": "annotate.settings",
    "annotate_cells": "annotate.vote",
    "build_vocabulary": "corpus.build_vocabulary",
    "ClassifierEvaluation": "finetuning.classifier_report",
    "evaluate_classifier": "finetuning.classifier_report",
    "CellLabels": "results.cell_labels",
    "LabelledCells": "results.cell_labels",
    "write_cell_labels": "results.cell_labels",
    "CellEmbeddings": "results.cell_embeddings",
    "embed_cells": "embed.cells",
    "FineTuningSettings": "finetuning.settings",
    "cross_validate": "finetuning.finetune",
    "finetune": "finetuning.finetune",
    "search_hyperparameters": "finetuning.finetune",
    "CellTask": "finetuning.settings",
    "GeneTask": "finetuning.settings",
    "EmbeddingEvaluation": "evaluate.embedding_report",
    "evaluate_embeddings": "evaluate.embeddings",
    "evaluate_finetuned": "evaluate.finetuned",
    "evaluate_predictions": "evaluate.predictions",
    "fit_baseline": "evaluate.expression_baselines",
    "GeneSummary": "results.gene_embeddings",
    "summarize_genes": "embed.gene_summary",
    "encode_rank_values": "tokens.gene_tokens",
    "map_genes": "tokens.gene_tokens",
    "continue_model": "pretraining.pretrain",
    "draw_model": "pretraining.pretrain",
    "pretrain": "pretraining.pretrain",
    "FineTuningHyperparameters": "finetuning.hyperparameters",
    "PretrainingHyperparameters": "pretraining.hyperparameters",
    "Reference": "annotate.reference",
    "build_reference": "annotate.reference",
    "open_reference": "annotate.reference_files",
    "save_reference": "annotate.reference_files",
    "sketch_expression": "corpus.sketch_expression",
    "SplitPlan": "training.split_plan",
    "ReadingOptions": "tokens.reading_options",
    "open_tokens": "tokens.tokenize",
    "tokenize_cells": "tokens.tokenize",
    "Vocabulary": "vocabulary.vocabulary",
}

__all__ = [
    "CellEmbeddings",
    "CellLabels",
    "CellSource",
    "CellTask",
    "Checkpoint",
    "ClassifierEvaluation",
    "CountChunk",
    "Embedder",
    "EmbeddingEvaluation",
    "Encoder",
    "EncoderSpec",
    "ExpressionSketch",
    "FineTunedModel",
    "FineTuningHyperparameters",
    "FineTuningSettings",
    "GeneMapping",
    "GeneSummary",
    "GeneTable",
    "GeneTask",
    "GeneVectors",
    "Geneformer",
    "GeneformerConfig",
    "GeneformerFineTuningModel",
    "KnownModel",
    "LabelledCells",
    "MaskedLanguageModel",
    "NeighbourVote",
    "PackedBatch",
    "PretrainingHyperparameters",
    "RankformerError",
    "ReadingOptions",
    "Reference",
    "SplitPlan",
    "TokenizedCells",
    "Vocabulary",
    "annotate_cells",
    "build_reference",
    "build_vocabulary",
    "continue_model",
    "cross_validate",
    "draw_model",
    "embed_cells",
    "encode_rank_values",
    "evaluate_classifier",
    "evaluate_embeddings",
    "evaluate_finetuned",
    "evaluate_predictions",
    "finetune",
    "fit_baseline",
    "list_models",
    "map_genes",
    "open_cells",
    "open_reference",
    "open_tokens",
    "pretrain",
    "read_gene_table",
    "save_checkpoint",
    "save_reference",
    "save_tokens",
    "search_hyperparameters",
    "sketch_expression",
    "summarize_genes",
    "tl",
    "tokenize_cells",
    "write_cell_labels",
]


def __getattr__(name: str) -> Any:
    if name == "tl":
        return import_module("rankformer.tl")
    if name == "__version__":
        return _version("rankformer")
    if name in _HOMES:
        return getattr(import_module(f"rankformer.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rankformer' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
