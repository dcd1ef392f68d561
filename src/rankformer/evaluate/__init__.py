"""Evaluation of embeddings and predictions."""
