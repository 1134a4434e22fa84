"""Standing warnings: trouble of an open store, told once at the beginning and once at the end.

A warning has a *kind*, such as `stall`. While a warning of a kind stands, a second one only
replaces the text. `stats().warnings` has the texts. The log has two lines for each warning, however
often the trouble is met.

Warnings come from the event loop, from the writer's thread and from background threads.
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

from eventstore.operator_log import OperatorLog

__all__ = ["StandingWarnings"]


class _Warning(NamedTuple):
    text: str
    logger: OperatorLog
    level: int


class StandingWarnings:
    """The warnings of the store at `path`."""

    def __init__(self, path: str) -> None:
        self.path: str = path
        self._standing: dict[str, _Warning] = {}
        self._lock = threading.RLock()  # a signal handler may ask for `stats()` at any instruction

    def begin(
        self, kind: str, text: str, logger: OperatorLog, *, level: int = logging.WARNING
    ) -> None:
        """Let a warning stand. Log the text with `logger` unless a warning of the kind stands."""
        with self._lock:
            told = kind in self._standing
            self._standing[kind] = _Warning(text, logger, level)
        if not told:
            logger.log(level, "%s: %s", self.path, text)

    def end(self, kind: str, text: str) -> None:
        """End the warning of a kind, and log `text`. Nothing happens where no warning stands."""
        if kind in self._standing:  # almost never, and then the lock decides
            with self._lock:
                ended = self._standing.pop(kind, None)
            if ended is not None:
                ended.logger.warning("%s: %s", self.path, text)

    def stands(self, kind: str) -> bool:
        """Return whether a warning of a kind stands."""
        return kind in self._standing

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the warnings that stand now, the oldest first."""
        with self._lock:
            return tuple(warning.text for warning in self._standing.values())
