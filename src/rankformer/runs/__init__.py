"""Long runs: cut into shards that are kept, gone on with after a stop, shared out, and merged."""
