"""From identifiers to the genes of a vocabulary."""
