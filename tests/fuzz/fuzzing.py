"""Running the targets: inputs are drawn and run within limits, and failures say how to repeat.

`n` inputs of a seed are those numbered from 0. The number and the seed make the input. An input
can also be given as printed text. Such an input stays the same when the generators change.
"""

from __future__ import annotations

import base64
import logging
import zlib
from random import Random

from tests.fuzz.inputs import GENERATORS
from tests.fuzz.limits import EndlessError, limited
from tests.fuzz.targets import TARGETS

__all__ = ["FuzzError", "as_text", "check", "fuzz", "input_of", "of_text"]

_LINE = 2000


class FuzzError(AssertionError):
    """A target failed on an input. The message says how to run the input again."""


def input_of(target: str, seed: int, number: int) -> bytes:
    """Return the input of a number."""
    return GENERATORS[target](Random(f"{target}/{seed}/{number}"))


def check(target: str, data: bytes, *, memory: bool = True) -> None:
    """Run one input. Raises any error but a typed one, also for a passed limit."""
    found = TARGETS[target]
    with limited(found.size(data), memory=memory):
        found.run(data)


def fuzz(target: str, runs: int, seed: int = 0, *, first: int = 0, memory: int = 4) -> int:
    """Run inputs `first` to `first + runs` of a seed. Returns their bytes.

    Memory is measured in every `memory`-th. Raises `FuzzError`.
    """
    size = 0
    disabled = logging.root.manager.disable
    logging.disable()
    try:
        for number in range(first, first + runs):
            data = input_of(target, seed, number)
            size += len(data)
            try:
                check(target, data, memory=number % memory == 0)
            except (Exception, EndlessError) as error:
                raise FuzzError(_describe_failure(target, seed, number, data, error)) from error
    finally:
        logging.disable(disabled)
    return size


def _describe_failure(
    target: str, seed: int, number: int, data: bytes, error: BaseException
) -> str:
    again = f"python -m tests.fuzz {target} --seed {seed} --first {number} --runs 1"
    text = as_text(data)
    shown = (
        f"python -m tests.fuzz {target} --input {text}"
        if len(text) <= _LINE
        else f"its {len(data)} bytes are too long for a line"
    )
    return f"{target}: {type(error).__name__}: {str(error)[:300]}\n  {again}\n  {shown}"


def as_text(data: bytes) -> str:
    """An input on one line."""
    return base64.urlsafe_b64encode(zlib.compress(data, 9)).decode()


def of_text(text: str) -> bytes:
    """Return the input of a printed line."""
    return zlib.decompress(base64.urlsafe_b64decode(text))
