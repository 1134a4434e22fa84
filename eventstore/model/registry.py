"""Handlers, upcasters and the registry that turns events into bytes, back, and into state.

A *handler* is a pure function ``(state, event) -> new state``. :func:`handler` reads its operation
and its state type from the annotations; :class:`HandlerRegistry` collects handlers, by hand or from
the plugins installed in this environment (entry-point group ``eventstore.handlers``), and builds
one msgspec decoder over the tagged union of all payload types. That decoder is the codec: it is
used to validate what is appended, to recover, and to replay, so that what one of them accepts the
others accept too.

An *upcaster* turns an older payload of an operation into a newer one. Old payload classes stay
registered, as members of the union, for ever: old events are decoded as what they were and led
step by step to what handlers know today (``upcasting.py``).

What one item alone can tell is checked when it is registered; what takes all of them together (do
upcasters arrive anywhere?) when the codec is built, which is when a store is opened.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Generic, TypeVar

import msgspec

from eventstore.errors import (
    InvalidPayloadError,
    RegistrationError,
    UnknownOperationError,
)
from eventstore.model.codec import EventCodec, field_of, unrecordable_reason
from eventstore.model.fingerprint import fingerprint_of
from eventstore.model.handler import Handler, Upcaster, replay_error
from eventstore.model.operation import Event, Operation, operation_name, tag_of
from eventstore.model.plugins import (
    ENTRY_POINT_GROUP,
    describe_plugin,
    errors_naming_plugin,
    find_plugins,
    handlers_in,
    plugin_error,
)
from eventstore.model.upcasting import Upcasters
from eventstore.model.value_types import copy_value

__all__ = ["HandlerRegistry"]

StateT = TypeVar("StateT")
FoundT = TypeVar("FoundT")

_NAMED = 4
"""Operations that the `repr` of a registry names."""


class HandlerRegistry(Generic[StateT]):
    """The handlers of one state type, and the codec built from their payload types.

    ``handlers``: handlers, upcasters, modules or iterables of them. ``initial`` makes the state
    before the first event; it defaults to calling the state type without arguments.

    Raises :class:`RegistrationError` for a function without annotations, for two handlers of one
    operation, for handlers of different states, and for payloads msgspec cannot handle.
    """

    def __init__(
        self,
        *handlers: Any,
        initial: Callable[[], StateT] | None = None,
        state_type: type[StateT] | None = None,
    ) -> None:
        self._handlers: dict[str, Handler[StateT, Any]] = {}
        self._current: dict[str, type[Operation]] = {}
        self._payloads: dict[str, type[Operation]] = {}
        self._fold: dict[type[Any], Callable[[StateT, Event[Any]], StateT]] = {}
        self._upcasters = Upcasters(self._fold.keys())
        self._points: dict[Any, EntryPoint] = {}
        self._state_type: Any = state_type
        self._initial = initial
        self._codec: EventCodec | None = None
        self._prints: dict[str, str] | None = None
        for item in handlers:
            self.register(item)

    @classmethod
    def discover(
        cls,
        state_type: type[FoundT] | None = None,
        *,
        initial: Callable[[], FoundT] | None = None,
        group: str = ENTRY_POINT_GROUP,
    ) -> HandlerRegistry[FoundT]:
        """A registry of every installed plugin whose handlers are for ``state_type``.

        An entry point names a handler, an upcaster, or a module or iterable that holds some.
        Handlers for other states are passed over; with no ``state_type`` all must agree on one.

        Raises :class:`RegistrationError`, naming the plugin and its distribution, when a plugin
        cannot be imported or two of them handle the same operation.
        """
        registry = HandlerRegistry(initial=initial, state_type=state_type)
        for point, item in find_plugins(group, state_type):
            with errors_naming_plugin(point):
                registry._add(item, point)
        return registry

    def __repr__(self) -> str:
        kind = self._state_type
        state = kind.__name__ if isinstance(kind, type) else str(kind)
        names = self.operations
        shown = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} operations"
        return f"<HandlerRegistry of {state}: {shown or 'no operations'}>"

    def register(self, item: Any) -> None:
        """Add a handler, an upcaster, or all of those in a module or an iterable."""
        for member in handlers_in(item):
            self._add(member, None)

    def _add(
        self, item: Handler[StateT, Any] | Upcaster[Any, Any], point: EntryPoint | None
    ) -> None:
        if isinstance(item, Handler):
            self._add_handler(item)
        else:
            self._add_upcaster(item)
        if point is not None:
            self._points.setdefault(item, point)
        self._codec = self._prints = None

    def _add_handler(self, item: Handler[StateT, Any]) -> None:
        state_type, payload_type = item.types()
        operation = operation_name(payload_type)
        other = self._handlers.get(operation)
        if other is not None and other is not item:
            raise RegistrationError(
                f"{item!r} and {self._named(other)} both handle {operation!r}: remove one of them",
                operation=operation,
            )
        if self._state_type is not None and state_type != self._state_type:
            raise RegistrationError(
                f"{item!r} is for {state_type!r}, but this registry's state is "
                f"{self._state_type!r}",
                operation=operation,
            )
        self._check_payload(item, payload_type)
        self._state_type = state_type
        self._handlers[operation] = item
        self._current[operation] = payload_type
        self._payloads[tag_of(payload_type)] = payload_type
        self._fold[payload_type] = item.function

    def _add_upcaster(self, item: Upcaster[Any, Any]) -> None:
        old = item.old_type()
        item.new_types()
        other = self._upcasters.of(old)
        if other is not None and other is not item:
            raise RegistrationError(
                f"{item!r} and {self._named(other)} both take {old.__name__}: remove one of them",
                operation=operation_name(old),
            )
        self._check_payload(item, old)
        self._upcasters.add(old, item)
        self._payloads[tag_of(old)] = old

    def _check_payload(self, item: Any, payload_type: type[Operation]) -> None:
        """Refuse a payload class that cannot be recorded, or told from another one."""
        operation, tag = operation_name(payload_type), tag_of(payload_type)
        reason = unrecordable_reason(payload_type)
        if reason is not None:
            raise RegistrationError(
                f"{item!r}: msgspec cannot handle {payload_type.__name__}: {reason}",
                operation=operation,
            )
        other = self._payloads.get(tag, payload_type)
        if other is not payload_type:
            raise RegistrationError(
                f"{item!r}: {payload_type.__module__}.{payload_type.__qualname__} and "
                f"{other.__module__}.{other.__qualname__} are both recorded as {tag!r}: give the "
                "newer one a version, class New(Operation, tag=..., version=2), and an upcaster "
                "from the older one",
                operation=operation,
            )

    def _named(self, item: Any) -> str:
        """A handler or upcaster, for messages, with the plugin that it came from."""
        point = self._points.get(item)
        return repr(item) if point is None else f"{item!r} of {describe_plugin(point)}"

    @property
    def state_type(self) -> Any:
        """The type of the state that these handlers fold."""
        return self._state_type

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations that have a handler, sorted."""
        return tuple(sorted(self._handlers))

    @property
    def items(self) -> tuple[Handler[StateT, Any] | Upcaster[Any, Any], ...]:
        """Every handler and upcaster that is registered."""
        return (*self._handlers.values(), *self._upcasters)

    @property
    def payload_types(self) -> tuple[type[Operation], ...]:
        """Every payload class that can be read, old ones included."""
        return tuple(self._payloads.values())

    @property
    def codec(self) -> EventCodec:
        """The codec over all payload types, built when first used and after a registration.

        Raises :class:`RegistrationError` for an upcaster that leads nowhere or in a circle.
        """
        if self._codec is None:
            fault = self._upcasters.fault()
            if fault is not None:
                item, reason = fault
                error = RegistrationError(
                    f"{item!r}: {reason}", operation=operation_name(item.old_type())
                )
                point = self._points.get(item)
                raise error if point is None else plugin_error(error, point)
            self._codec = EventCodec(list(self._payloads.values()))
        return self._codec

    def initial(self) -> StateT:
        """The state before the first event."""
        if self._initial is not None:
            return copy_value(self._initial())
        if self._state_type is None:
            raise RegistrationError("this registry has no handlers, so it has no state either")
        origin = typing.get_origin(self._state_type) or self._state_type
        state: StateT = origin()
        return state

    def payload(self, operation: str, data: Mapping[str, Any]) -> Operation:
        """Build the payload of ``operation`` from a plain mapping, strictly typed.

        Raises :class:`UnknownOperationError` and :class:`InvalidPayloadError`.
        """
        if operation not in self._handlers:
            raise UnknownOperationError(
                f"no handler is registered for {operation!r} (known: "
                f"{', '.join(self.operations) or 'none'}); register one, or install its plugin",
                operation=operation,
            )
        try:
            payload: Operation = self._current[operation].from_mapping(data)
        except (msgspec.ValidationError, TypeError) as error:
            field = field_of(str(error))
            raise InvalidPayloadError(
                f"{operation}, field `{field}`: {error}; nothing was written",
                operation=operation,
                field=field,
            ) from error
        return payload

    def payloads(self, operations: tuple[Any, ...]) -> Sequence[Operation]:
        """The payloads that ``append(*operations)`` means, not yet validated if they are objects.

        Operations are payload objects, ``(name, mapping)`` pairs, or one name and one mapping.
        """
        if len(operations) == 1 and type(operations[0]) in self._fold:
            return operations
        if operations and isinstance(operations[0], str):
            if len(operations) != 2:
                raise InvalidPayloadError(
                    f"{operations[0]}: a name goes with one mapping; for several operations pass "
                    "(name, mapping) pairs; nothing was written",
                    operation=operations[0],
                )
            return [self.payload(operations[0], operations[1])]
        if not operations:
            raise InvalidPayloadError("nothing to append: pass operations", operation="append")
        return [self._from_pair(item) if isinstance(item, tuple) else item for item in operations]

    def _from_pair(self, pair: tuple[Any, ...]) -> Operation:
        if len(pair) != 2 or not isinstance(pair[0], str):
            raise InvalidPayloadError(
                f"{pair!r} is no (name, mapping) pair; nothing was written", operation="append"
            )
        return self.payload(pair[0], pair[1])

    def record(
        self, first: int, time: int, payloads: Sequence[Operation], key: str | None, metadata: Any
    ) -> tuple[list[Event[Any]], bytes]:
        """Encode events, and decode them again as recovery will: the events and their bytes.

        The events' payloads are the decoded ones: they share nothing with the caller's objects, and
        whatever would not survive the log is found here, before anything is written. Raises
        :class:`UnknownOperationError` and :class:`InvalidPayloadError`.
        """
        for data in payloads:
            if type(data) not in self._fold:
                self._refuse(data)
        if metadata is not None and type(metadata) is not dict:
            if not isinstance(metadata, Mapping):
                raise InvalidPayloadError(
                    f"{operation_name(type(data))}, field `$metadata`: a mapping is expected, not "
                    f"{type(metadata).__name__}; nothing was written",
                    operation=operation_name(type(data)),
                    field="$metadata",
                )
            metadata = dict(metadata)
        codec = self._codec or self.codec
        if len(payloads) == 1:
            event, body = codec.round_trip(Event(first, time, data, key, metadata))
            return [event], body
        numbered = enumerate(payloads, first)
        return codec.round_trips([Event(seq, time, data, key, metadata) for seq, data in numbered])

    def _refuse(self, data: Any) -> typing.NoReturn:
        if not isinstance(data, Operation):
            raise InvalidPayloadError(
                f"{type(data).__name__} is no operation: append an Operation, or a name and a "
                "mapping; nothing was written",
                operation=type(data).__name__,
            )
        name = operation_name(type(data))
        if type(data) in self._upcasters:
            raise InvalidPayloadError(
                f"{name}: {type(data).__name__} is an old payload, kept to read old events; append "
                "the current one; nothing was written",
                operation=name,
            )
        raise UnknownOperationError(
            f"no handler is registered for {name!r} as {type(data).__name__} (known: "
            f"{', '.join(self.operations) or 'none'}); register one, or install its plugin; "
            "nothing was written",
            operation=name,
        )

    def apply(self, state: StateT, event: Event[Any]) -> StateT:
        """Fold one current event; the handler's own exception reaches the caller unchanged."""
        folded = self._fold[type(event.data)](state, event)
        if folded is None and state is not None:
            raise InvalidPayloadError(
                f"the handler of {event.operation!r} returned None instead of a state: does it "
                "lack a return? Nothing was written",
                operation=event.operation,
            )
        return folded

    def upcast(self, events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        """Lead old payloads to current ones. A split payload becomes events of the same seq."""
        return self._upcasters.lead(events)

    def fold(self, state: StateT, events: Iterable[Event[Any]]) -> StateT:
        """Fold events from the log, upcast before; for recovery and replay.

        Raises :class:`ReplayError` from whatever a handler raised, naming event and operation.
        """
        handlers = self._fold
        for event in events:
            try:
                folded = handlers[type(event.data)](state, event)
            except Exception as error:  # a handler may raise anything
                raise replay_error(event, error) from error
            if folded is None and state is not None:
                raise replay_error(event, TypeError("it returned None instead of a state"))
            state = folded
        return state

    @property
    def functions(self) -> Mapping[type[Any], Callable[[StateT, Event[Any]], StateT]]:
        """The handlers' functions by payload type, for loops that cannot afford a call more."""
        return self._fold

    def fingerprint(self) -> dict[str, str]:
        """Return what a snapshot's state depends on: a digest per operation, and of the state type.

        The operations are the keys. The digest of the state type is under the key `""`. The
        fingerprint is kept until the next registration, and the verdict on what is registered with
        it: opening a store asks for the fingerprint before it touches the store's directory.

        Raises `RegistrationError` for an upcaster that leads nowhere or in a circle, and for a
        state that a snapshot cannot carry.
        """
        if self._prints is None:
            _ = self.codec  # raises for upcasters that do not arrive
            versions = {operation: item.version for operation, item in self._handlers.items()}
            self._prints = fingerprint_of(self._current, versions, self._state_type)
        return self._prints.copy()

    def same_as(self, other: HandlerRegistry[Any]) -> bool:
        """Tell whether both registries hold the same handlers and upcasters."""
        return self is other or (
            self._fold == other._fold and set(self._upcasters) == set(other._upcasters)
        )
