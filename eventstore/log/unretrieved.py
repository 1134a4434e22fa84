"""The failures of commits that nobody has awaited yet, kept for `flush` and `close`."""

from __future__ import annotations

import logging

from eventstore.model.operation import Receipt

__all__ = ["UnretrievedFailures"]

_logger = logging.getLogger("eventstore.log.commit")


class UnretrievedFailures:
    """Receipts of failed commits, kept until `flush` or `close` raises an outcome.

    `path` is the store's.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._failed: list[Receipt] = []

    def fail(self, failed: list[Receipt], error: Exception) -> None:
        """Resolve and log `failed`, and keep them.

        Of the receipts kept so far, only the first that nobody retrieved is kept.
        """
        for receipt in failed:
            receipt.resolve(error)
        self._failed = [receipt for receipt in self._failed if not receipt.retrieved][:1]
        self._failed += failed
        if failed:
            count = sum(receipt.seq - receipt.first_seq + 1 for receipt in failed)
            _logger.error("%s: %d events were not committed: %s", self._path, count, error)

    def raise_first(self) -> None:
        """Forget all receipts kept, and raise the first error that nobody retrieved."""
        failed, self._failed = self._failed, []
        for receipt in failed:
            if not receipt.retrieved and receipt.error is not None:
                raise receipt.error
