"""The situations that docs/operations.md quotes, and what the product says in each.

A situation is a function that runs in an empty directory, and returns the output. The page has the
output in the block below `<!-- said: NAME -->`. What differs from run to run, such as a number of a
process, is written over on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import textwrap
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from eventstore import EventStore, EventStoreError, SimulatedClock
from eventstore.command_line.all_commands import commands
from handlers import UpdatePosition, trading_registry

__all__ = [
    "PAGE",
    "SITUATIONS",
    "START",
    "command",
    "failing",
    "filled",
    "hold",
    "logged",
    "output_of",
    "said_on",
    "situation",
    "told",
    "warned",
]

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
START = 1_772_461_800 * 10**9
WIDTH = 100

Situation = Callable[[], "str | Awaitable[str]"]
SITUATIONS: dict[str, Situation] = {}

_VARYING = (
    (
        re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"),
        "9f6f4784-6b6b-49f3-b8b9-95694912dc5d",
    ),
    (re.compile(r"\b[0-9a-f]{64}\b"), "6e2a9c01d2f4b877" * 4),
    (re.compile(r"\b[0-9a-f]{32}(?=\.\d+\.)"), "9f6f47846b6b49f3b8b995694912dc5d"),
    (re.compile(r"(?<=\.)[0-9a-f]{8}\.(?=\d+\.)"), "0a1b2c3d."),
    (re.compile(r"(?<=[.\d])\.[0-9a-f]{8}\b"), ".9c1be07a"),
    (re.compile(r"process \d+ \([^)]*\)"), "process 6636 (python bot.py)"),
    (re.compile(r"process \(\d+\)"), "process (6636)"),
    (re.compile(r"process \d+ on \S+"), "process 6636 on bot-7f9c"),
    (re.compile(r"127\.0\.0\.1:\d+"), "10.0.0.1:4222"),
    (re.compile(r"\('127\.0\.0\.1', \d+\)"), "('10.0.0.1', 4222)"),
    (re.compile(r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "since 2026-03-02 14:30:00Z"),
    (re.compile(r"-\d{8}T\d{6}Z"), "-20260302T200500Z"),
    (re.compile(r"\b(?!90)\d+\.\d{3} s\b"), "0.250 s"),
    (re.compile(r"(?<=answered for )\d+\.\d s\b"), "0.5 s"),
    (re.compile(r"\.[0-9a-f]{8}\.tmp"), ".6dde065f.tmp"),
)


def situation(name: str) -> Callable[[Situation], Situation]:
    """Register a situation under the name of its block."""

    def registered(function: Situation) -> Situation:
        assert name not in SITUATIONS, name
        SITUATIONS[name] = function
        return function

    return registered


def output_of(name: str) -> str:
    """Run a situation in the working directory, and return its output as the page has it."""
    answer = SITUATIONS[name]()
    if inspect.isawaitable(answer):
        answer = asyncio.run(_awaited(answer))
    assert isinstance(answer, str)
    return _written_over(answer).rstrip()


def _written_over(text: str) -> str:
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return text


async def _awaited(answer: Awaitable[str]) -> str:
    return await answer


_BLOCK = re.compile(r"<!-- said: (?P<name>[\w -]+) -->\n```\n(?P<text>.*?)```\n", re.DOTALL)


def said_on(page: str) -> dict[str, str]:
    """Return the quoted outputs of a page, by the name of the situation."""
    return {found["name"]: found["text"].rstrip() for found in _BLOCK.finditer(page)}


def told(error: Exception | str) -> str:
    """Return an error as the last line of a traceback, wrapped."""
    line = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    wrapper = textwrap.TextWrapper(
        WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(_written_over(line))


async def failing(call: Awaitable[Any]) -> str:
    """Await a call that fails, and return the error."""
    try:
        ended = await call
    except EventStoreError as error:
        return told(error)
    if isinstance(ended, EventStore):
        await ended.close()
    raise AssertionError("nothing failed")


def hold(shares: int = 100) -> UpdatePosition:
    return UpdatePosition(symbol="AAPL", shares=shares, price=150.0)


async def filled(path: str = "engine-state", events: int = 3, **options: Any) -> None:
    """Make a store with some events, one a minute."""
    clock = SimulatedClock(START)
    snapshot = options.pop("snapshot", False)
    options.setdefault("auto_save_interval", None)
    options.setdefault("slow_sync", 3600.0)
    async with EventStore.open(path, trading_registry(), clock=clock, **options) as store:
        for number in range(store.seq + 1, store.seq + events + 1):
            await store.append(hold(number))
            clock.advance(60.0)
        if snapshot:
            await store.snapshot()


def command(line: str) -> str:
    """Run a command, and return the command line with what it prints and its exit status."""
    result = CliRunner().invoke(commands, line.split()[1:])
    text = f"$ {line}\n{result.stdout}{result.stderr}"
    return text if result.exit_code == 0 else f"{text}$ echo $?\n{result.exit_code}"


@contextlib.contextmanager
def logged() -> Iterator[list[str]]:
    """Give the warnings and errors that are logged in the block, wrapped."""
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            line = f"{record.levelname} {record.name}: {record.getMessage()}"
            lines.append(told(line))

    kept, logger = Kept(logging.WARNING), logging.getLogger("eventstore")
    logger.addHandler(kept)
    try:
        yield lines
    finally:
        logger.removeHandler(kept)


@contextlib.contextmanager
def warned() -> Iterator[list[str]]:
    """Give the warnings of Python in the block, wrapped."""
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield lines
        lines += [told(f"{one.category.__name__}: {one.message}") for one in found]
