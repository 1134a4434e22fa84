"""Messages of both processes to the demonstration: one JSON object a line, written at once.

Each line goes through a pipe in a single `write` call, and the worker buffers nothing. Bytes in a
pipe survive the death of the writer. So the worker did send, before the kill, every line that the
parent reads.
"""

from __future__ import annotations

import os

import msgspec

from eventstore.recovery_and_stats import RecoveryReport, StoreStats

__all__ = [
    "Acknowledged",
    "Failed",
    "Finished",
    "Followed",
    "Message",
    "Opening",
    "Progress",
    "Ready",
    "Sent",
    "decode",
    "send",
]


class Opening(msgspec.Struct, frozen=True, tag=True):
    """The store is about to be opened."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The store is open, and its content agrees with the tape.

    `in_doubt` counts the orders that were sent before the last kill and have no fill yet.
    """

    recovery: RecoveryReport
    in_doubt: int = 0


class Sent(msgspec.Struct, frozen=True, tag=True):
    """All orders up to event `seq` are durable, and their fills are not recorded yet."""

    seq: int


class Acknowledged(msgspec.Struct, frozen=True, tag=True):
    """All events up to `seq` are durable, according to the store."""

    seq: int


class Progress(msgspec.Struct, frozen=True, tag=True):
    """The store's counters, now and then. `told_again` counts fills told more than once."""

    stats: StoreStats
    told_again: int = 0


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The tape is over. The worker closes the store when its standard input says so."""

    stats: StoreStats
    told_again: int = 0


class Followed(msgspec.Struct, frozen=True, tag=True):
    """The second process has every event up to `seq`, and a state with this digest."""

    seq: int
    digest: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The process gives up, for `reason`."""

    reason: str


Message = Opening | Ready | Sent | Acknowledged | Progress | Finished | Followed | Failed

_decoder = msgspec.json.Decoder(Message)


def decode(line: bytes) -> Message:
    """Decode one line, as read from the pipe."""
    message: Message = _decoder.decode(line)
    return message


def send(descriptor: int, message: Message) -> None:
    """Write one line, with one `write` unless the pipe takes less."""
    rest = memoryview(msgspec.json.encode(message) + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
