"""The built-in operation for settling an intent, and the marks of intents in events' metadata.

Theory of operation
-------------------
An event opens or settles an intent by a mark in the event's own metadata. The bookkeeping of open
intents (`open_intents.py`) reads these marks and nothing else. Two alternatives lost. Reading the
class arguments `intent=` and `settles=` at every fold would change the past with every change of a
class. A structure of the log's own would hide the marks from every reader.

An `IntentSettled` repeats the intended operation. Handlers therefore need no bookkeeping: the
operation is at hand in every fold, also after the intent's own event was discarded.
"""

from __future__ import annotations

import abc
import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from eventstore.model.conversion import decode_hook, encode_hook
from eventstore.model.operation import Operation
from eventstore.model.operation_traits import traits_of

__all__ = [
    "OPENS",
    "RESERVED",
    "SETTLES",
    "IntentSettled",
    "opens_intents",
    "settlement_hook",
    "unchanged",
    "without_order_id",
]

OPENS = "eventstore.intent"
"""The key in the metadata of an event with a new intent. The value is the mark, a map:

* `id`: the client order id.
* `given`: true for an id of the caller's, absent for an id of the store's.
* `within`: nanoseconds for which the venue may still act, absent where unknown.
* `lag`: nanoseconds of delay of the venue's queries.
"""

SETTLES = "eventstore.settles"
"""The key in the metadata of a settlement of an open intent. The value is the intent's id."""

RESERVED = frozenset((OPENS, SETTLES))
"""The keys for the store alone, refused in the metadata of a caller."""

if TYPE_CHECKING:
    Intended = Operation
else:

    class Intended(abc.ABC):  # noqa: B024  only a name that msgspec takes for any operation
        """Any operation, where msgspec asks `settlement_hook` for the class."""

    Intended.register(Operation)


class IntentSettled(Operation, tag="intent_settled", settles="id"):
    """The end of an intent, with the outcome.

    `Doubt.settle` appends this operation. A handler is optional, and sees the intended operation as
    `event.intended`.

    Attributes:
        id: The client order id of the intent.
        outcome: `accepted`, `rejected`, `never_sent`, `expired`, `unknown`, or another text.
        note: More about the outcome, in words.
        intended: The operation of the intent, filled in by the store. `None` where no intent of
            the id is open.
    """

    id: str
    outcome: str
    note: str | None = None
    intended: Intended | None = None


def opens_intents(payload_type: type[Operation]) -> bool:
    """Tell whether operations of a class open intents."""
    traits = traits_of(payload_type)
    return traits is not None and traits.intent is not None


def without_order_id(payload: Any) -> Any:
    """Return an intent as a map without the client order id, any other payload as the payload."""
    traits = traits_of(type(payload))
    if traits is None or traits.intent is None:
        return payload
    names = payload.__struct_fields__
    return {name: getattr(payload, name) for name in names if name != traits.intent}


def unchanged(state: Any, event: Any) -> Any:
    """Return the state as before: the fold of a settlement without a handler."""
    return state


def settlement_hook(payload_types: Sequence[type[Operation]]) -> Callable[[Any, Any], Any]:
    """Return the hook of a decoder, for the class of the intended operation in a settlement.

    `payload_types` are the classes of the codec.
    """
    kinds = tuple(kind for kind in payload_types if kind is not IntentSettled)
    known: Any = typing.Union[kinds] if kinds else msgspec.UnsetType  # noqa: UP007  made at run time
    encode = msgspec.msgpack.Encoder(enc_hook=encode_hook).encode
    decode = msgspec.msgpack.Decoder(known, dec_hook=decode_hook).decode

    def hook(kind: Any, value: Any) -> Any:
        return decode(encode(value)) if kind is Intended else decode_hook(kind, value)

    return hook
