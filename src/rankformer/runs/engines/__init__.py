"""Engines that compute the shards of a run in other processes: on this machine, or on a cluster."""
