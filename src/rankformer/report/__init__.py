"""The report: one page, complete in itself, of what a file and its embedding hold."""
