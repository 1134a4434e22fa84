"""The failures of commits that nobody has awaited yet, kept for `flush` and `close`."""

from __future__ import annotations

from eventstore.log.base import Record
from eventstore.operator_log import operator_log

__all__ = ["UnretrievedFailures"]

_logger = operator_log("eventstore.log.commit")


class UnretrievedFailures:
    """Failed records, kept until `flush` or `close` raises an outcome.

    `path` is the store's.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._failed: list[Record] = []

    def fail(self, failed: list[Record], error: Exception) -> None:
        """Resolve and log `failed`, and keep them.

        Of the records kept so far, only the first with an outcome that nobody retrieved is kept.
        """
        for record in failed:
            record.outcome.resolve(error)
        self._failed = [record for record in self._failed if _is_unretrieved(record)][:1]
        self._failed += failed
        if failed:
            count = sum(record.events for record in failed)
            _logger.error("%s: %d events were not committed: %s", self._path, count, error)

    def raise_first(self) -> None:
        """Forget all records kept, and raise the first error that nobody retrieved."""
        failed, self._failed = self._failed, []
        for record in failed:
            if _is_unretrieved(record) and record.outcome.error is not None:
                raise record.outcome.error


def _is_unretrieved(record: Record) -> bool:
    """Tell whether nobody was given the outcome of some submission of a record."""
    return len(record.outcome.retrieved) < len(record.entries)
