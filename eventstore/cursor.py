"""Cursors: a place in one history, which tells the history from every other.

Theory of operation
-------------------
The number of an event is a place in whatever history a store has. A history can change other than
by appending: an older copy is restored, a copy is written in two places, a crash takes events that
no sync had reached. Then other events get the same numbers, and a reader that only kept a number
goes on in another history.

A cursor therefore names the store, the *timeline* (`eventstore/timelines.py`), the number of
an event, and the checksum of the event. A cursor stands behind its event: reading on from a cursor
gives the event with the next number, or `HistoryForkedError`.

The checksum is the CRC-32 of the event's own MessagePack bytes. Log, archive and memory hold the
same bytes. Number and time of an event are among the bytes.
"""

from __future__ import annotations

import re
import uuid
import zlib
from typing import Any, NamedTuple

import msgspec

from eventstore.arguments import argument_error

__all__ = ["Cursor", "checksum_at", "checksum_of"]

_TEXT = re.compile(
    r"([0-9a-f]{32})\.([1-9][0-9]{0,8})\.([0-9a-f]{8})\.(0|[1-9][0-9]{0,18})\.([0-9a-f]{8}|-)"
)
_decode_items = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class Cursor(NamedTuple):
    """A place in one history, right behind an event.

    `store.cursor` gives the place behind the last durable event. `str(cursor)` is one short line
    of text, and `Cursor.parse` reads the text back. Everywhere a number or a time is taken, a
    cursor is taken too.

    Attributes:
        store: The UUID of the store.
        timeline: The number of the timeline that the event was appended in.
        timeline_id: The random identity of the timeline, eight hexadecimal digits.
        seq: The sequence number of the event, 0 for the place before the first event.
        checksum: The CRC-32 of the event's bytes. `None` where the event is gone from the store,
            and for number 0.

    >>> text = "6fa459eaee8a3ca4894edb77e160355e.1.6fa459ea.4371.9c1be07a"
    >>> cursor = Cursor.parse(text)
    >>> cursor.timeline, cursor.seq, str(cursor) == text
    (1, 4371, True)
    """

    store: uuid.UUID
    timeline: int
    timeline_id: str
    seq: int
    checksum: int | None = None

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read a cursor from the text that `str(cursor)` gave. Raises `ConfigError`."""
        given: Any = text
        found = _TEXT.fullmatch(given.strip()) if isinstance(given, str) else None
        if found is None:
            raise argument_error(
                "cursor",
                text,
                "is no cursor: expected the text of one, with five parts between dots, as "
                "str(store.cursor) gives it",
            )
        store, timeline, identity, seq, checksum = found.groups()
        return cls(
            uuid.UUID(store),
            int(timeline),
            identity,
            int(seq),
            None if checksum == "-" else int(checksum, 16),
        )

    def checked(self, argument: str) -> Cursor:
        """Return the cursor. Raises `ConfigError` for one that no text stands for."""
        try:
            if Cursor.parse(str(self)) == self:
                return self
        except (ValueError, TypeError, AttributeError):  # of a part of another type
            pass
        raise argument_error(
            argument,
            tuple(self),
            "is no cursor of a store: pass store.cursor, event by event subscription.cursor, or "
            "Cursor.parse(text)",
        )

    def __str__(self) -> str:
        checksum = "-" if self.checksum is None else f"{self.checksum:08x}"
        return f"{self.store.hex}.{self.timeline}.{self.timeline_id}.{self.seq}.{checksum}"

    def __repr__(self) -> str:
        return f"<Cursor {self}>"


def checksum_of(event: bytes | msgspec.Raw) -> int:
    """Return the checksum of one event, which is given as its own MessagePack bytes."""
    return zlib.crc32(event)


def checksum_at(array: bytes, index: int) -> int:
    """Return the checksum of the event at `index` of a MessagePack array of events."""
    items: list[Any] = _decode_items(array)
    return checksum_of(items[index])
