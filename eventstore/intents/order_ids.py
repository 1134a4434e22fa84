"""Client order ids made by the store.

An id is `<store>-<opening>-<number>`, such as `k3f9-7QZ2M1-4372`: four characters of the store's
identity, six drawn anew at every opening for writing, and the number of the event. At most 32
characters of `[A-Za-z0-9-]` fit every venue.

The middle part has a reason. Numbers repeat after a restore, and in a copied directory. Many
venues forget the ids of filled orders. Such a venue would accept a repeated id, or answer for the
older order.
"""

from __future__ import annotations

import hashlib
import re
import string
import uuid
from collections.abc import Callable

__all__ = ["OrderIds", "number_in", "opening_of_time"]

_STORE = string.digits + string.ascii_lowercase
_OPENING = string.digits + string.ascii_uppercase
_FORM = re.compile(r"[0-9a-z]{4}-[0-9A-Z]{6}-([1-9][0-9]{0,19})")


class OrderIds:
    """The maker of ids for one opening of a store.

    `store` is the store's identity, `None` for a store in memory. `draw` gives bytes for the middle
    part, and is called when the first id is made.
    """

    def __init__(self, store: uuid.UUID | None, draw: Callable[[], bytes]) -> None:
        self._store = "mem0" if store is None else _spelled(store.bytes, _STORE, 4)
        self._draw = draw
        self._prefix = ""

    @property
    def prefix(self) -> str:
        """The part of an id in front of the number."""
        if not self._prefix:
            self._prefix = f"{self._store}-{_spelled(self._draw(), _OPENING, 6)}-"
        return self._prefix

    def make(self, seq: int) -> str:
        """Return the id of the intent of event `seq`."""
        return f"{self.prefix}{seq}"


def number_in(name: str) -> int | None:
    """Return the number in an id of the form above, `None` for any other id.

    >>> number_in("k3f9-7QZ2M1-4372"), number_in("my-order-7")
    (4372, None)
    """
    found = _FORM.fullmatch(name)
    return None if found is None else int(found[1])


def opening_of_time(path: str, seq: int, time: int) -> bytes:
    """Return bytes for the middle part of a store in memory.

    A backtest with a simulated clock makes the same ids in every run. With the machine's clock, no
    two stores make the same ids.
    """
    return hashlib.blake2b(f"{path} {seq} {time}".encode(), digest_size=16).digest()


def _spelled(data: bytes, alphabet: str, length: int) -> str:
    """Spell a number in the letters of `alphabet`."""
    number = int.from_bytes(data, "little")
    letters = []
    for _ in range(length):
        number, index = divmod(number, len(alphabet))
        letters.append(alphabet[index])
    return "".join(letters)
