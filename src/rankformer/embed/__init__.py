"""Embeddings of cells and genes."""
