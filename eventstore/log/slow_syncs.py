"""Slow syncs: one warning for a row of syncs that take long, and one more line at the end."""

from __future__ import annotations

from eventstore.operator_log import operator_log
from eventstore.standing_warnings import StandingWarnings

__all__ = ["SlowSyncs"]

_logger = operator_log("eventstore.log.writer")

_CALM = 60_000_000_000  # nanoseconds without a slow sync, after which the disk is well


class SlowSyncs:
    """The slow syncs of one log. Used on the writer's thread.

    `limit` is the time of a sync that is not slow, in nanoseconds. `until` is the end of the row
    of slow syncs, as far as known, and 0 outside of a row. The writer reads both, to save a call.
    """

    __slots__ = ("_warnings", "limit", "until")

    def __init__(self, seconds: float, warnings: StandingWarnings) -> None:
        self.limit: float = seconds * 1e9
        self.until = 0
        self._warnings = warnings

    def note(self, path: str, took: int, now: int) -> None:
        """Tell of a slow sync of the file `path`, or of the end after a minute without one."""
        if took > self.limit:
            self.until = now + _CALM
            self._warnings.begin(
                "slow sync",
                f"fdatasync of {path} took {took / 1e9:.3f} s: appends waited for it; is the disk "
                "overloaded?",
                _logger,
            )
        elif now > self.until:
            self.until = 0
            self._warnings.end("slow sync", f"no fdatasync was slow for {_CALM // 10**9} s")
