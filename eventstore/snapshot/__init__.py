"""Snapshots: the state as of one sequence number, in a file of its own."""
