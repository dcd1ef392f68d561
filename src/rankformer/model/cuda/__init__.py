"""Arithmetic for CUDA devices."""
