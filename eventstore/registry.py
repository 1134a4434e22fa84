"""Handlers, upcasters and the registry that turns events into bytes, back, and into state.

A *handler* is a pure function ``(state, event) -> new state``. :func:`handler` reads its operation
and its state type from the annotations; :class:`HandlerRegistry` collects handlers, by hand or from
the plugins installed in this environment (entry-point group ``eventstore.handlers``), and builds
one msgspec decoder over the tagged union of all payload types. That decoder is the codec: it is
used to validate what is appended, to recover, and to replay, so that what one of them accepts the
others accept too.

An *upcaster* turns an older payload of an operation into a newer one. Old payload classes stay
registered, as members of the union, for ever: old events are decoded as what they were and led
step by step to what handlers know today.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar, overload

import msgspec

from eventstore.codec import EventCodec, describe_type
from eventstore.errors import (
    InvalidPayloadError,
    RegistrationError,
    ReplayError,
    UnknownOperationError,
)
from eventstore.operation import Event, Operation, operation_name, tag_of

__all__ = ["ENTRY_POINT_GROUP", "Handler", "HandlerRegistry", "Upcaster", "handler", "upcaster"]

ENTRY_POINT_GROUP = "eventstore.handlers"

StateT = TypeVar("StateT")
PayloadT = TypeVar("PayloadT", bound=Operation)
OldT = TypeVar("OldT", bound=Operation)


class Handler(Generic[StateT, PayloadT]):
    """A function marked by :func:`handler`. Calling it calls the function."""

    def __init__(self, function: Callable[[StateT, Event[PayloadT]], StateT], version: int) -> None:
        self.function = function
        self.version = version
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, state: StateT, event: Event[PayloadT]) -> StateT:
        return self.function(state, event)

    def __repr__(self) -> str:
        return f"<handler {self.__module__}.{self.__name__}>"

    def types(self) -> tuple[Any, type[Operation]]:
        """The state type and the payload type, from the annotations.

        Raises :class:`RegistrationError` where they are missing or are something else.
        """
        hints, parameters = _annotations(self.function, "handler", 2)
        state_type = hints.get(parameters[0])
        event_type = hints.get(parameters[1])
        if typing.get_origin(event_type) is not Event or state_type is None:
            raise RegistrationError(
                f"{self!r} must be annotated as (state: YourState, event: Event[YourOperation]) -> "
                f"YourState; found state: {state_type!r}, event: {event_type!r}"
            )
        payload_type = typing.get_args(event_type)[0]
        if not (isinstance(payload_type, type) and issubclass(payload_type, Operation)):
            raise RegistrationError(
                f"{self!r}: {payload_type!r} is no payload class; derive it from eventstore.Operation"
            )
        return state_type, payload_type


class Upcaster(Generic[OldT]):
    """A function marked by :func:`upcaster`. Calling it calls the function."""

    def __init__(self, function: Callable[[OldT], Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__
        self.__module__ = function.__module__

    def __call__(self, old: OldT) -> Any:
        return self.function(old)

    def __repr__(self) -> str:
        return f"<upcaster {self.__module__}.{self.__name__}>"

    def old_type(self) -> type[Operation]:
        """The payload class that this upcaster takes, from the annotations."""
        hints, parameters = _annotations(self.function, "upcaster", 1)
        old = hints.get(parameters[0])
        if not (isinstance(old, type) and issubclass(old, Operation)):
            raise RegistrationError(
                f"{self!r} must be annotated as (old: OldOperation) -> NewOperation; found {old!r}"
            )
        return old


@overload
def handler(
    function: Callable[[StateT, Event[PayloadT]], StateT], /
) -> Handler[StateT, PayloadT]: ...
@overload
def handler(
    *, version: int = 1
) -> Callable[
    [Callable[[StateT, Event[PayloadT]], StateT]], Handler[StateT, PayloadT]
]: ...
def handler(function: Any = None, /, *, version: int = 1) -> Any:
    """Mark a pure function ``(state, event) -> new state`` as the handler of an operation.

    The operation and the state type are read from the annotations when the handler is registered.
    Raise ``version`` whenever the same events should give another state than before: snapshots made
    by another version are not trusted.

    >>> class Deposit(Operation):
    ...     amount: float
    >>> @handler
    ... def deposit(state: float, event: Event[Deposit]) -> float:
    ...     return state + event.data.amount
    >>> deposit(1.0, Event(1, 0, Deposit(amount=2.0)))
    3.0
    """
    if function is None:
        return lambda marked: Handler(marked, version)
    return Handler(function, version)


def upcaster(function: Callable[[OldT], Any]) -> Upcaster[OldT]:
    """Mark a function that turns an old payload into a newer one of the same operation."""
    return Upcaster(function)


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
        self._upcasters: dict[type[Operation], Upcaster[Any]] = {}
        self._fold: dict[type[Any], Callable[[StateT, Event[Any]], StateT]] = {}
        self._state_type: Any = state_type
        self._initial = initial
        self._codec: EventCodec | None = None
        for item in handlers:
            self.register(item)

    @classmethod
    def discover(
        cls,
        state_type: type[StateT] | None = None,
        *,
        initial: Callable[[], StateT] | None = None,
        group: str = ENTRY_POINT_GROUP,
    ) -> HandlerRegistry[StateT]:
        """A registry of every installed plugin whose handlers are for ``state_type``.

        An entry point names a handler, an upcaster, or a module or iterable that holds some.
        Handlers for other states are passed over; with no ``state_type`` all must agree on one.

        Raises :class:`RegistrationError`, naming the plugin and its distribution, when a plugin
        cannot be imported or two of them handle the same operation.
        """
        registry = cls(initial=initial, state_type=state_type)
        for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
            for item in _load(point):
                try:
                    if (
                        isinstance(item, Handler)
                        and state_type is not None
                        and item.types()[0] is not state_type
                    ):
                        continue
                    registry.register(item)
                except RegistrationError as error:
                    raise RegistrationError(
                        f"{_named(point)}: {error}",
                        operation=error.operation,
                        plugin=point.name,
                        distribution=_distribution(point),
                    ) from error
        return registry

    def register(self, item: Any) -> None:
        """Add a handler, an upcaster, or all of those in a module or an iterable."""
        if isinstance(item, Handler):
            self._register_handler(item)
        elif isinstance(item, Upcaster):
            old = item.old_type()
            if old in self._upcasters:
                raise RegistrationError(
                    f"{item!r} and {self._upcasters[old]!r} both take {old.__name__}",
                    operation=operation_name(old),
                )
            self._upcasters[old] = item
            self._payloads[tag_of(old)] = old
        elif isinstance(item, ModuleType | Iterable) and not isinstance(item, str):
            found = list(_members(item)) if isinstance(item, ModuleType) else list(item)
            if not found:
                raise RegistrationError(f"{item!r} holds no function marked with @handler")
            for member in found:
                self.register(member)
        else:
            raise RegistrationError(
                f"{item!r} is no handler: mark the function with @eventstore.handler"
            )
        self._codec = None

    def _register_handler(self, item: Handler[StateT, Any]) -> None:
        state_type, payload_type = item.types()
        operation = operation_name(payload_type)
        other = self._handlers.get(operation)
        if other is not None and other is not item:
            raise RegistrationError(
                f"{item!r} and {other!r} both handle {operation!r}: remove one of them",
                operation=operation,
            )
        if self._state_type is None:
            self._state_type = state_type
        elif state_type is not self._state_type and state_type != self._state_type:
            raise RegistrationError(
                f"{item!r} is for {state_type!r}, but this registry's state is "
                f"{self._state_type!r}",
                operation=operation,
            )
        try:
            EventCodec([payload_type])
        except TypeError as error:
            raise RegistrationError(
                f"{item!r}: msgspec cannot handle {payload_type.__name__}: {error}",
                operation=operation,
            ) from error
        self._handlers[operation] = item
        self._current[operation] = payload_type
        self._payloads[tag_of(payload_type)] = payload_type
        self._fold[payload_type] = item.function

    @property
    def state_type(self) -> Any:
        """The type of the state that these handlers fold."""
        return self._state_type

    @property
    def operations(self) -> tuple[str, ...]:
        """The names of the operations that have a handler, sorted."""
        return tuple(sorted(self._handlers))

    @property
    def codec(self) -> EventCodec:
        """The codec over all payload types, built when first used and after a registration."""
        if self._codec is None:
            self._codec = EventCodec(list(self._payloads.values()))
        return self._codec

    def initial(self) -> StateT:
        """The state before the first event."""
        if self._initial is not None:
            return self._initial()
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
            raise InvalidPayloadError(
                f"{operation}: {error}; nothing was written",
                operation=operation,
                field=_field_of(error),
            ) from error
        return payload

    def record(
        self, seq: int, time: int, data: Operation, key: str | None, metadata: Any
    ) -> tuple[Event[Any], bytes]:
        """Encode one event, and decode it again as recovery will: the event and its bytes.

        The event's payload is the decoded one: it shares nothing with the caller's object, and
        whatever would not survive the log is found here, before anything is written.

        Raises :class:`UnknownOperationError` and :class:`InvalidPayloadError`.
        """
        if type(data) not in self._fold:
            self._refuse(data)
        return self.codec.round_trip(Event(seq, time, data, key, metadata))

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
                f"the handler of {event.operation!r} returned None instead of a state: does it lack "
                "a return? Nothing was written",
                operation=event.operation,
            )
        return folded

    def upcast(self, events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        """Lead old payloads to current ones. A split payload becomes events of the same seq."""
        if not self._upcasters or not any(type(event.data) in self._upcasters for event in events):
            return events
        current: list[Event[Any]] = []
        for event in events:
            for payload in self._lead(event, event.data):
                if payload is event.data:
                    current.append(event)
                else:
                    current.append(msgspec.structs.replace(event, data=payload))
        return current

    def _lead(self, event: Event[Any], payload: Any) -> Iterator[Any]:
        step = self._upcasters.get(type(payload))
        if step is None:
            yield payload
            return
        try:
            newer = step(payload)
        except Exception as error:
            raise ReplayError(
                f"{step!r} raised {type(error).__name__} on event {event.seq} "
                f"({event.operation}): {error}",
                seq=event.seq,
                operation=event.operation,
            ) from error
        for part in newer if isinstance(newer, tuple | list) else (newer,):
            yield from self._lead(event, part)

    def fold(self, state: StateT, events: Iterable[Event[Any]]) -> StateT:
        """Fold events from the log, upcast before; for recovery and replay.

        Raises :class:`ReplayError` from whatever a handler raised, naming event and operation.
        """
        handlers = self._fold
        event: Event[Any] | None = None
        try:
            for event in events:
                state = handlers[type(event.data)](state, event)
        except Exception as error:
            if event is None:
                raise
            raise ReplayError(
                f"the handler of {event.operation!r} raised {type(error).__name__} on event "
                f"{event.seq}: {error}. Nothing was written; install the plugin version that "
                "recorded it, or correct the handler",
                seq=event.seq,
                operation=event.operation,
            ) from error
        return state

    def fingerprint(self) -> dict[str, str]:
        """What a snapshot's state depends on: a digest per operation and one of the state type.

        Every entry covers the payload's schema and the handler's version, so that a snapshot made
        by other handlers is recognised; a new operation alone invalidates nothing.
        """
        prints = {
            operation: describe_type(self._current[operation], str(found.version))
            for operation, found in self._handlers.items()
        }
        prints[""] = describe_type(self._state_type, "state")
        return prints


def _annotations(
    function: Callable[..., Any], kind: str, count: int
) -> tuple[dict[str, Any], list[str]]:
    name = f"{kind} {function.__module__}.{getattr(function, '__qualname__', function)}"
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        frame_locals = inspect.getclosurevars(function).nonlocals
        try:
            hints = typing.get_type_hints(function, localns=dict(frame_locals))
        except NameError:
            raise RegistrationError(
                f"{name}: its annotations cannot be resolved ({error}); import those names at run "
                "time, not only for type checking"
            ) from error
    parameters = list(inspect.signature(function).parameters)
    if len(parameters) != count:
        raise RegistrationError(f"{name} must take {count} argument(s), it takes {parameters}")
    return hints, parameters


def _members(module: ModuleType) -> Iterator[Any]:
    for value in vars(module).values():
        if isinstance(value, Handler | Upcaster) and value.__module__ == module.__name__:
            yield value


def _load(point: EntryPoint) -> list[Any]:
    try:
        loaded = point.load()
    except Exception as error:
        raise RegistrationError(
            f"{_named(point)} cannot be imported: {type(error).__name__}: {error}; mend or "
            "uninstall it",
            plugin=point.name,
            distribution=_distribution(point),
        ) from error
    if isinstance(loaded, ModuleType):
        found = list(_members(loaded))
        if not found:
            raise RegistrationError(
                f"{_named(point)}: module {loaded.__name__} holds no function marked with @handler",
                plugin=point.name,
                distribution=_distribution(point),
            )
        return found
    if isinstance(loaded, Iterable):
        return list(loaded)
    return [loaded]


def _distribution(point: EntryPoint) -> str | None:
    return point.dist.name if point.dist is not None else None


def _named(point: EntryPoint) -> str:
    return f"plugin {point.name!r} ({point.value}) of distribution {_distribution(point)!r}"


def _field_of(error: Exception) -> str:
    _, marker, path = str(error).rpartition(" - at `")
    if marker:
        return path.rstrip("`")
    _, marker, name = str(error).partition("field `")
    return "$." + name.partition("`")[0] if marker else "$"
