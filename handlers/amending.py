"""Telling again, and amending: duplicates, conflicts, busts, corrections and late fees.

Every function returns the next state, or the same object where nothing changes. The identity of an
amendment is remembered like the identity of any message, so a second telling counts for nothing. An
amendment of an unknown fill waits in the memory, and is applied when the fill comes.

Of two corrections of one version of a fill, the later by venue time stands, whichever was told
first. A bust stands against every correction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from immutables import Map

from eventstore import Event
from handlers.amounts import exact
from handlers.booking import book_fill, on_every_side, rebook
from handlers.errors import ConflictError, TradingError
from handlers.instrument import Instrument
from handlers.message_memory import (
    Amendment,
    Effect,
    Fill,
    Identity,
    Memory,
    Message,
    Terms,
    Told,
    message_identity,
)
from handlers.position import PositionKey
from handlers.state import EngineState, balance_key
from handlers.sums import added

__all__ = [
    "amend",
    "book_with_waiting",
    "fill_told_again",
    "is_known",
    "same_text",
    "take_effect_once",
    "text",
]

replace = msgspec.structs.replace


def text(value: Any, operation: str, field: str) -> str:
    """Return a number as text, equal for equal numbers. `None` is the empty text."""
    return "" if value is None else format(exact(value, operation, field).normalize(), "f")


def same_text(value: str | None) -> str:
    """Return an optional text, empty for `None`."""
    return value or ""


def is_known(memory: Memory, identity: Identity, message: Message, payload: Any) -> bool:
    """Tell whether a message was told before.

    Raises `ConflictError` where another content was told, and `TooLateError` where the memory does
    not reach back.
    """
    told = memory.get(identity)
    if told is None:
        memory.refuse_too_late(identity, message.time)
        return False
    difference = "another kind of message"
    if isinstance(told, Message) and len(told.content) == len(message.content):
        difference = told.difference(message.content)
    if difference:
        raise ConflictError(told, payload, difference)
    return True


def take_effect_once(
    state: EngineState, event: Event[Any], content: tuple[tuple[str, str], ...], effect: Effect
) -> EngineState:
    """Return the state after a split or a settlement of every side of a symbol.

    Returns `state` where the message was told before. Raises as `is_known` does.
    """
    data = event.data
    message = Message(
        state.memory.count + 1,
        event.time,
        content,
        data.account,
        data.symbol,
        None,
        effect,
        time=data.time,
    )
    operation = event.operation
    identity = message_identity(operation, data.venue, data.account, data.reference)
    if is_known(state.memory, identity, message, data):
        return state
    state = replace(state, memory=state.memory.add(identity, message))
    return on_every_side(state, effect, data.symbol, data.account, event.time)


def fill_told_again(
    state: EngineState, identity: Identity, terms: Terms, side: str, payload: Any
) -> EngineState:
    """Return the state after a known fill was told again: the same, or with the missing fee.

    Raises `ConflictError` for terms unlike the first ones and unlike the booked ones, and for
    another order.
    """
    version = state.memory.get(identity)
    found = state.memory.fill_of(identity)
    if found is None:  # the fill was forgotten, but not this version of the fill
        known = version.terms if isinstance(version, Message) else None
        difference = "" if known is None else known.difference(terms)
        if difference:
            raise ConflictError(version, payload, difference)
        return state
    root, fill = found
    if fill.side != side:
        raise ConflictError(fill, payload, f"position side {fill.side} and {side}")
    if "" != fill.order_id != payload.order_id != "":
        raise ConflictError(fill, payload, f"order {fill.order_id} and {payload.order_id}")
    if payload.fee_currency is None:  # what a default stands for may have changed since
        terms = replace(terms, fee_currency=fill.fee_currency or terms.fee_currency)
    first = version.terms if isinstance(version, Message) else fill.told or fill.terms
    difference = "" if first is None else first.difference(terms)
    if difference:
        booked = identity == (root, *fill.versions)[-1] and not fill.busted
        if not booked or fill.terms.difference(terms):
            raise ConflictError(fill, payload, difference)
    if terms.fee is None or fill.busted or (first is not None and first.fee is not None):
        return state
    if fill.fee is not None and fill.fee_version <= _place_of(fill, root, identity):
        fees = replace(fill.terms, fee=terms.fee, fee_currency=terms.fee_currency)
        if difference := fill.terms.difference(fees):
            raise ConflictError(fill, payload, difference)
        return state
    now = _with_fee(fill, root, identity, terms, payload)
    if now == fill:
        return state
    _refuse_closed_era(state.memory, fill, payload)
    return _rebooked(state, root, fill, now)


def amend(
    state: EngineState,
    event: Event[Any],
    amendment: Amendment,
    content: tuple[tuple[str, str], ...],
) -> EngineState:
    """Return the state after a fill was busted, corrected, or given a fee.

    `content` is remembered, and compared with the content of the same message told again.

    Raises `ConflictError` for a known identity with another content, and for a fee unlike the known
    one. Raises `TradingError` for a fill from before the last `full_state`.
    """
    memory, payload = state.memory, event.data
    message = Message(
        memory.count + 1, event.time, content, payload.account, payload.symbol, time=payload.time
    )
    if is_known(memory, amendment.identity, message, payload) or memory.waits(amendment):
        return state
    found = memory.fill_of(amendment.fill)
    if found is None:
        memory.refuse_if_forgotten(amendment)
        memory = memory.wait(amendment).add(amendment.identity, message)
        return replace(state, memory=memory)
    root, was = found
    _refuse_closed_era(memory, was, payload)
    aliases: dict[Identity, Told] = {}
    now = _applied(memory, root, was, amendment, payload, aliases)
    if now == was and amendment.only_fee:
        return state
    state = _without_copies(state, aliases, payload)
    booked = state.memory.get(root)
    assert isinstance(booked, Fill), "taking out a copy leaves every other fill"
    state = _rebooked(state, root, booked, replace(now, before=booked.before))
    aliases[amendment.identity] = message
    return replace(state, memory=_remembered(state.memory, aliases))


def book_with_waiting(
    state: EngineState,
    identity: Identity,
    fill: Fill,
    key: PositionKey,
    instrument: Instrument,
    payload: Any,
) -> EngineState:
    """Book a fill with the waiting amendments of the fill, in the order of telling."""
    aliases = dict[Identity, Told]()
    for amendment in state.memory.waiting.get(identity, ()):
        try:
            fill = _applied(state.memory, identity, fill, amendment, payload, aliases)
        except ConflictError as error:
            difference = f"{error.difference} (told fee=None, the fill takes the waiting fee)"
            raise ConflictError(amendment, payload, difference) from error
    state = _without_copies(state, aliases, payload)
    memory = replace(state.memory, waiting=state.memory.waiting.delete(identity))
    memory = _remembered(memory, aliases)
    fill = replace(fill, before=state.positions.get(key))
    return book_fill(state, fill, key, instrument, memory.add(identity, fill))


def _without_copies(
    state: EngineState, aliases: Mapping[Identity, Told], payload: Any
) -> EngineState:
    """Return the state without fills that turned out to be a version of another fill."""
    for identity in aliases:
        copy = state.memory.get(identity)
        if isinstance(copy, Fill):
            _refuse_closed_era(state.memory, copy, payload)
            state = rebook(state, identity, replace(copy, busted=True))
    return state


def _applied(
    memory: Memory,
    root: Identity,
    fill: Fill,
    amendment: Amendment,
    payload: Any,
    aliases: dict[Identity, Told],
) -> Fill:
    """Apply an amendment, and the waiting amendments of the new identity of the fill.

    New identities of the fill are put into `aliases`. A fill told under the new identity before is
    the same fill, told twice.
    """
    renamed = amendment.renamed
    if renamed is None or renamed == root or renamed in aliases:
        return _amended(fill, root, amendment, payload)
    copy = memory.get(renamed)
    known = {version: aliases.get(version) or memory.get(version) for version in fill.versions}
    fill = _amended(fill, root, amendment, payload, known)
    aliases[renamed] = Message(
        fill.number, fill.recorded, (), fill=root, time=amendment.time, terms=amendment.terms
    )
    if isinstance(copy, Fill):
        fill = _joined(memory, root, fill, amendment, copy, payload, aliases)
    for waiting in memory.waiting.get(renamed, ()):
        fill = _applied(memory, root, fill, waiting, payload, aliases)
    return fill


def _joined(
    memory: Memory,
    root: Identity,
    fill: Fill,
    amendment: Amendment,
    copy: Fill,
    payload: Any,
    aliases: dict[Identity, Told],
) -> Fill:
    """Return a corrected fill with all that was told of `copy`, the fill under the new identity.

    Raises `ConflictError` where the correction tells other terms than the copy.
    """
    renamed, first = amendment.renamed or root, copy.told or copy.terms
    difference = "" if amendment.terms is None else first.difference(amendment.terms)
    if fill.side != copy.side:
        difference = f"position side {copy.side} and {fill.side}"
    if difference:
        raise ConflictError(copy, payload, difference)
    for version in copy.versions:
        alias = memory.get(version)
        if isinstance(alias, Message):
            later = Amendment(version, renamed, alias.terms, renamed=version, time=alias.time)
            known = {one: aliases.get(one) or memory.get(one) for one in fill.versions}
            fill = _amended(fill, root, later, payload, known)
    if copy.fee is not None:
        version = (renamed, *copy.versions)[copy.fee_version]
        fill = _with_fee(fill, root, version, copy.terms, payload)
    return replace(fill, busted=fill.busted or copy.busted)


def _remembered(memory: Memory, told: dict[Identity, Told]) -> Memory:
    """Remember messages and aliases, and drop the amendments applied with the aliases."""
    for identity, message in told.items():
        if identity in memory.waiting:
            memory = replace(memory, waiting=memory.waiting.delete(identity))
        if memory.get(identity) is None:
            memory = memory.add(identity, message)
        else:
            memory = memory.change({identity: message})
    return memory


def _amended(
    fill: Fill,
    root: Identity,
    amendment: Amendment,
    payload: Any,
    known: Mapping[Identity, Told | None] = Map(),
) -> Fill:
    """Return a fill after one amendment. `known` has the messages of the versions of the fill.

    Of two corrections of one version, the later by venue time stands, then the greater identity. So
    the order of telling does not count, for fees neither: the earlier one is kept as a version.
    """
    terms = amendment.terms
    if terms is None:
        return replace(fill, busted=True)
    if amendment.only_fee:
        return _with_fee(fill, root, amendment.fill, terms, payload)
    version = fill.versions[-1] if fill.versions else root
    renamed, time = amendment.renamed or root, amendment.time or 0
    if amendment.fill != version and (time, renamed) < (fill.corrected, version):
        earlier = [
            one for one in fill.versions[:-1] if _told_at(known.get(one), one) < (time, renamed)
        ]
        place = len(earlier)
        fill = replace(
            fill,
            versions=(*fill.versions[:place], renamed, *fill.versions[place:]),
            fee_version=fill.fee_version + (fill.fee_version > place),
        )
    else:
        fill = replace(
            fill,
            quantity=terms.quantity,
            price=terms.price,
            told=fill.told or fill.terms,
            corrected=time,
            versions=(*fill.versions, renamed),
        )
    return fill if terms.fee is None else _with_fee(fill, root, renamed, terms, payload)


def _told_at(told: Told | None, version: Identity) -> tuple[int, Identity]:
    """Return what the versions of a fill are in the order of: venue time, then identity."""
    return (told.time or 0 if isinstance(told, Message) else 0, version)


def _place_of(fill: Fill, root: Identity, version: Identity) -> int:
    """Return the place among the versions of a fill, 0 for the first and for an unknown one."""
    versions = (root, *fill.versions)
    return max((n for n, one in enumerate(versions) if one == version), default=0)


def _with_fee(fill: Fill, root: Identity, version: Identity, terms: Terms, payload: Any) -> Fill:
    """Return a fill with the fee of a version. The fee of the newest version stands.

    Raises `ConflictError` for another fee of the same version.
    """
    place = _place_of(fill, root, version)
    if not place and fill.told is not None and fill.told.fee is None:
        told = replace(fill.told, fee=terms.fee, fee_currency=terms.fee_currency)
        fill = replace(fill, told=told)
    if fill.fee is None or place > fill.fee_version:
        return replace(fill, fee=terms.fee, fee_currency=terms.fee_currency, fee_version=place)
    known = fill.terms
    difference = known.difference(replace(known, fee=terms.fee, fee_currency=terms.fee_currency))
    if difference and place == fill.fee_version and version in (root, *fill.versions):
        raise ConflictError(fill, payload, difference)
    return fill


def _rebooked(state: EngineState, root: Identity, was: Fill, now: Fill) -> EngineState:
    """Book a fill again, by the short way where only a fee changes, and not in kind."""
    same = (was.quantity, was.price, was.busted) == (now.quantity, now.price, now.busted)
    if not same or _takes_in_kind(state, was) or _takes_in_kind(state, now):
        return rebook(state, root, now)
    state = replace(state, memory=state.memory.change({root: now}))
    if was.busted or was.terms == now.terms:
        return state
    balances, fee_sums = state.balances, state.fee_sums
    for fill, sign in ((was, 1), (now, -1)):
        if fill.fee is not None:
            key = balance_key(fill.fee_currency, fill.account)
            balances = added(balances, key, sign * fill.fee)
            fee_sums = added(fee_sums, (fill.symbol, fill.fee_currency), -sign * fill.fee)
    return replace(state, balances=balances, fee_sums=fee_sums)


def _takes_in_kind(state: EngineState, fill: Fill) -> bool:
    instrument = state.instrument(fill.symbol)
    return instrument.kind == "spot" and bool(fill.fee) and fill.fee_currency == instrument.base


def _refuse_closed_era(memory: Memory, fill: Fill, payload: Any) -> None:
    if fill.number <= memory.since:
        raise TradingError(
            f"{payload!r} is about a fill from before the last full_state; nothing was written. If "
            "the state told then lacks the amendment, append adjust_cash and update_position"
        )
