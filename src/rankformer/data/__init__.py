"""Cells in, tokens out."""
