"""A sabotage of the product: which promise it breaks, where, and who is expected to notice.

A sabotage is an exact replacement of text, so that it goes stale loudly: where its snippet is not
found exactly once, the gate fails and says so, and whoever moved the code writes the snippet anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Sabotage", "StaleError"]


class StaleError(Exception):
    """A snippet that is not in the product any more, or more than once, or makes no Python."""


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """``edits``: file, what stands there, and what shall stand there instead.

    ``breaks``: the promise, in a few words. ``caught_by``: what to run first, as arguments of
    pytest; each is tried in turn until one fails.
    """

    name: str
    breaks: str
    edits: tuple[tuple[str, str, str], ...]
    caught_by: tuple[str, ...]

    @contextmanager
    def applied(self, root: Path) -> Iterator[None]:
        """The product under ``root``, sabotaged. Raises :class:`StaleError`."""
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
    """A file that cannot be imported would be noticed by anybody, and prove nothing."""
    try:
        compile(path.read_text("utf-8"), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise StaleError(f"{name}: {path} is not Python any more: {error}") from error


def edit(file: str, old: str, new: str) -> tuple[str, str, str]:
    """One replacement, in a file of the package."""
    return f"eventstore/{file}", old, new
