"""The log: segments of records, group commit, recovery and reading."""
