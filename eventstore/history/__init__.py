"""A store's history: read, replayed, folded to a moment, branched from, and branches compared."""

from eventstore.history.branch import branch
from eventstore.history.compare import ABSENT, Comparison, Difference, compare, differences
from eventstore.reading.replay import read_events, replay, state_at

__all__ = [
    "ABSENT",
    "Comparison",
    "Difference",
    "branch",
    "compare",
    "differences",
    "read_events",
    "replay",
    "state_at",
]
