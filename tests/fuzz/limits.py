"""Limits of a parser: so much memory, so many steps, and no error but typed ones.

Theory of operation
-------------------
*Memory* is the peak of tracemalloc above the level before. The limit is `MULTIPLE` times the
input plus `CONSTANT` bytes. The multiple is generous, because a byte of MessagePack may be an
empty map, and an object of Python has its cost. Still, a multiple proves the point: no length is
allocated that a file only *claims*. Allocations inside Zstandard are not seen. The limit of
Zstandard is 128 MiB for its window.

*Steps* are calls of functions, Python's and C's, counted by the interpreter. Every loop here calls
some function, so an endless loop runs into the limit, and no clock is needed. The limit raises no
`Exception`, because the code under test might handle an `Exception`.

*Errors*: `EventStoreError`, and the errors of the formats' pure functions. Any other error,
`MemoryError` and `RecursionError` included, is a failure.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from eventstore import EventStoreError
from eventstore.log.format import InvalidBytesError
from eventstore.snapshot.format import InvalidSnapshotError

__all__ = ["TYPED", "EndlessError", "GreedyError", "limited"]

TYPED = (EventStoreError, InvalidBytesError, InvalidSnapshotError)

MULTIPLE = 300
CONSTANT = 4 << 20
STEPS_PER_BYTE = 50
STEPS = 400_000


class EndlessError(BaseException):
    """More steps than any input of this size can need."""


class GreedyError(AssertionError):
    """More memory than any input of this size can need."""


@contextmanager
def limited(size: int, *, memory: bool = True) -> Iterator[None]:
    """Run the body on an input of `size` bytes: typed errors pass, limits are kept.

    `memory` asks to measure memory too, which makes the run several times slower.
    """
    allowed = CONSTANT + MULTIPLE * size
    if memory:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if memory else 0
    sys.setprofile(_counter(STEPS + STEPS_PER_BYTE * size))
    try:
        yield
    except TYPED:
        pass
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1] - before if memory else 0
        if memory:
            tracemalloc.stop()
    if peak > allowed:
        raise GreedyError(f"{peak} bytes were allocated for {size}: at most {allowed} are allowed")


def _counter(steps: int) -> Callable[[FrameType, str, Any], None]:
    left = steps

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            sys.setprofile(None)
            raise EndlessError(f"{steps} steps and no end, in {frame.f_code.co_qualname}")

    return count
