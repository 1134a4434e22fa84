"""Operations, the events that record operations, and the receipts of events on their way to disk.

An *operation* is a kind of state change with a typed payload: a frozen, keyword-only msgspec Struct
derived from `Operation`, whose tag is the operation's name. An *event* is one recorded operation. A
*receipt* is the result of `submit`: the assigned sequence number, and an object to await until the
event is durable.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any, Generic, TypeVar, dataclass_transform

import msgspec

from eventstore.clock import to_datetime
from eventstore.error_base import fresh_error
from eventstore.errors import RegistrationError, StoreUsageError
from eventstore.model.conversion import convert_exactly, refuse_unknown_fields
from eventstore.model.operation_traits import declared_traits, keep_traits
from eventstore.model.value_types import copy_value

__all__ = [
    "OPERATION_FIELD",
    "Event",
    "KeyTexts",
    "Operation",
    "Outcome",
    "Payload",
    "Receipt",
    "operation_name",
    "tag_of",
]

OPERATION_FIELD = "op"
"""The key under which a payload's map carries the operation's tag on disk."""

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class OperationMeta(msgspec.StructMeta):
    """The metaclass that makes every payload class frozen, keyword-only and tagged.

    msgspec does not pass `kw_only` on to subclasses, so a base class alone could not promise it.
    """

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        version = options.pop("version", 1)
        traits = declared_traits(name, bases, options)
        for required in ("frozen", "kw_only"):
            if options.setdefault(required, True) is not True:
                raise RegistrationError(f"operation {name}: payloads are always {required}")
        options.setdefault("repr_omit_defaults", True)
        array_like = options.get("array_like")
        if array_like is not None and array_like is not False:
            raise RegistrationError(
                f"operation {name}: payloads are recorded as maps with field names, so array_like "
                "cannot be set"
            )
        if any(isinstance(base, OperationMeta) for base in bases):
            tag = options.get("tag")
            tag = _WORD.sub("_", name).lower() if tag is None else tag
            if not isinstance(tag, str) or not tag or "@" in tag or not tag.isprintable():
                raise RegistrationError(
                    f"operation {name}: the tag must be a string without '@', of printable "
                    "characters and at least one"
                )
            if type(version) is not int or version < 1:
                raise RegistrationError(f"operation {name}: the version must be a positive integer")
            options["tag"] = tag if version == 1 else f"{tag}@{version}"
        try:
            made = super().__new__(mcls, name, bases, namespace, **options)
        except Exception as error:  # of msgspec, or of an argument's own code
            raise RegistrationError(f"operation {name}: {error}") from error
        keep_traits(made, traits)
        return made

    def __setattr__(cls, name: str, value: Any) -> None:
        if name == "__dataclass_fields__":
            raise RegistrationError(
                f"operation {cls.__name__}: a subclass of Operation has fields already, without "
                "@dataclass. Leave the decorator out"
            )
        super().__setattr__(name, value)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(msgspec.field,))
class Operation(
    msgspec.Struct,
    metaclass=OperationMeta,
    frozen=True,
    kw_only=True,
    tag_field=OPERATION_FIELD,
    gc=False,
):
    """The base of all payloads. Subclasses are frozen and keyword-only.

    The class arguments are `tag` and `version`. `tag` is the operation's name, by default the name
    of the class in snake case. `version` (default 1) tells payload classes of one operation apart.
    Upcasters lead from older versions to the newest. `key`, `on_conflict`, `settles`, `intent`,
    `durability` and `essential` are the operation's traits (`OperationTraits`).

    Raises `RegistrationError`, a `TypeError`, for a tag with `@`, a version that is no positive
    integer, an impossible trait, a class that is to be mutable, positional or recorded as an array,
    and fields that msgspec refuses.

    >>> class PayDividend(Operation, tag="pay_dividend"):
    ...     symbol: str
    ...     amount: float
    >>> PayDividend(symbol="AAPL", amount=12.5)
    PayDividend(symbol='AAPL', amount=12.5)
    """

    @classmethod
    def from_mapping(cls, data: Any) -> Any:
        """Build a payload from a plain mapping, as `append(name, mapping)` does.

        Types are checked strictly. Fields go by the names in the log, which `rename` and
        `field(name=...)` change. At any depth, a key that is no field is refused, because a
        misspelt optional field would otherwise be dropped in silence. So is a value that the
        field's type cannot hold, such as a `Decimal` of more digits than a `float` has. Subclasses
        may accept more.

        Raises `msgspec.ValidationError` with the path of the field.
        """
        if hasattr(data, "keys"):
            data = dict(data)
            refuse_unknown_fields(data, cls)
        return convert_exactly(data, cls)


Payload = Operation | tuple[str, Mapping[str, Any]]
"""One operation for `append`: a payload object, or a pair of name and mapping."""


KeyTexts = str | list[str | None] | None
"""One key for all operations of a group, or a list with a key for each."""


def tag_of(payload_type: type[Operation]) -> str:
    """Return the tag of a payload class on disk, such as `pay_dividend` or `pay_dividend@2`."""
    return str(payload_type.__struct_config__.tag)


def operation_name(payload_type: type[Operation]) -> str:
    """Return the operation's name: the tag without the version."""
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

    On disk an event is the MessagePack array `[seq, time, data, key, metadata]`. The payload is a
    map with field names, so any MessagePack tool can read an event.

    Attributes:
        seq: The sequence number, from 1 on, without gaps.
        time: Nanoseconds since the epoch, UTC, as recorded. Clocks may go backwards.
        data: The payload.
        key: The text that the caller of `append` attached, if any.
        metadata: The mapping that the caller of `append` attached, if any.
    """

    seq: int
    time: int
    data: PayloadT
    key: str | None = None
    metadata: dict[str, Any] | None = None

    @property
    def operation(self) -> str:
        """The operation's name, or the name of the type for a value that is no `Operation`."""
        kind = type(self.data)
        return operation_name(kind) if issubclass(kind, Operation) else kind.__name__

    @property
    def intended(self) -> Any:
        """The operation that opened the intent which an `IntentSettled` settles, else `None`."""
        return getattr(self.data, "intended", None)

    @property
    def datetime(self) -> dt.datetime:
        """The time as an aware UTC `datetime`, cut to microseconds."""
        return to_datetime(self.time)


class Outcome(msgspec.Struct, eq=False):
    """The outcome of a record, pending or known, shared by the receipts of all events in it.

    `waiters` are the futures of `loop` that wait, each with the receipt. After a failure,
    `retrieved` has the numbers of the receipts whose waiters were given the error. Receipts up to
    number `overdue` give the next waiter the error `unknown` once, while the outcome is open.
    """

    done: bool = False
    error: Exception | None = None
    waiters: list[tuple[Receipt, asyncio.Future[None]]] = []
    retrieved: set[int] = set()
    overdue: int = -1
    loop: asyncio.AbstractEventLoop | None = None
    unknown: Callable[[Receipt], Exception] = Exception

    def resolve(self, error: Exception | None = None) -> None:
        """Record the outcome and wake every waiter.

        A second call, after an interruption of the first, wakes the waiters that are left.
        """
        self.error = error
        self.done = True
        for receipt, waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
                if error is not None:
                    self.retrieved.add(receipt.seq)
        self.waiters = []

    def disown(self, error: Exception) -> None:
        """Resolve with `error` in a forked child.

        The outcome is the parent's. The waiters belong to the parent's loop and are dropped.
        """
        self.waiters = []
        self.resolve(error)

    def leave_unknown(self, overdue: int, error: Callable[[Receipt], Exception]) -> None:
        """Tell the waiters up to number `overdue` an error: the outcome stays unknown for now.

        Each receipt tells once: its waiters now, or else the next one. Whoever awaits the receipt
        again waits for the outcome itself. A known outcome stays as it is.
        """
        if not self.done:
            self.overdue, self.unknown = overdue, error
            told = [
                (receipt, waiter)
                for receipt, waiter in self.waiters
                if receipt.seq <= overdue and receipt.unwarned
            ]
            for receipt, waiter in told:
                if not waiter.done():
                    waiter.set_exception(receipt.warn(error(receipt)))

    def merge(self, other: Outcome) -> None:
        """Hand the waiters over to `other`."""
        other.waiters += self.waiters
        self.waiters = []
        if other.done:
            other.resolve(other.error)


class Receipt(msgspec.Struct, eq=False):
    """The outcome of a commit, pending or known. Returned by `submit` and by `append`.

    `await receipt` returns the receipt once the events are durable, as far as the group asks for:
    see `Durability`. If the commit fails, the await raises the commit's error. A commit that takes
    longer than `commit_timeout` raises `OutcomeUnknownError` once. Another await then waits on.

    Several tasks may await one receipt, and a task may await again after a cancellation. Cancelling
    an await cancels the waiting, never the write. Every waiter has a future of its own: cancelling
    one waiter would cancel a shared future for all.

    Attributes:
        first_seq: The sequence number of the first event of the group.
        seq: The sequence number of the last event of the group.
        time: The recorded time in nanoseconds since the epoch.
        duplicate: Whether the operations were recorded before, under the same identity key. The
            numbers and the time are those of the first recording, and nothing was written.
            `submit` may return the receipt first: the numbers are 0 until the key was looked up.
        differences: Both values by the path of each field, where another payload is recorded under
            the key, and the class of the operation says `on_conflict="first"`. Else `None`.
    """

    first_seq: int
    seq: int
    time: int
    _outcome: Outcome = msgspec.field(default_factory=Outcome)
    _events: Sequence[Event[Any]] | None = None
    _state: Any = None
    _copy: Callable[[Any], Any] | None = None
    duplicate: bool = False
    differences: Mapping[str, tuple[Any, Any]] | None = None
    _warned: bool = False
    _sync: Callable[[], Awaitable[None]] | None = None

    def __await__(self) -> Generator[Any, None, Receipt]:
        outcome = self._outcome
        if not outcome.done:
            if self.seq <= outcome.overdue and not self._warned:
                self._warned = True
                raise outcome.unknown(self)
            loop = asyncio.get_running_loop()
            if outcome.loop not in (None, loop):  # nobody would wake the waiter
                raise StoreUsageError(f"{self!r} is of another event loop: await it there", path="")
            waiter: asyncio.Future[None] = loop.create_future()
            outcome.waiters.append((self, waiter))
            yield from waiter
            outcome = self._outcome  # of another receipt, perhaps: see `follow`
        if outcome.error is not None:
            outcome.retrieved.add(self.seq)
            raise fresh_error(outcome.error)
        if self._sync is not None:  # a duplicate of events that did not wait for the disk, perhaps
            yield from self._sync().__await__()
        return self

    def __repr__(self) -> str:
        error = self._outcome.error
        known = "acknowledged" if error is None else f"failed: {type(error).__name__}"
        state = known if self._outcome.done else "pending"
        first = "" if self.first_seq == self.seq else f"{self.first_seq}.."
        again = ", duplicate" if self.duplicate else ""
        return f"<Receipt seq={first}{self.seq} {state}{again}>"

    @property
    def events(self) -> tuple[Event[Any], ...]:
        """The events of the group as recorded, in order. An `EventLog` gives none.

        The payloads are those that the log will give back. Payloads whose type can change are
        copied. A duplicate has no events.
        """
        return () if self._events is None else tuple(map(copy_value, self._events))

    @property
    def state(self) -> Any:
        """The state right after the events of the group, whatever was appended since.

        Known once the events are durable. A state whose type can change is copied. Raises
        `StoreUsageError` before the outcome is known, and where there is no such state: for a
        duplicate, and in an `EventLog`. Raises the commit's error after a commit that failed.
        """
        outcome = self._outcome
        if not outcome.done:
            raise StoreUsageError(
                f"{self!r} has no state yet, because a crash could take the events back: await "
                "the receipt first. store.head is the state to decide by",
                path="",
            )
        if outcome.error is not None:
            raise fresh_error(outcome.error)
        if self._events is None:
            raise StoreUsageError(
                f"{self!r} has no state: nothing was folded for it. store.state is the state now",
                path="",
            )
        return self._state if self._copy is None else self._copy(self._state)

    @property
    def done(self) -> bool:
        """Whether the outcome is known. Awaiting a duplicate may wait for the disk even then."""
        return self._outcome.done

    @property
    def error(self) -> Exception | None:
        """The error of a commit that failed, `None` for a pending or durable one."""
        return self._outcome.error

    @property
    def unwarned(self) -> bool:
        """Whether nobody was told that the outcome takes too long."""
        return not self._warned

    def warn(self, error: Exception) -> Exception:
        """Note that a waiter is told `error`: the outcome takes too long."""
        self._warned = True
        return error

    def become(self, other: Receipt) -> None:
        """Take the numbers of `other`, and its outcome once the outcome is known."""
        self.first_seq, self.seq, self.time = other.first_seq, other.seq, other.time
        self._events, self._state, self._copy = other._events, other._state, other._copy
        self.differences, self.duplicate = other.differences, other.duplicate
        self._sync = other._sync
        self.follow(other)

    def follow(self, first: Receipt) -> None:
        """Share the outcome of `first`, another receipt. Waiters of this one wait for it."""
        own, self._outcome = self._outcome, first._outcome
        own.merge(self._outcome)

    def resolve(self, error: Exception | None = None) -> None:
        """Record the outcome of a receipt that no record stands for, and wake every waiter."""
        self._outcome.resolve(error)

    @property
    def retrieved(self) -> bool:
        """Whether a waiter was given the error, or is woken to be given the error."""
        return self.seq in self._outcome.retrieved
