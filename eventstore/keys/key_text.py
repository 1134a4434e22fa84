r"""The text of a key, as recorded in an event and as given to `find`.

The class of an operation names its key: a field, several fields, or a function of the payload. Each
part becomes text. Several parts are joined by `:`. A `:` or `\` within a part is escaped by `\`, so
different tuples have different texts. The text is recorded with the event, so the keys of a log are
known without the classes.
"""

from __future__ import annotations

import datetime
import enum
import uuid
from decimal import Decimal
from typing import Any

from eventstore.errors import EventStoreError, InvalidPayloadError
from eventstore.foreign_values import cure_for, plain_scalar

__all__ = ["key_text"]

_MOST_DIGITS = 100
_MOST_BITS = 333


def key_text(value: Any, operation: str) -> str | None:
    r"""Return the text of a key's value, `None` for a payload without a key.

    The value is a text, a whole number, a `Decimal`, a UUID, a date or time, an enumeration of
    these, or a tuple or list of such parts. `None` stands for no key.

    Raises `InvalidPayloadError` for an empty text, for another type, and for `None` in a tuple.

    >>> key_text(("BTC:USDT", 7), "record_fill")
    'BTC\\:USDT:7'
    """
    if value is None:
        return None
    if type(value) is str and value:
        return value
    try:
        return _text(value, operation)
    except EventStoreError:
        raise
    except Exception as error:  # the value's own code, as of a time zone
        reason = f"a {type(value).__name__} that raised {type(error).__name__}"
        raise _unusable_error(reason, operation) from error


def _text(value: Any, operation: str) -> str:
    if isinstance(value, tuple | list):
        parts = [_part(part, operation) for part in value]
        if not parts:
            raise _unusable_error("an empty tuple", operation)
        if len(parts) > 1:
            return ":".join([part.replace("\\", "\\\\").replace(":", "\\:") for part in parts])
        return parts[0]
    return _part(value, operation)


def _part(value: Any, operation: str) -> str:
    if type(value) is str and value:
        return value
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        if value:
            return str(value)
        raise _unusable_error("an empty text", operation)
    if isinstance(value, bool) or not isinstance(
        value, int | Decimal | uuid.UUID | datetime.date | datetime.time
    ):
        plain = plain_scalar(value)
        if plain is not value:
            return _part(plain, operation)
        raise _unusable_error(f"a {type(value).__name__}", operation, cure_for(value))
    if isinstance(value, Decimal):
        return _decimal_text(value, operation)
    if isinstance(value, datetime.date) and value != value:  # noqa: PLR0124  a NaT of pandas
        raise _unusable_error("no moment", operation, cure_for(value))
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        try:
            value = value.astimezone(datetime.UTC)  # one text for one moment, as the log has it
        except OverflowError as error:
            reason = "a moment that is outside of the years 1 to 9999 in UTC"
            raise _unusable_error(reason, operation) from error
    if isinstance(value, int):
        return _integer_text(value, operation)
    return str(value) if isinstance(value, uuid.UUID) else value.isoformat()


def _integer_text(value: int, operation: str) -> str:
    if value.bit_length() > _MOST_BITS:
        raise _unusable_error(f"a number of {value.bit_length()} bits", operation)
    return str(int(value))


def _decimal_text(value: Decimal, operation: str) -> str:
    """Return the text of a number, one for `1.0`, `1` and `1E+0`, in no decimal context."""
    if not value.is_finite() or abs(value.adjusted()) > _MOST_DIGITS:
        raise _unusable_error(f"the number {value}", operation)
    text = f"{value:f}" if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _unusable_error(kind: str, operation: str, cure: str = "") -> InvalidPayloadError:
    advice = f"pass {cure}; " if cure else ""
    return InvalidPayloadError(
        f"{operation}: its key, or a part of it, is {kind}, which identifies nothing; {advice}"
        "nothing was written. A key is made of texts, whole numbers, decimals, UUIDs, dates and "
        "times; None stands for no key",
        operation=operation,
    )
