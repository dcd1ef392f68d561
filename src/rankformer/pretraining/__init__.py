"""Pretraining on unlabelled cells."""
