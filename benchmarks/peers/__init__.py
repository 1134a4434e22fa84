"""One adapter for each way of keeping events; see :mod:`benchmarks.peers.base`."""
