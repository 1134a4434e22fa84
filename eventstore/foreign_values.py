"""Values of numpy, pandas and others: the exact plain value, and the cure where there is none.

Prices come out of data frames as `numpy.float64`, and times as `pandas.Timestamp`. Such a scalar is
recorded as the equal plain value. A value without an equal plain value is refused with a cure: an
expression that makes a plain value. So the caller decides to lose digits, nanoseconds or the shape
of an array.

No library is imported here. Values of a library exist only where the library is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["cure_for", "nanosecond_of", "plain_scalar", "with_plain_scalars"]

_PLAIN: dict[str, type[Any]] = {
    "f": float,
    "i": int,
    "u": int,
    "b": bool,
    "U": str,
    "S": bytes,
}
"""The plain type for each kind of a numpy `dtype`."""

_FINE = ("ns]", "ps]", "fs]", "as]")
"""Ends of the names of `datetime64` types finer than a `datetime`."""

_FOREIGN = frozenset(("numpy", "pandas", "polars", "pyarrow", "torch"))
"""Packages with scalars that look like plain values."""

_PANDAS = {
    "Timedelta": "value.to_pytimedelta()",
    "NaTType": "None",
    "NAType": "None",
    "DataFrame": 'value.to_dict("records")',
}


def cure_for(value: Any) -> str:
    """Return the expression that makes a plain value of `value`, an empty text where none is known.

    >>> class Price(float): ...
    >>> cure_for(Price(1.5)), cure_for(1.5)
    ('float(value)', '')
    """
    try:
        return _cure(value)
    except Exception:  # noqa: BLE001  of an object whose own code raises when it is asked anything
        return ""


def _cure(value: Any) -> str:
    kind = type(value)
    if kind.__module__.partition(".")[0] not in _FOREIGN:
        for plain in (str, int, float, bytes):
            if isinstance(value, plain) and kind is not plain and kind is not bool:
                return f"{plain.__name__}(value)"
        return ""
    if kind.__name__ in _PANDAS:
        return _PANDAS[kind.__name__]
    if kind.__name__ == "Timestamp":
        if value.tzinfo is None:
            return 'value.tz_localize("UTC")'
        return 'value.floor("us")' if value.nanosecond else "value.to_pydatetime()"
    if getattr(value, "ndim", 0):
        return "value.tolist()"
    code = getattr(getattr(value, "dtype", None), "kind", "")
    if code == "M":
        missing = value != value  # noqa: PLR0124  whether the moment is NaT
        return "None" if missing else 'value.astype("datetime64[us]")'
    if code == "m":
        return 'value.astype("timedelta64[us]").item()'
    if code in _PLAIN:
        return f"{_PLAIN[code].__name__}(value)"
    return "value.as_py()" if hasattr(value, "as_py") else "value.item()"


def plain_scalar(value: Any) -> Any:
    """Return the plain value equal to a scalar of numpy, or to a `Timestamp` of pandas.

    Numbers, texts and bytes of numpy become plain ones. A `datetime64` becomes an aware `datetime`,
    because numpy counts from the epoch in UTC. A `Timestamp` becomes a `datetime` of the same time
    zone. Any other value is returned unchanged, as is a scalar without an equal plain value.
    """
    try:
        if _is_of("numpy", "generic", value):
            code = value.dtype.kind
            if code == "M":
                return _aware(value)
            if code in _PLAIN:
                plain = _PLAIN[code](value)
                if plain == value or value != value:  # noqa: PLR0124  a NaN equals nothing
                    return plain
        elif _is_of("pandas", "Timestamp", value) and not value.nanosecond:
            return value.to_pydatetime()
    except Exception:  # noqa: BLE001  a year that no datetime has, or code of a subclass
        return value
    return value


def with_plain_scalars(data: Any) -> Any:
    """Copy plain data, with scalars of numpy and pandas made plain by `plain_scalar`.

    A list within itself, and any data too deep for a walk, stays the same.
    """
    try:
        if isinstance(data, Mapping):
            return {plain_scalar(key): with_plain_scalars(part) for key, part in data.items()}
        if type(data) in (list, tuple, set, frozenset):
            return type(data)(map(with_plain_scalars, data))
    except Exception:  # noqa: BLE001  the data's own code, or the depth of the data
        return data
    return plain_scalar(data)


def nanosecond_of(value: Any) -> int | None:
    """Return the nanoseconds since the epoch of a `datetime64` of nanoseconds or finer.

    Returns `None` for any other value, and for a `datetime64` between two nanoseconds.
    """
    if not _is_of("numpy", "datetime64", value) or not value.dtype.str.endswith(_FINE):
        return None
    whole = value.astype("datetime64[ns]")
    return whole.item() if whole.astype(value.dtype) == value else None


def _aware(value: Any) -> Any:
    """Return the aware `datetime` equal to a `datetime64`, or the `datetime64` without one."""
    cut = value.astype("datetime64[us]")
    if cut.astype(value.dtype) == value and isinstance(moment := cut.item(), datetime):
        return moment.replace(tzinfo=UTC)
    return value


def _is_of(library: str, name: str, value: Any) -> bool:
    """Whether `value` is an instance of a class of a library, loaded or not."""
    kind = getattr(sys.modules.get(library), name, None)
    return isinstance(kind, type) and isinstance(value, kind)
