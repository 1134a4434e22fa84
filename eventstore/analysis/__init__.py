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
    from eventstore.analysis.data_frames import to_arrow, to_pandas, to_polars, write_parquet
    from eventstore.analysis.export_settings import ExportSettings
    from eventstore.analysis.exporting import Exported, ExportedTable, export_store
    from eventstore.analysis.report.entrance import WrittenReport, write_report
    from eventstore.analysis.samples import Samples
    from eventstore.analysis.sampling import sample
    from eventstore.analysis.searching import Found, bisect, first
    from eventstore.model.differences import ABSENT

__all__ = [
    "ABSENT",
    "Blame",
    "Change",
    "ExportSettings",
    "Exported",
    "ExportedTable",
    "Found",
    "Samples",
    "WrittenReport",
    "bisect",
    "blame",
    "export_store",
    "first",
    "sample",
    "to_arrow",
    "to_pandas",
    "to_polars",
    "write_parquet",
    "write_report",
]

_HOMES: dict[str, str] = {
    "ABSENT": "blaming",
    "Blame": "blaming",
    "Change": "blaming",
    "ExportSettings": "export_settings",
    "Exported": "exporting",
    "ExportedTable": "exporting",
    "Found": "searching",
    "Samples": "samples",
    "WrittenReport": "report.entrance",
    "bisect": "searching",
    "blame": "blaming",
    "export_store": "exporting",
    "first": "searching",
    "sample": "sampling",
    "to_arrow": "data_frames",
    "to_pandas": "data_frames",
    "to_polars": "data_frames",
    "write_parquet": "data_frames",
    "write_report": "report.entrance",
}
"""The module of each public name."""


if not TYPE_CHECKING:  # else a checker accepts every name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name != "pyarrow":
                raise
            raise ModuleNotFoundError(
                f"{__name__}.{name} needs pyarrow: pip install 'asyncio-eventstore[analysis]'",
                name=error.name,
            ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
