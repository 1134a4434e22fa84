"""Read the prints of large runs behind an opening, when a look-up first misses them.

Theory of operation
-------------------
The prints are 5 bytes a key, so to read them takes longer for more keys. An opening therefore reads
the prints of small runs alone (`key_recovery.py`). A store that is opened, looked at and closed
reads no others. A look-up that misses prints reads a block of each run, off the loop, and so has
its answer at once. The first such look-up begins to read the prints, as detached work.
"""

from __future__ import annotations

from eventstore.detached_work import DetachedWork
from eventstore.errors import StoreClosedError
from eventstore.keys.index import KeyIndex
from eventstore.log.base import Log
from eventstore.operator_log import operator_log

__all__ = ["FingerprintLoading"]

_logger = operator_log("eventstore.store")


class FingerprintLoading:
    """The reading of the remaining prints of one open store, at most once."""

    def __init__(self, index: KeyIndex, log: Log) -> None:
        self._index = index
        self._log = log
        self._work: DetachedWork[None] | None = None

    def __repr__(self) -> str:
        state = "not begun" if self._work is None else "over" if self._work.done else "under way"
        return f"<FingerprintLoading of {self._log.path!r}: {state}>"

    def begin(self) -> None:
        """Begin to read the prints, unless they are in memory or were asked for before."""
        if self._work is None and not self._index.ready:
            self._work = DetachedWork(self._load(), self._ended)

    async def _load(self) -> None:
        for run in self._index.runs:
            await self._log.run(run.load_prints)

    def _ended(self, error: BaseException | None) -> None:
        """Say why prints could not be read. The look-ups are right all the same."""
        if error is not None and not isinstance(error, StoreClosedError):
            _logger.error(
                "%s: each look-up of a key reads the disk until the store is opened again: %s",
                self._log.path,
                error,
            )
