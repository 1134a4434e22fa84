"""A sabotage of the product: the broken promise, the place, and the tests expected to notice.

A sabotage is an exact replacement of text, and goes stale loudly. Where the snippet is not found
exactly once, the gate fails and says so. The author of a move then writes the snippet anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sabotage", "StaleError"]


class StaleError(Exception):
    """A snippet is no longer in the product, is there more than once, or makes no Python."""


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """One mistake. `edits` are replacements: the file, the present text, and the new text.

    `breaks` is the promise, in a few words. `caught_by` are the tests to run first, as
    arguments of pytest. Each is tried in turn until one fails.
    """

    name: str
    breaks: str
    edits: tuple[tuple[str, str, str], ...]
    caught_by: tuple[str, ...]

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """Sabotage the product under `root` inside the block. Raises `StaleError`."""
        before: dict[Path, str] = {}
        try:
            for name, old, new in self.edits:
                path = root / name
                text = path.read_text("utf-8")
                before.setdefault(path, text)
                if (found := text.count(old)) != 1:
                    raise StaleError(f"{self.name}: found {found} times in {name}:\n{old}")
                path.write_text(text.replace(old, new), "utf-8")
            for path in before:
                _check_syntax(self.name, path)
            yield
        finally:
            for path, text in before.items():
                path.write_text(text, "utf-8")


def _check_syntax(name: str, path: Path) -> None:
    """Refuse an edit that makes no Python: anybody would notice a file that cannot be imported."""
    try:
        compile(path.read_text("utf-8"), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise StaleError(f"{name}: {path} is not Python any more: {error}") from error


def edit(file: str, old: str, new: str) -> tuple[str, str, str]:
    """One replacement, in a file of the package."""
    return f"eventstore/{file}", old, new
