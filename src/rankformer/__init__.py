"""Geneformer embeddings of single cells."""
