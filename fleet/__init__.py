"""The runtime's generation on many machines: workers draw shards, one process writes them in order."""
