"""One adapter for each way of keeping events. `benchmarks.peers.base` has the interface."""
