"""Tokens in, hidden states out."""
