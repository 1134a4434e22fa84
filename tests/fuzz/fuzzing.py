"""Running the targets: inputs are drawn, run within limits, and failures say how to do it again.

``n`` inputs of a seed are those numbered from 0; the number and the seed make the input. An input
can also be given as text, as it is printed: it stays what it is when the generators change.
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
    """An input that a target did not take as it should; the message says how to run it again."""


def input_of(target: str, seed: int, number: int) -> bytes:
    """The input of that number."""
    return GENERATORS[target](Random(f"{target}/{seed}/{number}"))


def check(target: str, data: bytes, *, memory: bool = True) -> None:
    """Run one input. Raises whatever is no typed error, and what says that a limit was passed."""
    found = TARGETS[target]
    with limited(found.size(data), memory=memory):
        found.run(data)


def fuzz(target: str, runs: int, seed: int = 0, *, first: int = 0, memory: int = 4) -> int:
    """Run inputs ``first`` to ``first + runs`` of a seed; how many bytes they had.

    Memory is measured in every ``memory``-th. Raises :class:`FuzzError`.
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
                raise FuzzError(_told(target, seed, number, data, error)) from error
    finally:
        logging.disable(disabled)
    return size


def _told(target: str, seed: int, number: int, data: bytes, error: BaseException) -> str:
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
    """The input that a line says."""
    return zlib.decompress(base64.urlsafe_b64decode(text))
