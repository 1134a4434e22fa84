"""What the worker tells the process that will kill it: one JSON object a line, written at once.

The lines go through a pipe by single ``write`` calls, nothing is buffered in the worker, and what
is in a pipe survives the death of its writer: so what the parent has read was truly said before
the kill.
"""

from __future__ import annotations

import os

import msgspec

from eventstore.report import RecoveryReport, StoreStats

__all__ = [
    "Acknowledged",
    "Failed",
    "Finished",
    "Message",
    "Opening",
    "Progress",
    "Ready",
    "decode",
    "send",
]


class Opening(msgspec.Struct, frozen=True, tag=True):
    """The store is about to be opened."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The store is open, and what was found in it agrees with the tape."""

    recovery: RecoveryReport


class Acknowledged(msgspec.Struct, frozen=True, tag=True):
    """All events up to ``seq`` are durable, says the store."""

    seq: int


class Progress(msgspec.Struct, frozen=True, tag=True):
    """The store's counters, now and then."""

    stats: StoreStats


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The tape is over. The worker closes the store when its standard input says so."""

    stats: StoreStats


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker gives up, and why."""

    reason: str


Message = Opening | Ready | Acknowledged | Progress | Finished | Failed

_decoder = msgspec.json.Decoder(Message)


def decode(line: bytes) -> Message:
    """One line, as read from the pipe."""
    message: Message = _decoder.decode(line)
    return message


def send(descriptor: int, message: Message) -> None:
    """Write one line, with one ``write`` unless the pipe takes less."""
    rest = memoryview(msgspec.json.encode(message) + b"\n")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
