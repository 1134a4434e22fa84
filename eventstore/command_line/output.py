"""The output of a command: for a terminal, for a pipe, or as JSON.

On a terminal there are colours and aligned tables. In a pipe there is neither: a fact is
`name<TAB>value`, and rows are tab-separated lines under one header line. With `--json` an answer is
one object, with the member `schema`.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eventstore.analysis.plain_values import json_hook, within_json
from eventstore.errors import EventStoreError
from eventstore.recovery_and_stats import printable
from eventstore.tools.texts import size_text, time_text

__all__ = [
    "Output",
    "cell_text",
    "error_object",
    "json_text",
    "name_text",
    "size_text",
    "time_text",
    "value_text",
]


_WORD = re.compile(r"^\s*\S+|\S+")
_LONGEST_WORD = 40
"""Columns of a terminal that a word in a table may have before the word is broken."""


class _PipedConsole(Console):
    """A console that tells of a closed pipe. Rich alone ends the process with exit status 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Output:
    """The answer of one command.

    Attributes:
        name: The command's name, which `schema` names too.
        json: Whether JSON was asked for.
        terminal: Whether standard output is a terminal, and no JSON was asked for.
        console: The terminal, or a plain and wide substitute in a pipe.
    """

    def __init__(self, name: str, *, as_json: bool = False, color: str = "auto") -> None:
        self.name = name
        self.json = as_json
        self.terminal = not as_json and sys.stdout.isatty()
        coloured = color == "always" or (
            color == "auto" and self.terminal and not os.environ.get("NO_COLOR")
        )
        self.console = _PipedConsole(
            file=sys.stdout,
            force_terminal=coloured,
            no_color=not coloured,
            width=None if self.terminal else 1000,
            highlight=False,
        )

    def object(self, members: Mapping[str, Any], version: int = 1) -> None:
        """Print the one object of an answer in JSON."""
        self.write(json_text({"schema": f"eventstore.{self.name}/{version}", **members}))

    def write(self, line: str) -> None:
        """Print a line that was made printable before. The line waits in a buffer."""
        sys.stdout.write(line + "\n")

    def line(self, text: str, style: str | None = None) -> None:
        """Print a line of text, without cutting the line."""
        self.console.print(Text(printable(text), style=style or ""), soft_wrap=True)

    def facts(self, facts: Iterable[Sequence[Any]]) -> None:
        """Print facts: each a name and one value or more."""
        shown = [[printable(str(part)) for part in fact] for fact in facts]
        if not self.terminal:
            for fact in shown:
                self.write("\t".join(fact))
            return
        width = max((len(fact[0]) for fact in shown), default=0) + 2
        for fact in shown:
            self.console.print(f"  {escape(fact[0]):<{width}}{escape('  '.join(fact[1:]))}")

    def rows(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[str] = ()
    ) -> None:
        """Print rows under a header. The columns in `right` are numbers, on a terminal aligned."""
        names = [printable(name) for name in columns]
        lines = ([printable(str(part)) for part in row] for row in rows)
        if not self.terminal:
            for row in itertools.chain([names], lines):
                self.write("\t".join(row))
            return
        shown = list(lines)
        table, numbers = Table(box=None, pad_edge=False, header_style="bold"), frozenset(right)
        for column, name, *cells in zip(columns, names, *shown, strict=True):
            if column in numbers:
                table.add_column(escape(name), justify="right", no_wrap=True)
            else:  # a number or the name of a file is not broken
                words = [word for cell in (name, *cells) for word in _WORD.findall(cell)]
                longest = min(max(map(cell_len, words), default=0), _LONGEST_WORD)
                table.add_column(escape(name), overflow="fold", min_width=longest)
        for row in shown:
            table.add_row(*map(escape, row))
        self.console.print(table, crop=False)

    def flush(self) -> None:
        """Write out what waits in the buffer, for a reader that follows."""
        sys.stdout.flush()

    @staticmethod
    def say(text: str) -> None:
        """Print a line on standard error: a finding, a hint, the next command."""
        click.echo(printable(text), err=True)


def error_object(error: Exception) -> dict[str, Any]:
    """Return an error with its facts, for JSON."""
    found: dict[str, Any] = {"schema": "eventstore.error/1"}
    if isinstance(error, click.ClickException):
        return {**found, "error": "UsageError", "message": error.format_message()}
    facts = {
        name: value if isinstance(value, int | float | str | None) else str(value)
        for name, value in vars(error).items()
        if not name.startswith("_")
    }
    kind = type(error).__name__ if isinstance(error, EventStoreError) else "Error"
    return {**found, "error": kind, "message": str(error), **facts}


def json_text(value: Any) -> str:
    """Return JSON. A character that a terminal acts on is escaped, as JSON permits."""
    try:
        text = msgspec.json.encode(value, enc_hook=json_hook).decode()
    except (TypeError, ValueError, OverflowError):  # keys or numbers that JSON cannot hold
        text = msgspec.json.encode(within_json(value), enc_hook=json_hook).decode()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def cell_text(value: Any) -> str:
    """Return a plain value for a cell of a table: a map or a list as JSON, a number exactly.

    >>> cell_text({"USD": 270}), cell_text(1.5)
    ('{"USD":270}', '1.5')
    """
    return json_text(value) if isinstance(value, dict | list) else str(value)


def name_text(name: Any) -> str:
    """Return a name as it is, quoted where it could be taken for something else in the line."""
    text = str(name)
    return repr(text) if any(char.isspace() or char in "='\"" for char in text) else text


_WORDS = frozenset({"", "None", "True", "False"})


def value_text(value: Any) -> str:
    """Return a value for people. Text is quoted only where it could be taken for another value.

    >>> [value_text(value) for value in ("buy", "1.5", 1.5, "two words", [1])]
    ['buy', "'1.5'", '1.5', "'two words'", '[1]']
    """
    if not isinstance(value, str):
        return repr(value)
    if value in _WORDS or value[0] in "0123456789+-.[{(<":
        return repr(value)
    return name_text(value)
