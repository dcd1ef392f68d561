"""Any source of counts, some cells at a time."""
