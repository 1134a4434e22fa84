"""States of one type: cutting, assembly, digest and check.

`state_slices.py` cuts a state, `canonical.py` defines the digest, and `state_checks.py` refuses a
state. Everything about the type comes from one tree (`type_tree.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from eventstore.arguments import describe
from eventstore.errors import StateRefusedError
from eventstore.model.leaf_checks import Check
from eventstore.model.open_intents import NO_INTENTS, OpenIntents
from eventstore.model.operation import Event
from eventstore.model.own_code import runs_own_code
from eventstore.model.state_assembly import SliceReader
from eventstore.model.state_checks import check_of
from eventstore.model.state_slices import StateSlices
from eventstore.model.type_tree import type_tree
from eventstore.model.user_code import in_fold_context

__all__ = ["StateAt", "StateCodec", "codec_of", "state_digest", "state_refused_error"]

StateT = TypeVar("StateT")


class StateAt(NamedTuple, Generic[StateT]):
    """A state and where it stands: after event `seq`.

    `latest`: the latest time of any event up to there, nanoseconds since the epoch. `intents` are
    the intents that are open there.
    """

    state: StateT
    seq: int
    latest: int
    intents: OpenIntents = NO_INTENTS


class StateCodec(Generic[StateT]):
    """Cuts states of one type into slices, puts slices together to a state, and checks states.

    `state_type` may be a msgspec Struct, a dataclass, a mapping, or any other type of msgspec's.
    Raises `TypeError` or `NameError` for a foreign type.

    `check(state, before)` refuses a `state` that no snapshot gives back exactly. Parts shared with
    `before` are not checked again. With `ABSENT` as `before` the whole state is checked. A refusal
    is a `RefusedValueError` with the path of the part at fault.
    `name` is the name of the type. `runs_own_code` tells whether reading a state may call code of a
    class.
    """

    check: Check
    name: str
    runs_own_code: bool

    def __init__(self, state_type: Any) -> None:
        tree = type_tree(state_type)
        self.name = str(getattr(state_type, "__qualname__", state_type))
        self._reader = SliceReader(tree)
        self.check = check_of(tree)
        self.runs_own_code = runs_own_code(tree)

    def slices(self, state: StateT) -> StateSlices:
        """Encode `state` one slice at a time. After the iteration the result has the digest."""
        return StateSlices(state)

    def digest(self, state: StateT) -> str:
        """Return the digest that a snapshot of `state` carries: 64 hexadecimal digits."""
        return state_digest(state)

    @in_fold_context  # the class of a state may have code of its own
    def load(self, slices: Iterable[bytes]) -> StateT:
        """Put slices together to a state.

        Raises `msgspec.DecodeError`, `ValueError`, `TypeError` or `RecursionError` for slices
        of no such state.
        """
        state: StateT = self._reader.state(slices)
        return state

    @in_fold_context
    def load_with_digest(self, slices: Iterable[bytes]) -> tuple[StateT, str]:
        """Put slices together to a state, and return the state and its digest.

        The digest is computed while the slices are read, at about half the price of `digest`.
        Raises the errors of `load`.
        """
        state, digest = self._reader.state_and_digest(slices)
        return state, digest

    @in_fold_context
    def digest_as_read(self, slices: Iterable[bytes]) -> str:
        """Return the digest of the state that `load` would build from slices.

        Nothing is built, so memory stays flat. Raises the errors of `load`.
        """
        return self._reader.digest(slices)


def codec_of(state_type: Any) -> StateCodec[Any]:
    """Return the codec of a type. Raises `TypeError` and `NameError` as `StateCodec` does.

    The codec of a class is made once: the trading state takes 15 to 20 ms of a processor, and each
    test of a user's has a registry of its own. A codec holds nothing of any state.
    """
    return _codec_of_class(state_type) if isinstance(state_type, type) else StateCodec(state_type)


@functools.lru_cache(maxsize=64)
def _codec_of_class(state_type: type[Any]) -> StateCodec[Any]:
    return StateCodec(state_type)


def state_refused_error(event: Event[Any] | None, field: str, reason: str) -> StateRefusedError:
    """Make the error for a state whose part `field` is refused for a reason.

    `event` is the last event before the state, `None` for the first state.
    """
    made = "the state" if event is None else f"the state that {event.operation} leads to"
    return StateRefusedError(
        f"{made} does not fit its type: `{field}` {reason}. No snapshot could give this state "
        "back, so nothing was written: correct the handler, the initial state, or the type",
        operation="" if event is None else event.operation,
        field=field,
    )


def state_digest(state: Any) -> str:
    """Return the digest of a state: 64 hexadecimal digits, equal for equal states.

    The digest is the same on every supported Python, under every hash seed, and for every order in
    which the maps of the state grew. Numbers count as they are: `1` and `1.0` differ, and so do
    `0.0` and `-0.0`. A Struct with `omit_defaults=True` is the exception: msgspec leaves out a
    field whose value is the very object of the default, and keeps an equal one. Live, recovered and
    replayed states agree all the same, because each is folded from decoded events.

    Raises `StateRefusedError` for a value that no snapshot can carry.

    >>> state_digest({"a": 1, "b": 2}) == state_digest({"b": 2, "a": 1})
    True
    """
    slices = StateSlices(state, writing=False)
    try:
        for _ in slices:
            pass
    except (TypeError, ValueError, OverflowError, NotImplementedError, RecursionError) as error:
        raise StateRefusedError(
            f"there is no digest of {describe(state)}, because no snapshot can carry it: {error}",
            operation="",
            field="$",
        ) from error
    return slices.digest
