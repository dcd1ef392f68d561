"""The vocabulary of a model, and its files."""
