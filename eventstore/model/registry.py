"""The registry: collects handlers and upcasters, and turns operations into events and states.

Theory of operation
-------------------
A *handler* is a pure function `(state, event) -> new state` for one operation. `HandlerRegistry`
collects handlers, by hand or from installed plugins (`plugins.py`), and builds one msgspec decoder
over the tagged union of all payload types. This decoder is the codec. Appending, recovery and
replay use the same codec, so what one of the three accepts, the others accept too.

An *upcaster* turns an older payload of an operation into a newer one. Old payload classes stay
members of the union for ever: an old event is decoded as the class that was recorded, and led step
by step to a class with a handler (`upcasting.py`).

A fault of one item is found when the item is registered. A fault of all items together, such as an
upcaster that leads nowhere, is found when the codec is built, which opening a store does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from eventstore.arguments import checked_flag, describe
from eventstore.errors import RegistrationError
from eventstore.model.append_arguments import (
    build_payload,
    build_payloads,
    checked_metadata,
    marked_events,
    refused_payload_error,
)
from eventstore.model.codec import EventCodec
from eventstore.model.fingerprint import fingerprint_of
from eventstore.model.handler import (
    NO_STATE,
    STOPPED,
    Handler,
    Registrable,
    Upcaster,
    checked_callable,
    fold_events,
    handler_fault_error,
)
from eventstore.model.initial_state import make_initial
from eventstore.model.intent_settled import IntentSettled, opens_intents, unchanged
from eventstore.model.leaf_checks import Check, RefusedValueError
from eventstore.model.map_changes import ABSENT
from eventstore.model.operation import Event, KeyTexts, Operation, operation_name, tag_of
from eventstore.model.operation_traits import TraitsByType
from eventstore.model.payload_class_check import check_payload_class
from eventstore.model.plugins import (
    ENTRY_POINT_GROUP,
    errors_naming_plugin,
    find_plugins,
    handlers_in,
    plugin_error,
    rivals_error,
    what_it_reads,
)
from eventstore.model.repair_notes import REPAIR_NOTES, with_notes
from eventstore.model.state_codec import StateCodec, codec_of, state_refused_error
from eventstore.model.upcasting import Upcasters
from eventstore.model.user_code import fold_context

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["HandlerRegistry"]

StateT = TypeVar("StateT")
FoundT = TypeVar("FoundT")
_NAMES_IN_REPR = 4


class HandlerRegistry(Generic[StateT]):
    """The handlers of one state type, and the codec built from their payload types.

    Args:
        handlers: Handlers, upcasters, modules, or iterables of handlers and upcasters.
        initial: Makes the state before the first event. The default calls the state type without
            arguments.
        state_type: The type of the state. The default is the state type of the first handler.

    `marked` are the payload types that open or settle intents, none where no operation intends, and
    `trusted` those whose handlers are marked as trusted.

    Raises:
        RegistrationError: A function lacks annotations, two handlers have one operation, handlers
            have different states, or msgspec cannot handle a payload.
    """

    def __init__(
        self,
        *handlers: Registrable[StateT],
        initial: Callable[[], StateT] | None = None,
        state_type: type[StateT] | None = None,
    ) -> None:
        checked_callable(initial)
        self._handlers: dict[str, Handler[StateT, Any]] = {}
        self._current: dict[str, type[Operation]] = {}
        self._payloads: dict[str, type[Operation]] = {}
        self.marked: frozenset[type[Operation]] = frozenset()
        self.trusted: frozenset[type[Operation]] = self.marked
        self._fold: dict[type[Any], Callable[[StateT, Event[Any]], StateT]] = {**REPAIR_NOTES}
        self._upcasters = Upcasters(self._fold.keys())
        self._entry_points: dict[Any, EntryPoint] = {}
        self._state_type: Any = state_type
        self._initial = initial
        self.traits: TraitsByType = TraitsByType()
        self._codec: EventCodec | None = None
        self._states: StateCodec[StateT] | None = None
        self._check: Check | None = None
        self._fingerprint: dict[str, str] | None = None
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
        """Make a registry of every installed plugin whose handlers are for `state_type`.

        An entry point of `group` names a handler, an upcaster, or a module or iterable of some.
        Handlers for other states are left out. Without a `state_type`, all handlers must be for one
        state. `initial` makes the state before the first event.

        Raises `RegistrationError`, naming the plugin and its distribution, for a plugin that cannot
        be imported, and for two plugins that handle the same operation. Trading handlers that a
        package of the same name hides are left out.
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
        shown = ", ".join(names) if len(names) <= _NAMES_IN_REPR else f"{len(names)} operations"
        return f"<HandlerRegistry of {state}: {shown or 'no operations'}>"

    def register(self, item: Registrable[StateT], *, replace: bool = False) -> None:
        """Add a handler, an upcaster, or all handlers and upcasters of a module or an iterable.

        With `replace`, an item takes the place of an earlier one for the same payloads, as where a
        cell of a notebook is run again. Raises `RegistrationError` as the constructor does. Items
        before the refused one stay, and with `replace` every earlier item does.
        """
        if not checked_flag("replace", replace):
            for member in handlers_in(item):
                self._add(member, None)
            return
        found = list(handlers_in(item))
        taken = set(map(what_it_reads, found))
        kept = [one for one in self.items if what_it_reads(one) not in taken]
        fresh = HandlerRegistry(*kept, *found, initial=self._initial, state_type=self._state_type)
        vars(self).update(vars(fresh), _entry_points=self._entry_points)

    def _add(
        self, item: Handler[StateT, Any] | Upcaster[Any, Any], point: EntryPoint | None
    ) -> None:
        if isinstance(item, Handler):
            self._add_handler(item)
        else:
            self._add_upcaster(item)
        if point is not None:
            self._entry_points.setdefault(item, point)
        self._codec = self._states = self._check = self._fingerprint = None

    def _add_handler(self, item: Handler[StateT, Any]) -> None:
        state_type, payload_type = item.types()
        operation = operation_name(payload_type)
        other = self._handlers.get(operation)
        if other is not None and other is not item:
            raise rivals_error(item, other, self._entry_points.get(other))
        if self._state_type is not None and state_type != self._state_type:
            raise RegistrationError(
                f"{item!r} is for {describe(state_type)}, but this registry's state is "
                f"{describe(self._state_type)}",
                operation=operation,
            )
        check_payload_class(item, payload_type, self._payloads)
        if opens_intents(payload_type) and IntentSettled not in self._fold:
            check_payload_class(item, IntentSettled, self._payloads)
            self._read(IntentSettled, unchanged)  # until there is a handler
        self._state_type = state_type
        self._handlers[operation] = item
        self._read(payload_type, item.function)
        self.trusted |= {payload_type} if item.trusted else set()

    def _read(self, payload_type: type[Operation], function: Callable[[Any, Any], Any]) -> None:
        self._current[operation_name(payload_type)] = payload_type
        self._payloads[tag_of(payload_type)] = payload_type
        self._fold[payload_type] = function
        self.traits.add(payload_type)
        if IntentSettled in self._fold:
            traits = self.traits.items()
            self.marked = frozenset(kind for kind, one in traits if one.intent or one.settles)

    def _add_upcaster(self, item: Upcaster[Any, Any]) -> None:
        old = item.old_type()
        item.new_types()
        other = self._upcasters.of(old)
        if other is not None and other is not item:
            raise rivals_error(item, other, self._entry_points.get(other))
        check_payload_class(item, old, self._payloads)
        self._upcasters.add(old, item)
        self._payloads[tag_of(old)] = old

    @property
    def state_type(self) -> Any:
        """The type of the state that the handlers fold."""
        return self._state_type

    @property
    def operations(self) -> tuple[str, ...]:
        """The sorted names of the operations with a handler, the built-in ones included."""
        return tuple(sorted(self._current))

    @property
    def items(self) -> tuple[Handler[StateT, Any] | Upcaster[Any, Any], ...]:
        """Every registered handler and upcaster."""
        return (*self._handlers.values(), *self._upcasters)

    @property
    def payload_types(self) -> tuple[type[Operation], ...]:
        """Every payload class that the codec can read, old classes included."""
        return tuple(self._payloads.values())

    @property
    def codec(self) -> EventCodec:
        """The codec over all payload types, built on first use and again after a registration.

        Raises `RegistrationError` for an upcaster that leads nowhere or in a circle.
        """
        if self._codec is None:
            if (fault := self._upcasters.first_fault()) is not None:
                item, reason = fault
                error = RegistrationError(
                    f"{item!r}: {reason}", operation=operation_name(item.old_type())
                )
                point = self._entry_points.get(item)
                raise error if point is None else plugin_error(error, point)
            self._codec = EventCodec(with_notes(self._payloads))
        return self._codec

    def check(self) -> None:
        """Raise the `RegistrationError` that opening a store with this registry would raise."""
        self.fingerprint()

    @property
    def states(self) -> StateCodec[StateT]:
        """The codec of the state. Raises `RegistrationError` for one that no snapshot can carry."""
        if self._states is None:
            kind = Any if self._state_type is None else self._state_type
            try:
                self._states = codec_of(kind)
            except (TypeError, NameError) as error:
                raise RegistrationError(f"a snapshot cannot carry {kind!r}: {error}") from error
        return self._states

    def initial(self) -> StateT:
        """Return the state before the first event, as a copy that nobody else holds.

        Raises `RegistrationError` where there is no state type, or making the state raises.
        """
        return make_initial(self._initial, self._state_type)

    def payload(self, operation: str, data: Mapping[str, Any]) -> Operation:
        """Build the current payload of `operation` from a plain mapping, with strict types.

        Raises `UnknownOperationError`, and `InvalidPayloadError` with the path of the field.
        """
        return build_payload(self._current, operation, data)

    def payloads(self, operations: tuple[Any, ...]) -> Sequence[Operation]:
        """Return the payloads that `append(*operations)` means.

        `operations` are payload objects, `(name, mapping)` pairs, or one name and one mapping.
        Payload objects are returned as they are, and validated by `record`.

        Raises `UnknownOperationError` and `InvalidPayloadError`.
        """
        if len(operations) == 1 and type(operations[0]) in self._fold:
            return operations
        if operations and set(map(type, operations)) <= self._fold.keys():
            return operations  # the types of a group are compared without a call for each event
        return build_payloads(self._current, operations)

    def record(
        self,
        first: int,
        time: int,
        payloads: Sequence[Operation],
        key: KeyTexts,
        metadata: Any,
        marks: Sequence[dict[str, Any]] | None = None,
    ) -> tuple[list[Event[Any]], bytes]:
        """Encode payloads as events, and decode the bytes as recovery will.

        `first` is the number of the first event, `time` the time of all in nanoseconds since the
        epoch. `marks` are the store's own metadata of each event. Returns the decoded events and
        the bytes. The decoded payloads share nothing with the caller's objects. A value that would
        not survive the log is refused here, before a byte is written.

        Raises `UnknownOperationError` and `InvalidPayloadError`.
        """
        for data in payloads:
            if type(data) not in self._fold:
                raise refused_payload_error(data, self._current, old=type(data) in self._upcasters)
        if metadata is not None:
            metadata = checked_metadata(metadata, data)
        codec = self._codec or self.codec
        keys = key if isinstance(key, list) else [key] * len(payloads)
        if marks is not None:
            return codec.round_trips(marked_events(first, time, payloads, keys, metadata, marks))
        if len(payloads) == 1:
            event, body = codec.round_trip(Event(first, time, data, keys[0], metadata))
            return [event], body
        numbered = zip(range(first, first + len(keys)), payloads, keys, strict=True)
        return codec.round_trips([Event(seq, time, data, k, metadata) for seq, data, k in numbered])

    def apply(self, state: StateT, event: Event[Any]) -> StateT:
        """Fold one current event, inside a `fold_context` of the caller.

        An exception of the handler reaches the caller unchanged. Raises `InvalidPayloadError` for a
        handler that returns `None` instead of a state, and for `StopIteration`, which no coroutine
        can pass on.
        """
        try:
            folded = self._fold[type(event.data)](state, event)
        except StopIteration as error:
            raise handler_fault_error(event, STOPPED) from error
        if folded is None and state is not None:
            raise handler_fault_error(event, NO_STATE)
        return folded

    def check_state(
        self, state: Any, before: Any = ABSENT, event: Event[Any] | None = None
    ) -> None:
        """Refuse a state that a snapshot could not give back exactly.

        Parts that are the same objects as in `before` are not checked again. `event` is the event
        before the state. A state of a type that no snapshot can carry is not checked. Raises
        `StateRefusedError`, which names the operation and the path of the part at fault.
        """
        try:
            (self._check or self._made_check())(state, before)
        except RefusedValueError as error:
            raise state_refused_error(event, error.path, error.reason) from error
        except RecursionError as error:
            raise state_refused_error(event, "$", "is nested too deeply") from error

    def _made_check(self) -> Check:
        try:
            self._check = self.states.check
        except RegistrationError:
            self._check = lambda state, before: None
        return self._check

    def upcast(self, events: Sequence[Event[Any]]) -> Sequence[Event[Any]]:
        """Lead old payloads to current ones. A split payload becomes events of one number."""
        return self._upcasters.lead(events)

    def fold(self, state: StateT, events: Iterable[Event[Any]]) -> StateT:
        """Fold upcast events of the log, for recovery and replay.

        Raises `ReplayError`, naming event and operation, from the exception of a handler.
        """
        return fold_context().run(fold_events, self._fold, state, events)

    @property
    def functions(self) -> Mapping[type[Any], Callable[[StateT, Event[Any]], StateT]]:
        """The handlers' functions by payload type, for loops that cannot afford one more call."""
        return self._fold

    def fingerprint(self) -> dict[str, str]:
        """Return a digest for each operation, and one of the state type under the key `""`.

        A snapshot's state depends on these types and versions. The fingerprint is kept until the
        next registration, and so is the verdict on the types. Raises `RegistrationError` for an
        upcaster that leads nowhere or in a circle, and for a state that a snapshot cannot carry.
        """
        if self._fingerprint is None:
            _ = self.codec  # raises for upcasters that do not arrive
            versions = {operation: item.version for operation, item in self._handlers.items()}
            self._fingerprint = fingerprint_of(self._current, versions, self._state_type)
        return self._fingerprint.copy()

    def same_as(self, other: HandlerRegistry[Any]) -> bool:
        """Tell whether both registries hold the same handlers and upcasters."""
        known: Any = other
        alike = isinstance(known, HandlerRegistry) and self._fold == other._fold
        return self is other or (alike and set(self._upcasters) == set(other._upcasters))
