"""`eventsourcing`, on its SQLite infrastructure, in two ways from its documentation.

`Eventsourcing` is the way of the tutorial: an `Aggregate` with methods decorated by `@event`,
an `Application` that saves the aggregate, and the library's own JSON. The decorated methods call
the same handlers. The aggregate is kept between saves, rather than fetched for each command, which
saves a look-up. A group is one `save`.

`EventsourcingMsgspec` is the way of the examples with msgspec: events are frozen Structs with our
payloads, a mapper of our own encodes them with msgspec, and a projector function folds them. This
is the fastest way of the library, and the one to compare with where speed matters.

Fair because: `PERSISTENCE_MODULE=eventsourcing.sqlite` uses `WAL` and leaves `synchronous` at
SQLite's default, `FULL`. SQLite's log is filled once before, as for `sqlite3`. The library is
synchronous, and runs in the loop's thread.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    JSONTranscoder,
    Mapper,
    StoredEvent,
    Transcoder,
    Transcoding,
)
from eventsourcing.utils import get_topic

from benchmarks.peers.base import Peer
from benchmarks.peers.sqlite3 import fill_log
from benchmarks.workload import EMPTY, FUNCTIONS, Payload, pack_state, unpack_state
from eventstore import Event, Operation
from handlers import EngineState, RecordTrade, UpdatePosition

__all__ = ["Eventsourcing", "EventsourcingMsgspec"]

ENGINE = uuid.UUID(int=1)
TRADE = FUNCTIONS[RecordTrade]
POSITION = FUNCTIONS[UpdatePosition]


class _Sqlite(Peer):
    """The common part of both ways: the application, its file, and reading by aggregate."""

    distribution = "eventsourcing"
    folds = True
    application: Any
    projector: ClassVar[dict[str, Any]] = {}

    async def open(self) -> None:
        self._application = self.application(
            env={
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "SQLITE_DBNAME": str(self.folder / "events.db"),
            }
        )

    async def close(self) -> None:
        self._application.close()

    async def settle(self) -> None:
        fill_log(self.folder)

    async def decode(self, first: int = 1, last: int | None = None) -> int:
        found = self._application.events.get(ENGINE, gt=first - 1, lte=last)
        tail = deque(enumerate(found, 1), maxlen=1)
        return tail[0][0] if tail else 0

    def _fetch(self, version: int | None) -> Any:
        return self._application.repository.get(ENGINE, version=version, **self.projector)

    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        found: EngineState = self._fetch(last).state
        return found

    async def recover(self) -> EngineState:
        return await self.fold()

    async def save_snapshot(self, seq: int, state: EngineState) -> None:
        self._application.take_snapshot(
            ENGINE,
            **({"projector_func": self.projector["projector_func"]} if self.projector else {}),
        )


# ---- as in the tutorial ------------------------------------------------------------------------


class Engine(Aggregate):  # type: ignore[misc]  # the library is not there when types are checked
    """The engine's state as an aggregate."""

    def __init__(self) -> None:
        self.state = EMPTY

    @staticmethod
    def create_id() -> uuid.UUID:
        return ENGINE

    @event("TradeRecorded")  # type: ignore[untyped-decorator]  # as for the class
    def record_trade(
        self,
        trade_id: str,
        symbol: str,
        side: Any,
        shares: float,
        price: float,
        fee: float | None,
        fee_currency: str | None,
        venue: str,
        account: str,
        position_side: Any,
        order_id: str,
        client_order_id: str,
        liquidity: Any,
        time: int | None,
    ) -> None:
        payload = RecordTrade(
            trade_id=trade_id,
            symbol=symbol,
            side=side,
            shares=shares,
            price=price,
            fee=fee,
            fee_currency=fee_currency,
            venue=venue,
            account=account,
            position_side=position_side,
            order_id=order_id,
            client_order_id=client_order_id,
            liquidity=liquidity,
            time=time,
        )
        self.state = TRADE(self.state, Event(0, 0, payload))

    @event("PositionUpdated")  # type: ignore[untyped-decorator]  # as for the class
    def update_position(
        self,
        symbol: str,
        shares: float,
        price: float,
        weight: float | None,
        account: str,
        position_side: Any,
        venue: str,
        reference: str,
        time: int | None,
    ) -> None:
        payload = UpdatePosition(
            symbol=symbol,
            shares=shares,
            price=price,
            weight=weight,
            account=account,
            position_side=position_side,
            venue=venue,
            reference=reference,
            time=time,
        )
        self.state = POSITION(self.state, Event(0, 0, payload))


class StateAsDict(Transcoding):  # type: ignore[misc]  # the library is not there when types are checked
    """How the library's JSON carries the state in a snapshot."""

    type = EngineState
    name = "engine_state"

    def encode(self, obj: EngineState) -> dict[str, Any]:
        return dict(msgspec.to_builtins(obj.to_dict()))  # JSON knows no decimals

    def decode(self, data: dict[str, Any]) -> EngineState:
        return EngineState.from_dict(data)


class Engines(Application):  # type: ignore[misc]  # the library is not there when types are checked
    is_snapshotting_enabled = True

    def register_transcodings(self, transcoder: JSONTranscoder) -> None:
        super().register_transcodings(transcoder)
        transcoder.register(StateAsDict())


class Eventsourcing(_Sqlite):
    """Aggregates and decorated methods, as in the tutorial."""

    application = Engines

    async def open(self) -> None:
        await super().open()
        self._engine: Any = None

    async def append(self, payloads: Sequence[Operation]) -> None:
        if self._engine is None:
            self._engine = self._fetch(None) if ENGINE in self._application.repository else Engine()
        engine = self._engine
        for payload in payloads:
            fields = msgspec.structs.asdict(payload)
            if type(payload) is RecordTrade:
                engine.record_trade(**fields)
            else:
                engine.update_position(**fields)
        self._application.save(engine)

    async def decode(self, first: int = 1, last: int | None = None) -> int:
        return await super().decode(first + 1, None if last is None else last + 1)

    async def fold(
        self, state: EngineState = EMPTY, first: int = 1, last: int | None = None
    ) -> EngineState:
        return await super().fold(state, first, None if last is None else last + 1)


# ---- as in the examples with msgspec -----------------------------------------------------------


class Recorded(msgspec.Struct, frozen=True):
    """An event of the aggregate: our payload."""

    originator_id: uuid.UUID
    originator_version: int
    payload: Payload


class Folded(msgspec.Struct, frozen=True):
    """The aggregate."""

    id: uuid.UUID
    version: int
    state: EngineState


class Taken(msgspec.Struct, frozen=True):
    """A snapshot of the aggregate."""

    originator_id: uuid.UUID
    originator_version: int
    state: bytes

    @classmethod
    def take(cls, aggregate: Folded) -> Taken:
        return cls(aggregate.id, aggregate.version, pack_state(aggregate.state))


def project(aggregate: Folded | None, found: Iterable[Recorded | Taken]) -> Folded | None:
    """Fold events, beginning with a snapshot where there is one."""
    version, state = (0, EMPTY) if aggregate is None else (aggregate.version, aggregate.state)
    functions = FUNCTIONS
    for one in found:
        version = one.originator_version
        if type(one) is Recorded:
            payload = one.payload
            state = functions[type(payload)](state, Event(version, 0, payload))
        elif type(one) is Taken:
            state = unpack_state(one.state)
    return Folded(ENGINE, version, state) if version else None


class MsgspecMapper(Mapper):  # type: ignore[misc]  # the library is not there when types are checked
    """Events to rows and back, by msgspec."""

    encoder = msgspec.msgpack.Encoder().encode
    decoders: ClassVar = {
        get_topic(kind): msgspec.msgpack.Decoder(kind).decode for kind in (Recorded, Taken)
    }

    def to_stored_event(self, domain_event: Any) -> Any:
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=get_topic(type(domain_event)),
            state=self.encoder(domain_event),
        )

    def to_domain_event(self, stored_event: Any) -> Any:
        return self.decoders[stored_event.topic](stored_event.state)


class NoTranscoder(Transcoder):  # type: ignore[misc]  # the library is not there when types are checked
    """A transcoder for the application, which wants one. The mapper needs none."""

    def encode(self, obj: Any) -> bytes:
        raise NotImplementedError("the mapper encodes")

    def decode(self, data: bytes) -> Any:
        raise NotImplementedError("the mapper decodes")


class MsgspecEngines(Application):  # type: ignore[misc]  # the library is not there when types are checked
    is_snapshotting_enabled = True
    snapshot_class = Taken
    env: ClassVar = {
        "MAPPER_TOPIC": get_topic(MsgspecMapper),
        "TRANSCODER_TOPIC": get_topic(NoTranscoder),
    }


class EventsourcingMsgspec(_Sqlite):
    """Frozen Structs, a mapper and a projector, as in the examples with msgspec."""

    application = MsgspecEngines
    projector: ClassVar = {"projector_func": project}

    async def open(self) -> None:
        await super().open()
        self._engine: Folded | None = None

    async def append(self, payloads: Sequence[Operation]) -> None:
        if self._engine is None:
            found = ENGINE in self._application.repository
            self._engine = self._fetch(None) if found else Folded(ENGINE, 0, EMPTY)
        events = [
            Recorded(ENGINE, version, cast(Payload, payload))
            for version, payload in enumerate(payloads, self._engine.version + 1)
        ]
        engine = project(self._engine, events)
        self._application.save(*events)
        self._engine = engine
