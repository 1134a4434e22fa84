"""`Samples`: values of the state over time as rows, and the rows as a data frame."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

__all__ = ["Samples"]


class Samples(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `sample`.

    Attributes:
        columns: The names: `time`, `seq`, then the columns that were asked for.
        rows: One row for each step, exact. `time` is the step in nanoseconds since the epoch, UTC.
            `seq` is the last event at or before the step, `None` before the first event. A value
            that is not there is `None`.
        parted: With `compare`, the first event after which a column of the two registries differs,
            `None` if no column ever does.
    """

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    parted: int | None = None

    def to_arrow(self) -> Any:
        """Return the rows as a `pyarrow.Table`.

        Times become timestamps of nanoseconds in UTC. Decimals become floats, for a curve needs no
        more: the exact values are in `rows`. Columns of other values become text.

        Raises `ModuleNotFoundError` without pyarrow, which the extra `analysis` installs.
        """
        import pyarrow as pa

        values = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        arrays = [
            pa.array(values[0], pa.timestamp("ns", tz="UTC")),
            pa.array(values[1], pa.int64()),
            *(_array(pa, column) for column in values[2:]),
        ]
        return pa.table(dict(zip(self.columns, arrays, strict=True)))

    def to_polars(self) -> Any:
        """Return the rows as a `polars.DataFrame`. Raises `ModuleNotFoundError` without polars."""
        import polars

        return polars.from_arrow(self.to_arrow())

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame`. Raises `ModuleNotFoundError` without pandas."""
        return self.to_arrow().to_pandas()


def _array(pa: Any, values: tuple[Any, ...]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} or kinds <= {str}:
        return pa.array(values)
    if kinds <= {int} and all(value is None or abs(value) < 1 << 63 for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float, Decimal}:
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    return pa.array([None if one is None else str(one) for one in values], pa.string())
