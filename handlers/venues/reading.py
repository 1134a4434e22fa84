"""Strict reading of a venue's message: typed fields, with the path in every refusal.

Theory of operation
-------------------
A message is plain data, as `json.loads` returns it. `Fields` is one object of the message. Each
method reads one field, and raises `VenueMessageError` unless the field has exactly the documented
form. The error names the path and keeps the whole message. Nothing is guessed: an absent field has
no default, except in the methods with a name that begins with `optional`. Messages are never
changed.

Numbers are read without rounding. A text or a `Decimal` is taken digit by digit, and a double
stands for the shortest decimal that gives the double back. Identifiers are texts or integers, never
doubles, since a double above 2**53 has already lost digits.

`only` refuses fields without documentation. A venue may add a field that changes the meaning of the
others, so unknown fields are ignored only by adapters with that setting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from typing import Literal, TypeVar

from handlers.errors import VenueMessageError

__all__ = ["BUY_SELL", "Fields", "PositionSide", "Side", "UnknownFields", "names", "plain"]

UnknownFields = Literal["refuse", "ignore"]
"""The treatment of a field without documentation."""

Side = Literal["buy", "sell"]
PositionSide = Literal["net", "long", "short"]

BUY_SELL: Mapping[str, Side] = {"buy": "buy", "sell": "sell"}

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_LONGEST_NUMBER = 200
_LARGEST_IDENTIFIER = 10**40

ValueT = TypeVar("ValueT")


def names(text: str) -> frozenset[str]:
    """Return the names of a table of known fields."""
    return frozenset(text.split())


def plain(number: Decimal) -> str:
    """Return a number as text without exponent and without zeros at the end.

    >>> plain(Decimal("5.00")), plain(Decimal("5E+1"))
    ('5', '50')
    """
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class Fields:
    """One object of a message.

    Attributes:
        message: The whole message, unchanged.
    """

    __slots__ = ("_path", "_unknown_fields", "_values", "message")

    def __init__(
        self,
        values: object,
        unknown_fields: UnknownFields,
        *,
        path: str = "$",
        message: object = None,
    ) -> None:
        self.message = values if message is None else message
        self._path = path
        self._unknown_fields = unknown_fields
        if not isinstance(values, Mapping):
            raise VenueMessageError(f"{path} is {_no_object(values)}", self.message)
        self._values: Mapping[object, object] = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the fields. Raises `VenueMessageError` for other keys."""
        for name in self._values:
            if not isinstance(name, str):
                raise VenueMessageError(f"{self._path} has a key that is no text", self.message)
            yield name

    def only(self, known: Collection[str]) -> Fields:
        """Return the object itself. Raises `VenueMessageError` for a field outside `known`."""
        unknown = [name for name in self if name not in known]
        if unknown and self._unknown_fields == "refuse":
            raise VenueMessageError(
                f"{self._path} has unknown fields: {', '.join(sorted(unknown))}. Their meaning is "
                'not known. unknown_fields="ignore" takes the message without them',
                self.message,
            )
        return self

    def refusal(self, reason: str, name: str | None = None) -> VenueMessageError:
        """Return the error of a field, or of the whole object."""
        place = self._path if name is None else f"{self._path}.{name}"
        return VenueMessageError(f"{place} {reason}", self.message)

    def raw(self, name: str) -> object:
        """Return a field unread. Raises `VenueMessageError` where the field is absent."""
        if name not in self._values:
            raise self.refusal("is missing", name)
        return self._values[name]

    def optional_raw(self, name: str) -> object:
        """Return a field unread, and `None` where the field is absent."""
        return self._values.get(name)

    def text(self, name: str) -> str:
        """Return a text that is not empty."""
        value = self.raw(name)
        if not isinstance(value, str) or not value:
            raise self.refusal(f"is no text: {_shown(value)}", name)
        return value

    def optional_text(self, name: str) -> str:
        """Return a text, and an empty one where the field is absent, null or empty."""
        return "" if self.absent(name) else self.text(name)

    def absent(self, name: str) -> bool:
        """Return whether a field is absent, null, or an empty text."""
        return self._values.get(name) in (None, "")

    def identifier(self, name: str) -> str:
        """Return an identity: a text, or an integer of zero or more as text."""
        value = self.raw(name)
        if isinstance(value, str) and value:
            return value
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and 0 <= value < _LARGEST_IDENTIFIER:  # type: ignore[operator]  # whole is an int
            return str(value)
        raise self.refusal(f"identifies nothing: {_shown(value)}", name)

    def optional_identifier(self, name: str) -> str:
        """Return an identity, and an empty text where the field is absent, null or empty."""
        return "" if self.absent(name) else self.identifier(name)

    def number(self, name: str) -> Decimal:
        """Return a finite number, exactly."""
        value = self.raw(name)
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            number = Decimal(value) if len(value) <= _LONGEST_NUMBER else None
        elif isinstance(value, float):
            number = Decimal(repr(value))
        elif isinstance(value, Decimal):
            number = value if len(value.as_tuple().digits) <= _LONGEST_NUMBER else None
        elif isinstance(value, int) and not isinstance(value, bool):
            number = Decimal(value) if abs(value) < 10**_LONGEST_NUMBER else None
        else:
            number = None
        if number is None or not number.is_finite():
            raise self.refusal(f"is no finite number: {_shown(value)}", name)
        if number and not -100 <= number.adjusted() <= 100:
            raise self.refusal(f"is beyond 1e-100 to 1e101: {_shown(value)}", name)
        return number

    def optional_number(self, name: str) -> Decimal | None:
        """Return a number, and `None` where the field is absent, null or empty."""
        return None if self.absent(name) else self.number(name)

    def positive(self, name: str) -> Decimal:
        """Return a number above zero."""
        number = self.number(name)
        if number <= 0:
            raise self.refusal(f"is not above zero: {_shown(number)}", name)
        return number

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise self.refusal(f"is neither true nor false: {_shown(value)}", name)
        return value

    def choice(self, name: str, meanings: Mapping[str, ValueT]) -> ValueT:
        """Return the meaning of a text. Raises `VenueMessageError` for a text without one."""
        value = self.raw(name)
        if not isinstance(value, str) or value not in meanings:
            raise self.refusal(f"is unknown: {_shown(value)}", name)
        return meanings[value]

    def time(self, name: str, form: Callable[[object], ValueT]) -> ValueT:
        """Return a time, read by a function of `handlers.venues.times`."""
        value = self.raw(name)
        try:
            return form(value)
        except ValueError as error:
            raise self.refusal(f"{error}: {_shown(value)}", name) from error

    def fields(self, name: str) -> Fields:
        """Return an object inside the object."""
        return self._inside(self.raw(name), f"{self._path}.{name}")

    def entries(self, name: str) -> list[Fields]:
        """Return a list of objects inside the object."""
        value = self.raw(name)
        if not isinstance(value, list | tuple):
            raise self.refusal(f"is no list: {_shown(value)}", name)
        path = f"{self._path}.{name}"
        return [self._inside(one, f"{path}[{index}]") for index, one in enumerate(value)]

    def _inside(self, values: object, path: str) -> Fields:
        return Fields(values, self._unknown_fields, path=path, message=self.message)

    @staticmethod
    def listed(message: object, unknown_fields: UnknownFields) -> list[Fields]:
        """Return the objects of a list, or the one object of another message."""
        if not isinstance(message, list | tuple):
            return [Fields(message, unknown_fields)]
        return [
            Fields(one, unknown_fields, path=f"$[{index}]", message=message)
            for index, one in enumerate(message)
        ]


def _no_object(value: object) -> str:
    if isinstance(value, str | bytes | bytearray):
        return "text, and no object. Read the frame first (json.loads)"
    return "no object"


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**100:
        return "an integer of more than 100 digits"
    return repr(value)[:80]
