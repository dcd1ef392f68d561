"""Geneformer embeddings of single cells: fast, faithful, and clear about what it did.

Names are imported on first use, so that ``import rankformer`` loads neither torch nor anndata.
"""

from importlib import import_module
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankformer import tl
    from rankformer.data.cells import CellSource, CountChunk, open_cells
    from rankformer.data.expression_sketch import ExpressionSketch
    from rankformer.data.gene_tables import GeneTable, read_gene_table
    from rankformer.data.genes import GeneMapping
    from rankformer.data.tokens import TokenizedCells, save_tokens
    from rankformer.errors import RankformerError
    from rankformer.geneformer import Geneformer, GeneformerConfig
    from rankformer.geneformer_finetuning import GeneformerFineTuningModel
    from rankformer.model.checkpoint import Checkpoint
    from rankformer.model.checkpoint_folder import save_checkpoint
    from rankformer.model.embedder import Embedder, GeneVectors
    from rankformer.model.encoder import Encoder, MaskedLanguageModel, PackedBatch
    from rankformer.model.finetuned import FineTunedModel
    from rankformer.model.known_models import KnownModel, list_models
    from rankformer.model.spec import EncoderSpec
    from rankformer.tasks.annotate import NeighbourVote, annotate_cells
    from rankformer.tasks.build_vocabulary import build_vocabulary
    from rankformer.tasks.cell_labels import CellLabels, LabelledCells, write_cell_labels
    from rankformer.tasks.classifier_report import ClassifierEvaluation, evaluate_classifier
    from rankformer.tasks.embed import CellEmbeddings, embed_cells
    from rankformer.tasks.embedding_report import EmbeddingEvaluation
    from rankformer.tasks.evaluate_embeddings import evaluate_embeddings
    from rankformer.tasks.evaluate_finetuned import evaluate_finetuned
    from rankformer.tasks.evaluate_predictions import evaluate_predictions
    from rankformer.tasks.expression_baselines import fit_baseline
    from rankformer.tasks.finetune import (
        FineTuningSettings,
        cross_validate,
        finetune,
        search_recipe,
    )
    from rankformer.tasks.finetuning_material import CellTask, GeneTask
    from rankformer.tasks.gene_summary import GeneSummary, summarize_genes
    from rankformer.tasks.gene_tokens import encode_rank_values, map_genes
    from rankformer.tasks.pretrain import continue_model, draw_model, pretrain
    from rankformer.tasks.recipes import FineTuningRecipe, Recipe
    from rankformer.tasks.reference import Reference, build_reference
    from rankformer.tasks.reference_files import open_reference, save_reference
    from rankformer.tasks.sketch_expression import sketch_expression
    from rankformer.tasks.splits import SplitPlan
    from rankformer.tasks.tokenize import ReadingOptions, open_tokens, tokenize_cells
    from rankformer.vocabulary import Vocabulary

_HOMES = {
    "CellSource": "data.cells",
    "CountChunk": "data.cells",
    "open_cells": "data.cells",
    "ExpressionSketch": "data.expression_sketch",
    "GeneTable": "data.gene_tables",
    "read_gene_table": "data.gene_tables",
    "GeneMapping": "data.genes",
    "TokenizedCells": "data.tokens",
    "save_tokens": "data.tokens",
    "RankformerError": "errors",
    "Geneformer": "geneformer",
    "GeneformerConfig": "geneformer",
    "GeneformerFineTuningModel": "geneformer_finetuning",
    "Checkpoint": "model.checkpoint",
    "save_checkpoint": "model.checkpoint_folder",
    "Embedder": "model.embedder",
    "GeneVectors": "model.embedder",
    "Encoder": "model.encoder",
    "MaskedLanguageModel": "model.encoder",
    "PackedBatch": "model.encoder",
    "FineTunedModel": "model.finetuned",
    "KnownModel": "model.known_models",
    "list_models": "model.known_models",
    "EncoderSpec": "model.spec",
    "NeighbourVote": "tasks.annotate",
    "annotate_cells": "tasks.annotate",
    "build_vocabulary": "tasks.build_vocabulary",
    "ClassifierEvaluation": "tasks.classifier_report",
    "evaluate_classifier": "tasks.classifier_report",
    "CellLabels": "tasks.cell_labels",
    "LabelledCells": "tasks.cell_labels",
    "write_cell_labels": "tasks.cell_labels",
    "CellEmbeddings": "tasks.embed",
    "embed_cells": "tasks.embed",
    "FineTuningSettings": "tasks.finetune",
    "cross_validate": "tasks.finetune",
    "finetune": "tasks.finetune",
    "search_recipe": "tasks.finetune",
    "CellTask": "tasks.finetuning_material",
    "GeneTask": "tasks.finetuning_material",
    "EmbeddingEvaluation": "tasks.embedding_report",
    "evaluate_embeddings": "tasks.evaluate_embeddings",
    "evaluate_finetuned": "tasks.evaluate_finetuned",
    "evaluate_predictions": "tasks.evaluate_predictions",
    "fit_baseline": "tasks.expression_baselines",
    "GeneSummary": "tasks.gene_summary",
    "summarize_genes": "tasks.gene_summary",
    "encode_rank_values": "tasks.gene_tokens",
    "map_genes": "tasks.gene_tokens",
    "continue_model": "tasks.pretrain",
    "draw_model": "tasks.pretrain",
    "pretrain": "tasks.pretrain",
    "FineTuningRecipe": "tasks.recipes",
    "Recipe": "tasks.recipes",
    "Reference": "tasks.reference",
    "build_reference": "tasks.reference",
    "open_reference": "tasks.reference_files",
    "save_reference": "tasks.reference_files",
    "sketch_expression": "tasks.sketch_expression",
    "SplitPlan": "tasks.splits",
    "ReadingOptions": "tasks.tokenize",
    "open_tokens": "tasks.tokenize",
    "tokenize_cells": "tasks.tokenize",
    "Vocabulary": "vocabulary",
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
    "FineTuningRecipe",
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
    "RankformerError",
    "ReadingOptions",
    "Recipe",
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
    "search_recipe",
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
