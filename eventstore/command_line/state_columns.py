"""Columns on the command line: places in a state, each with a name or without."""

from __future__ import annotations

import re
from typing import Any

import click

__all__ = ["COLUMNS", "NamedColumns"]

NamedColumns = list[tuple[str, str]]
"""Names, each with a place in the state."""

_COLUMN = re.compile(r"""(?:\[[^\]]*\]|'[^']*'|"[^"]*"|[^,\[])+""")
_NAMED = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)", re.DOTALL)


class _ColumnsType(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """Columns with commas between them, each a place, or `name=place`."""

    name = "columns"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> NamedColumns:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # converted before
        found = []
        for text in _COLUMN.findall(value):
            named = _NAMED.fullmatch(text)
            name, place = named.groups() if named else (text, text)
            found.append((name.strip(), place.strip()))
        if not all(place for _, place in found) or not found:
            self.fail(f"{value!r} names no column", param, ctx)
        return found


COLUMNS = _ColumnsType()
"""The type of an option that takes columns."""
