"""A quiet end where Ctrl-C interrupts the import of `python -m eventstore`: status 130."""

from __future__ import annotations

import os
import sys
from types import TracebackType

__all__ = ["end_quietly"]

INTERRUPTED = 130


def end_quietly() -> None:
    """Let the process end without a traceback where Ctrl-C came before the command began."""
    sys.excepthook = _ended


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if kind is KeyboardInterrupt:
        os._exit(INTERRUPTED)
    sys.__excepthook__(kind, error, trace)
