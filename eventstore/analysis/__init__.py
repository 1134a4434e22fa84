"""Analysis of a store: its events as tables, and its states over time.

All functions read beside a live engine, take no lock and change no byte of the store. A name's
module is imported when the name is first used, because the modules need different extras and none
of them is needed by an engine. A new name is one line in `_HOMES` and one import for type checkers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventstore.analysis.blaming import Blame, Change, blame
    from eventstore.analysis.report.writing import WrittenReport, write_report
    from eventstore.analysis.samples import Samples
    from eventstore.analysis.sampling import sample
    from eventstore.analysis.searching import Found, bisect, first
    from eventstore.model.differences import ABSENT

__all__ = [
    "ABSENT",
    "Blame",
    "Change",
    "Found",
    "Samples",
    "WrittenReport",
    "bisect",
    "blame",
    "first",
    "sample",
    "write_report",
]

_HOMES: dict[str, str] = {
    "ABSENT": "blaming",
    "Blame": "blaming",
    "Change": "blaming",
    "Found": "searching",
    "Samples": "samples",
    "WrittenReport": "report.writing",
    "bisect": "searching",
    "blame": "blaming",
    "first": "searching",
    "sample": "sampling",
    "write_report": "report.writing",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
