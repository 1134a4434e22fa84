"""The errors of the live loop: what `append` refuses for the sake of order and identity.

`errors.py` has the whole tree, and is the module to import from.
"""

from __future__ import annotations

from eventstore.error_base import EventStoreError

__all__ = ["SequenceConflictError"]


class SequenceConflictError(EventStoreError):
    """`append` expected another number to be the last. Nothing was written.

    Somebody else appended since the content was made. Read the state again, decide anew, and append
    with its number.

    `expected` is the number that the caller named, `actual` the number of the last submitted event.
    """

    def __init__(self, message: str, *, expected: int, actual: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual
