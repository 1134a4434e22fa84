"""Events to bytes and back, through one msgspec decoder over the union of all payload types.

An event is the MessagePack array `[seq, time, data, key, metadata]`. The events of one record are
concatenated. With a five-byte array header in front, one call decodes any number of events. An
`immutables.Map` is carried as a map, in payloads and in states.
"""

from __future__ import annotations

import contextlib
import operator
import struct
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from eventstore.clock import EARLIEST, LATEST, unusable_time_error
from eventstore.errors import (
    CorruptLogError,
    EventStoreError,
    InvalidPayloadError,
    UnknownOperationError,
)
from eventstore.model.conversion import (
    are_unchanged,
    decode_hook,
    event_hook,
    first_change,
)
from eventstore.model.differences import first_loss, parts_of, path_of
from eventstore.model.hidden_package import remedy_for
from eventstore.model.intent_settled import IntentSettled, settlement_hook, without_order_id
from eventstore.model.operation import OPERATION_FIELD, Event, Operation
from eventstore.model.user_code import fold_context, in_fold_context
from eventstore.model.value_types import unsupported_part

__all__ = [
    "EventCodec",
    "array_header",
    "field_of",
    "latest_time",
    "unrecordable_reason",
]

_ARRAY32 = struct.Struct(">BI")
_data = operator.attrgetter("data")
_shared = operator.attrgetter("key", "metadata")


_DECODING = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors of a decoder for unreadable bytes, text that is no UTF-8, and too deep nesting.

A decoder of typed events also runs the checks of the payload classes. A check may raise anything.
"""


def array_header(count: int) -> bytes:
    """Return the five bytes (MessagePack `array 32`) that make `count` events one array."""
    return _ARRAY32.pack(0xDD, count)


def _array_header_length(count: int) -> int:
    """Return the number of bytes in front of an encoded array of `count` items."""
    return 1 if count < 16 else 3 if count < 65536 else 5


class EventCodec:
    """Encodes events, and decodes events of a closed set of payload types, or of one value type.

    Without payload types, `value_type` is the type of all payloads. The default decodes any value
    to plain data.
    """

    def __init__(self, payload_types: Sequence[type[Operation]] = (), *, value_type: Any = Any):
        hook: Callable[[Any, Any], Any] = decode_hook
        if payload_types:
            value_type = typing.Union[tuple(payload_types)]  # noqa: UP007  built at run time
            if IntentSettled in payload_types:
                hook = settlement_hook(payload_types)
        self._encode = msgspec.msgpack.Encoder(enc_hook=event_hook).encode
        self._encode_canonically = msgspec.msgpack.Encoder(
            enc_hook=event_hook, order="deterministic"
        ).encode
        self._decode_value = msgspec.msgpack.Decoder(value_type, dec_hook=hook).decode
        self._decode_one = msgspec.msgpack.Decoder(Event[value_type], dec_hook=hook).decode
        self._decode_many = msgspec.msgpack.Decoder(list[Event[value_type]], dec_hook=hook).decode

    def encode(self, event: Event[Any]) -> bytes:
        """Return the bytes of one event."""
        return self._encode(event)

    @in_fold_context
    def canonical(self, payload: Any) -> bytes:
        """Return bytes that equal payloads share, whatever the order of their sets and maps.

        The client order id of an intent does not count: the store may have filled in the id.
        """
        return self._encode_canonically(without_order_id(payload))

    def canonical_of_recorded(self, data: bytes) -> bytes:
        """Return the canonical bytes of a recorded payload, or `data` where none can be made."""
        try:
            return self.canonical(fold_context().run(self._decode_value, data))
        except Exception:  # noqa: BLE001  a payload's own check may raise anything
            return data

    def encode_all(self, events: Sequence[Event[Any]]) -> bytes:
        """Return the concatenated bytes of several events, encoded in one call."""
        return self._encode(events)[_array_header_length(len(events)) :]

    def round_trip(self, event: Event[Any]) -> tuple[Event[Any], bytes]:
        """Encode `event` and decode the bytes. Returns the decoded event and the bytes.

        The log will give back the decoded event. Raises `InvalidPayloadError` where the two events
        differ or either step fails. NaN is always refused, because NaN equals nothing, not even the
        same NaN after a restart. Raises `ConfigError` for a time that no event can have. Only a
        clock of the user's gives such a time.
        """
        if event.time.__class__ is not int or not EARLIEST <= event.time <= LATEST:
            raise unusable_time_error(event.time)
        try:
            encoded = self._encode(event)
        except Exception as error:  # a value's own code may raise anything
            parts = ((event.data, "$"), (event.key, "$key"), (event.metadata, "$metadata"))
            found = (self._unencodable(part, name) for part, name in parts)
            path = next((path for path in found if path is not None), "$")
            raise self._invalid(event, f"{error} - at `{path}`") from error
        try:
            decoded = self._decode_one(encoded)
            survives = decoded == event
        except Exception as error:  # a payload's own check or equality may raise anything
            part = _incomparable_part(event.data, "$")
            place = "" if part is None else f" - at `{part}`"
            raise self._invalid(event, f"{_reason(error)}{place}") from error
        if not survives:
            loss = first_loss(event, decoded)
            if loss is not None:
                raise self._invalid(event, loss)
        return decoded, encoded

    def round_trips(self, events: list[Event[Any]]) -> tuple[list[Event[Any]], bytes]:
        """Encode and decode several events, in one call each way. Raises as `round_trip` does.

        Returns the decoded events and the concatenated bytes.
        """
        if events[0].time.__class__ is not int or not EARLIEST <= events[0].time <= LATEST:
            raise unusable_time_error(events[0].time)
        survive, wrong = False, None
        try:
            encoded = self._encode(events)
            decoded = self._decode_many(encoded)
            survive = decoded == events
        except Exception as error:  # noqa: BLE001  a value's own code may raise anything
            wrong = error
        if not survive:
            list(map(self.round_trip, events))  # raises for the event at fault, with the path
            if wrong is not None:
                # Each event passes alone: the group nests too deeply, or a signal handler raised.
                reason = f"{_reason(wrong)} (in the group as a whole)"
                raise self._invalid(events[0], reason) from wrong
        return decoded, encoded[_array_header_length(len(events)) :]

    def unchanged(self, events: list[Event[Any]]) -> bytes:
        """Return the concatenated bytes of events, and refuse values that reading would change.

        The events share one key and one metadata. Equality is too lenient: an enumeration of text
        equals the text, and a `bytearray` equals `bytes`. So types are compared as well, at any
        depth.

        Raises `InvalidPayloadError` as `round_trip` does.
        """
        if events[0].time.__class__ is not int or not EARLIEST <= events[0].time <= LATEST:
            raise unusable_time_error(events[0].time)
        decoded = None
        with contextlib.suppress(Exception):  # the walk tells the reason
            encoded = self._encode(events)
            decoded = self._decode_many(encoded)
        if decoded is None:
            return self.round_trips(events)[1]  # raises for the event at fault
        if not (
            are_unchanged(list(map(_data, events)), list(map(_data, decoded)))
            and are_unchanged(_shared(events[0]), _shared(decoded[0]))
        ):
            for event, read in zip(events, decoded, strict=True):
                try:
                    change = (
                        first_change(event.data, read.data, "$")
                        or first_change(event.metadata, read.metadata, "$metadata")
                        or first_change(event.key, read.key, "$key")
                    )
                except RecursionError as error:  # msgspec goes deeper than Python
                    raise self._invalid(event, f"a value is nested too deeply: {error}") from error
                if change is not None:
                    raise self._invalid(event, change)
        del decoded  # a copy of every value
        return encoded[_array_header_length(len(events)) :]

    def _unencodable(self, value: Any, path: str) -> str | None:
        """Return the path of the innermost part of `value` that cannot be encoded."""
        try:
            self._encode(value)
        except RecursionError:
            return path
        except Exception:  # noqa: BLE001  the reason is known, and the place is looked for
            with contextlib.suppress(Exception):  # a value's own code, asked for its parts
                for step, part in parts_of(value):
                    found = self._unencodable(part, path + path_of((step,)))
                    if found is not None:
                        return found
            return path
        return None

    @staticmethod
    def _invalid(event: Event[Any], reason: str) -> InvalidPayloadError:
        reason = (
            reason.replace("`$[2]", "`$").replace("`$[3]", "`$key").replace("`$[4]", "`$metadata")
        )
        field = field_of(reason)
        return InvalidPayloadError(
            f"{event.operation}, field `{field}`: {reason}; nothing was written",
            operation=event.operation,
            field=field,
        )

    def decode(self, array: bytes, count: int, first_seq: int) -> list[Event[Any]]:
        """Decode an array of `count` events, from number `first_seq` on.

        `array` begins with an array header. Raises `UnknownOperationError` for an operation outside
        the union, `InvalidPayloadError` for a payload that does not fit the payload class any
        more, and `CorruptLogError` for bytes that are no such events.
        """
        try:
            # A payload's own checks run here: the same surroundings as when it was appended.
            events: list[Event[Any]] = fold_context().run(self._decode_array, array)
        except Exception as error:  # a payload's own check may raise anything
            raise self._explain(array, count, first_seq, error) from error
        if events and (events[0].seq != first_seq or events[-1].seq != first_seq + count - 1):
            raise CorruptLogError(
                f"a record of events {first_seq} to {first_seq + count - 1} holds "
                f"{events[0].seq} to {events[-1].seq}",
                path="",
                expected_seq=first_seq,
            )
        return events

    def _decode_array(self, array: bytes) -> list[Event[Any]]:
        events: list[Event[Any]] = self._decode_many(array)
        return events

    def _explain(
        self, array: bytes, count: int, first_seq: int, error: Exception
    ) -> EventStoreError:
        """Find the event at fault after a failed decode, and make the error for it."""
        try:
            raw = msgspec.msgpack.decode(array, type=list[msgspec.Raw])
        except _DECODING as broken:
            what = f"the record of event {first_seq} is no sequence of {count} events"
            return _undecodable(what, first_seq, broken)
        for seq, item in enumerate(raw, first_seq):
            try:
                self._decode_one(item)
            except Exception as reason:  # noqa: BLE001  as above
                try:
                    data = msgspec.msgpack.decode(item)
                except _DECODING as broken:
                    return _undecodable(f"event {seq} is no MessagePack", seq, broken)
                payload = data[2] if isinstance(data, list) and len(data) > 2 else None
                tag = payload.get(OPERATION_FIELD) if isinstance(payload, dict) else None
                if str(reason).startswith("Invalid value"):
                    name = str(tag).partition("@")[0]
                    remedy = remedy_for(
                        name,
                        "install the plugin that recorded it, or register its handler (or, for an "
                        "old version of a payload, its upcaster), then open again",
                    )
                    return UnknownOperationError(
                        f"event {seq} is a {tag!r}, for which no handler is registered: {remedy}",
                        operation=name,
                        seq=seq,
                    )
                return InvalidPayloadError(
                    f"event {seq} ({tag}) does not fit its payload class any more: "
                    f"{_reason(reason)}; give new fields a default, or a new version and an "
                    "upcaster",
                    operation=str(tag),
                    field="$",
                )
        if isinstance(error, _DECODING):
            return CorruptLogError(str(error), path="", expected_seq=first_seq)
        return InvalidPayloadError(
            f"events {first_seq} to {first_seq + count - 1} could not be decoded together, and "
            f"each alone could: {_reason(error)}",
            operation="",
        )


def _undecodable(what: str, seq: int, error: Exception) -> EventStoreError:
    """Make the error for undecodable bytes. Too deep a stack is no damage."""
    if isinstance(error, RecursionError):
        return InvalidPayloadError(
            f"event {seq} or one soon after it is nested too deeply to be read from here: {error}; "
            "read it from fewer calls deep",
            operation="",
        )
    return CorruptLogError(f"{what}: {error}", path="", expected_seq=seq)


def _reason(error: Exception) -> str:
    """Return the text of a decoder's error, with the kind of an error from outside msgspec."""
    if isinstance(error, msgspec.MsgspecError | RecursionError | ValueError):
        return str(error)
    return f"{type(error).__name__}: {error}"


class _Timed(msgspec.Struct, array_like=True, gc=False):
    """The first two members of an event. A decoder skips the rest."""

    seq: int
    time: int


_decode_timed = msgspec.msgpack.Decoder(list[_Timed]).decode


def latest_time(body: bytes, count: int) -> int:
    """Return the latest time of `count` concatenated events, without decoding the payloads.

    The time is in nanoseconds since the epoch. Raises `CorruptLogError` for bytes that are no
    events.
    """
    try:
        return max(event.time for event in _decode_timed(array_header(count) + body))
    except _DECODING as error:
        raise CorruptLogError(f"a record holds no {count} events: {error}", path="") from error


def unrecordable_reason(kind: Any) -> str | None:
    """Say why values of a payload's or a state's type cannot be recorded, `None` if they can."""
    try:
        msgspec.msgpack.Decoder(kind, dec_hook=decode_hook)
        found = unsupported_part(kind)
    except Exception as error:  # noqa: BLE001  of msgspec, or of code of the type's own
        return str(error) or type(error).__name__
    if found is not None:
        return f"{found}, which MessagePack cannot carry"
    if isinstance(kind, type) and issubclass(kind, Operation):
        tag_field = kind.__struct_config__.tag_field
        if tag_field != OPERATION_FIELD:
            return f"its tag_field is {tag_field!r} instead of {OPERATION_FIELD!r}"
    return None


def field_of(reason: str) -> str:
    """Return the path of the field that a validation error of msgspec names.

    >>> field_of("Object missing required field `price` - at `$.legs[0]`")
    '$.legs[0].price'
    """
    reason, _, path = reason.rpartition(" - at `") if " - at `" in reason else (reason, "", "")
    path = path.rpartition("`$")[2] if "`$" in path else path.removeprefix("$")
    path = "$" + path.rstrip("`")
    _, named, name = reason.partition(" field `")
    return f"{path}.{name.partition('`')[0]}" if named else path


def _incomparable_part(value: Any, path: str) -> str | None:
    """Return the path of the first part whose comparison raises, such as a signalling NaN."""
    parts: Iterable[tuple[Any, str]]
    try:
        if isinstance(value, msgspec.Struct):
            parts = ((getattr(value, name), f"{path}.{name}") for name in value.__struct_fields__)
        elif isinstance(value, Mapping):
            parts = ((part, f"{path}[{key!r}]") for key, part in value.items())
        elif isinstance(value, list | tuple):
            parts = ((part, f"{path}[{index}]") for index, part in enumerate(value))
        else:
            value == value  # noqa: B015, PLR0124  whether the comparison raises is the question
            return None
        found = (_incomparable_part(part, name) for part, name in parts)
        return next((name for name in found if name is not None), None)
    except Exception:  # noqa: BLE001  a value's own code may raise anything
        return path
