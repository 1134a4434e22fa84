"""A client of a stream that uses nothing of this package, as `docs/format.md` has it."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import msgspec
import nats

__all__ = ["read_stream", "repeat", "without_repeats"]

RECORD = struct.Struct("<8sQIIQII")


async def read_stream(servers: list[str], stream: str) -> list[list[Any]]:
    """The events of a stream, each [seq, time, data, key, metadata]."""
    client = await nats.connect(servers)
    events: list[list[Any]] = []
    parts: list[bytes] = []
    source = client.jetstream()
    number, newest, subject = 0, 1, f"eventstore.{stream}.*"
    last = (await source.get_last_msg(stream, subject)).seq or 0
    while number < last:
        message = await source.get_msg(stream, seq=number + 1, subject=subject, next=True)
        number, headers = message.seq or last, message.headers or {}
        timeline = int(headers.get("Eventstore-Timeline", "0").partition("-")[0])  # 0: foreign
        newest = max(newest, timeline)
        part, _, of = headers.get("Eventstore-Part", "1/1").partition("/")
        parts = [message.data or b""] if part == "1" else [*parts, message.data or b""]
        if part != of or timeline < newest or (message.subject or "").endswith(".history"):
            continue
        record = b"".join(parts)
        salt, first, count, length, _, body_crc, crc = RECORD.unpack_from(record)
        assert zlib.crc32(record[:36]) == crc
        assert zlib.crc32(record[40:]) == body_crc
        assert salt.hex() == headers["Eventstore-Store"].replace("-", "")[:16]
        array = b"\xdd" + count.to_bytes(4, "big") + record[40 : 40 + length]
        events += msgspec.msgpack.decode(array)
        assert events[-1][0] == int(headers["Eventstore-Last"]) == first + count - 1
    await client.close()
    return events


def without_repeats(events: list[list[Any]]) -> list[list[Any]]:
    """Leave out what a message that comes twice has again."""
    last = itertools.accumulate((event[0] for event in events), max, initial=0)
    return [event for event, before in zip(events, last, strict=False) if event[0] > before]


async def repeat(servers: list[str], stream: str, back: int | None = 0) -> None:
    """Store a message a second time, as a client may that expects no number.

    The message is the last one of the stream, or the one `back` numbers before. For `None` it is
    one that no store has written.
    """
    client = await nats.connect(servers)
    try:
        source, subject = client.jetstream(), f"eventstore.{stream}.*"
        if back is None:
            await source.publish(f"eventstore.{stream}.record", b"hello")
            return
        last = (await source.get_last_msg(stream, subject)).seq or 0
        found = await source.get_msg(stream, max(1, last - back), subject=subject, next=True)
        own = {name: text for name, text in (found.headers or {}).items() if name[:5] == "Event"}
        await source.publish(found.subject or "", found.data or b"", headers=own)
    finally:
        await client.close()
