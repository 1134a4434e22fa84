"""The failures of commits that nobody has awaited yet, kept for `flush` and `close`."""

from __future__ import annotations

from eventstore.model.operation import Receipt

__all__ = ["UnretrievedFailures"]


class UnretrievedFailures:
    """Receipts of failed commits, kept until `flush` or `close` raises an outcome."""

    def __init__(self) -> None:
        self._failed: list[Receipt] = []

    def add(self, failed: list[Receipt]) -> None:
        """Keep `failed`, and of the receipts kept so far the first that nobody retrieved."""
        self._failed = [receipt for receipt in self._failed if not receipt.retrieved][:1]
        self._failed += failed

    def raise_first(self) -> None:
        """Forget all receipts kept, and raise the first error that nobody retrieved."""
        failed, self._failed = self._failed, []
        for receipt in failed:
            if not receipt.retrieved and receipt.error is not None:
                raise receipt.error
