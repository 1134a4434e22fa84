"""Analysis of a store: its events as tables, and its states over time.

All functions read beside a live engine, take no lock and change no byte of the store. A name's
module is imported when the name is first used, because the modules need different extras and none
of them is needed by an engine. A new name is one line in `_HOMES` and one import for type checkers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventstore.analysis.report.writing import WrittenReport, write_report

__all__ = ["WrittenReport", "write_report"]

_HOMES: dict[str, str] = {
    "WrittenReport": "report.writing",
    "write_report": "report.writing",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
