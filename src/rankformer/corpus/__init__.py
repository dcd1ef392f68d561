"""What is measured over all cells of a corpus."""
