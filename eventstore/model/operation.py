"""Operations, the events that record them, and the receipts for events on their way to disk.

An *operation* is a kind of state change with a typed payload: a frozen, keyword-only msgspec Struct
derived from :class:`Operation`, whose tag is the operation's name. An *event* is one recorded
operation. A *receipt* is what ``submit`` returns: the sequence number that was assigned, and
something to await until the event is durable.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Generator
from typing import Any, Generic, TypeVar, dataclass_transform

import msgspec

from eventstore.clock import to_datetime

__all__ = ["OPERATION_FIELD", "Event", "Operation", "Receipt", "operation_name", "tag_of"]

OPERATION_FIELD = "op"
"""The key under which a payload's map carries the operation's tag on disk."""

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class OperationMeta(msgspec.StructMeta):
    """Makes every payload class frozen, keyword-only and tagged, without anybody asking for it.

    msgspec does not pass ``kw_only`` on to subclasses, so a plain base class could not promise it.
    """

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        version = options.pop("version", 1)
        for required in ("frozen", "kw_only"):
            if options.setdefault(required, True) is not True:
                raise TypeError(f"operation {name}: payloads are always {required}")
        if any(isinstance(base, OperationMeta) for base in bases):
            tag = options.get("tag") or _WORD.sub("_", name).lower()
            if not isinstance(tag, str) or "@" in tag:
                raise TypeError(f"operation {name}: the tag must be a string without '@'")
            if not isinstance(version, int) or version < 1:
                raise TypeError(f"operation {name}: the version must be a positive integer")
            options["tag"] = tag if version == 1 else f"{tag}@{version}"
        return super().__new__(mcls, name, bases, namespace, **options)


class Operation(msgspec.Struct, metaclass=OperationMeta, tag_field=OPERATION_FIELD, gc=False):
    """Base of all payloads. Subclasses are frozen and keyword-only, and their tag is the name.

    ``tag`` defaults to the class's name in snake case. ``version`` (1 if not given) tells payload
    classes of one operation apart; upcasters lead from the older ones to the newest.

    >>> class PayDividend(Operation, tag="pay_dividend"):
    ...     symbol: str
    ...     amount: float
    >>> PayDividend(symbol="AAPL", amount=12.5)
    PayDividend(symbol='AAPL', amount=12.5)
    """

    @classmethod
    def from_mapping(cls, data: Any) -> Any:
        """Build a payload from a plain mapping: what ``append(name, mapping)`` does.

        Types are checked strictly; a key that is no field is refused, because a misspelt optional
        field would otherwise be dropped in silence. Subclasses may accept more.

        Raises ``msgspec.ValidationError`` with the path of the field.
        """
        if isinstance(data, dict) or hasattr(data, "keys"):
            unknown = [key for key in data if key not in cls.__struct_fields__]
            if unknown:
                raise msgspec.ValidationError(f"Object contains unknown field `{unknown[0]}`")
            data = dict(data)
        return msgspec.convert(data, cls)


def tag_of(payload_type: type[Operation]) -> str:
    """The tag that a payload class has on disk, such as ``pay_dividend`` or ``pay_dividend@2``."""
    return str(payload_type.__struct_config__.tag)


def operation_name(payload_type: type[Operation]) -> str:
    """The operation's name: its tag without the version."""
    return tag_of(payload_type).partition("@")[0]


PayloadT = TypeVar("PayloadT")


class Event(
    msgspec.Struct,
    Generic[PayloadT],
    frozen=True,
    array_like=True,
    gc=False,
    repr_omit_defaults=True,
):
    """One recorded operation.

    On disk an event is the MessagePack array ``[seq, time, data, key, metadata]`` and its payload a
    map with field names, so that any MessagePack tool can read it.

    ``seq``: sequence number, from 1, without gaps. ``time``: nanoseconds since the epoch, UTC.
    ``data``: the payload. ``key`` and ``metadata``: whatever the caller of ``append`` attached.
    """

    seq: int
    time: int
    data: PayloadT
    key: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def operation(self) -> str:
        """The operation's name (the type's name for a value that is no Operation)."""
        kind = type(self.data)
        return operation_name(kind) if issubclass(kind, Operation) else kind.__name__

    @property
    def datetime(self) -> dt.datetime:
        """``time`` as an aware UTC ``datetime``, cut to microseconds."""
        return to_datetime(self.time)


class Receipt(msgspec.Struct, eq=False):
    """The promise of a commit, returned by ``submit`` and by ``append``.

    ``seq`` is the sequence number of the (last) event, ``first_seq`` of the first of its group,
    ``time`` the recorded time in nanoseconds since the epoch.

    ``await receipt`` returns the receipt itself once the events are durable (as far as the store's
    ``Durability`` says) or raises what became of the commit. It may be awaited by several tasks
    and again after a cancellation: cancelling cancels the waiting only, never the write. Every
    waiter has a future of its own, because a shared one would be cancelled for all of them.
    """

    first_seq: int
    seq: int
    time: int
    _done: bool = False
    _retrieved: bool = False
    _error: Exception | None = None
    _waiters: list[asyncio.Future[None]] | None = None

    def __await__(self) -> Generator[Any, None, Receipt]:
        if not self._done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = [waiter]
            else:
                self._waiters.append(waiter)
            yield from waiter
        if self._error is not None:
            self._retrieved = True
            raise self._error
        return self

    def __repr__(self) -> str:
        if not self._done:
            state = "pending"
        elif self._error is None:
            state = "durable"
        else:
            state = f"failed: {type(self._error).__name__}"
        first = "" if self.first_seq == self.seq else f"{self.first_seq}.."
        return f"<Receipt seq={first}{self.seq} {state}>"

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._done

    @property
    def error(self) -> Exception | None:
        """What became of a commit that was not made, ``None`` while pending or when durable."""
        return self._error

    def disown(self, error: Exception) -> None:
        """In a forked child: the outcome is the parent's, as are those who wait for it."""
        self._waiters = None
        self.resolve(error)

    def resolve(self, error: Exception | None = None) -> None:
        """Tell every waiter; called once, by the log."""
        self._done = True
        self._error = error
        waiters, self._waiters = self._waiters, None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)
                    self._retrieved = True

    @property
    def retrieved(self) -> bool:
        """Whether somebody has been given the outcome, or is about to be."""
        return self._retrieved
