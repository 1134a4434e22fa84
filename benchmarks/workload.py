"""The events that every contender records: the same payloads, in the same order.

The payloads are trades in a number of symbols, with a mark of the position after every third.
`symbols` is the size of the state. `size` adds so many characters to the trade's identifier. So
payloads have any size, and no contender can know more about them than another.

A trade that is told twice is booked once, at less work than a new trade. So a case never appends
one number twice: warming up takes the numbers from `APART` on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from eventstore import Event, Operation
from handlers import EngineState, RecordTrade, UpdatePosition, trading_registry

__all__ = [
    "APART",
    "EMPTY",
    "EVENT_DECODER",
    "FUNCTIONS",
    "PAYLOAD_DECODER",
    "REGISTRY",
    "Payload",
    "events",
    "fold",
    "pack_state",
    "payloads",
    "positions",
    "unpack_state",
]

REGISTRY = trading_registry()
FUNCTIONS = REGISTRY.functions
EMPTY = EngineState()
APART = 1_000_000_000
"""The first number of payloads that no history has."""

Payload = RecordTrade | UpdatePosition
EVENT_DECODER = msgspec.msgpack.Decoder(Event[Payload])
PAYLOAD_DECODER = msgspec.msgpack.Decoder(Payload)


def payloads(count: int, *, first: int = 1, symbols: int = 20, size: int = 0) -> list[Operation]:
    """Return the payloads of the events `first` to `first + count - 1`."""
    padding = "x" * size
    return [_payload(seq, symbols, padding) for seq in range(first, first + count)]


def _payload(seq: int, symbols: int, padding: str) -> Operation:
    symbol = f"SYM{seq % symbols:02d}"
    if seq % 4 == 0 and not padding:
        return UpdatePosition(symbol=symbol, shares=100.0 + seq % 7, price=50.0 + seq % 11)
    return RecordTrade(
        trade_id=f"t-{seq}{padding}",
        symbol=symbol,
        side="buy" if seq % 3 else "sell",
        shares=1.0 + seq % 5,
        price=50.0 + seq % 13 / 8,
        fee=0.01,
    )


def positions(count: int) -> list[Operation]:
    """Return one payload for each of `count` symbols, for a state of this size."""
    return [
        UpdatePosition(symbol=f"P{number}", shares=1.0 + number % 9, price=10.0)
        for number in range(count)
    ]


def events(operations: list[Operation], first: int = 1) -> list[Event[Any]]:
    """Return events with these payloads, a millisecond apart."""
    start = 1_600_000_000_000_000_000
    return [
        Event(seq, start + seq * 1_000_000, payload)
        for seq, payload in enumerate(operations, first)
    ]


def fold(state: EngineState, found: Any) -> EngineState:
    """Events folded by the trading handlers in the plainest loop there is."""
    functions = FUNCTIONS
    for event in found:
        state = functions[type(event.data)](state, event)
    return state


def pack_state(state: EngineState) -> bytes:
    """Return a state as bytes, for peers without snapshots of their own."""
    return msgspec.msgpack.encode(state.to_dict())


def unpack_state(packed: bytes) -> EngineState:
    """Return the state from the bytes of `pack_state`."""
    return EngineState.from_dict(msgspec.msgpack.decode(packed))
