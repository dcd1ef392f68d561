"""Arithmetic for CPUs."""
