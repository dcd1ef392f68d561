"""Results on disk and in AnnData."""
