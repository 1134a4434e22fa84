"""Fills and messages told before, by identity: for duplicates, conflicts and amendments.

Theory of operation
-------------------
A venue tells a fill several times: by a stream, by a re-poll after a reconnect, by another re-poll
after a restart. The identity of a fill is (venue, account, symbol, trade id, side of the trade): a
trade with oneself has one id for both sides. The identity of a movement of cash is (venue, account,
type, reference), and of any other message (kind, venue, account, reference).

`Memory` keeps the newest identities, in two generations. Each new identity joins the younger
generation. A full younger generation becomes the older one, and the older one is forgotten. So
between `limit` and twice `limit` identities are known, and remembering costs one insertion. For
each feed (the fills of a symbol at a venue, a type of cash) the memory keeps the latest forgotten
venue time. An unknown message of this time or earlier might be a second telling. Such a message is
refused (`TooLateError`), not booked on a guess. A message without a venue time cannot be judged so.

A fill is kept with the terms, the position before the fill, and the order of telling. So the fill
can be taken back or changed, and everything after the fill can be folded anew.

An amendment (a bust, a correction, a fee) of an unknown fill waits for the fill.

A snapshot has thousands of fills, so fills and messages are written without the names of their
fields (`array_like`): a fill takes 226 bytes in place of 385.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec
from immutables import Map
from msgspec.structs import replace

from handlers.amounts import ZERO
from handlers.errors import TooLateError, TradingError
from handlers.instrument import Side
from handlers.order import Closing
from handlers.position import Position, PositionKey, position_key

__all__ = [
    "Amendment",
    "Effect",
    "Fill",
    "Identity",
    "InKind",
    "Memory",
    "Message",
    "SettledAt",
    "SettledFor",
    "SplitBy",
    "Terms",
    "Told",
    "amendment_identity",
    "fill_identity",
    "message_identity",
]

Identity = tuple[str, ...]

_REMEMBERED = 4096
_FILLS_WAITED_FOR = 10_000
_AMENDMENTS_OF_A_FILL = 100
_DAY = 24 * 3600 * 1_000_000_000


class Terms(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The numbers of a fill: signed quantity, price, and fee. An unknown fee is `None`."""

    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str = ""

    def difference(self, other: Terms) -> str:
        """Say how `other` differs. Empty if both agree in everything known to both."""
        found = []
        if self.quantity != other.quantity:
            found.append(f"quantity {self.quantity} and {other.quantity}")
        if self.price != other.price:
            found.append(f"price {self.price} and {other.price}")
        if self.fee is not None and other.fee is not None:
            mine, theirs = (self.fee, self.fee_currency), (other.fee, other.fee_currency)
            if mine != theirs and (self.fee or other.fee):
                found.append(f"fee {mine[0]} {mine[1]} and {theirs[0]} {theirs[1]}")
        return ", ".join(found)


class Fill(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="fill"):
    """A fill as booked, and as first told where a correction changed the terms.

    Attributes:
        number: The place in the order of telling.
        recorded: The time of the event, nanoseconds since the epoch.
        account: The account of the position.
        symbol: The symbol of the position.
        side: The side of the position.
        quantity: The signed quantity.
        price: The price.
        fee: The fee, `None` where not known yet.
        fee_currency: The currency of the fee.
        before: The position before the fill.
        venue: The venue.
        order_id: The venue's id of the order, empty where unknown.
        client_order_id: The engine's id of the order, empty where unknown.
        time: The venue's time, nanoseconds since the epoch.
        busted: Whether the venue took the fill back.
        told: The terms as first told, after a correction.
        corrected: The venue's time of the booked correction. 0 for none.
        versions: The identities of the versions after the first one, the booked one last.
        fee_version: The version of the fee, counted from the first one on.
    """

    number: int
    recorded: int
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    fee_currency: str
    before: Position | None
    venue: str = ""
    order_id: str = ""
    client_order_id: str = ""
    time: int | None = None
    busted: bool = False
    told: Terms | None = None
    corrected: int = 0
    versions: tuple[Identity, ...] = ()
    fee_version: int = 0

    @property
    def key(self) -> PositionKey:
        """The key of the changed position."""
        return position_key(self.symbol, self.account, self.side)

    @property
    def terms(self) -> Terms:
        """The terms after every correction. A bust leaves the terms as before the bust."""
        return Terms(self.quantity, self.price, self.fee, self.fee_currency)

    @property
    def counted(self) -> Decimal:
        """The quantity without a sign, zero after a bust."""
        return ZERO if self.busted else abs(self.quantity)


class InKind(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="in_kind"):
    """Coins taken from a spot position as a fee (negative: a rebate)."""

    quantity: Decimal


class SplitBy(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="split"):
    """A split of the shares."""

    numerator: int
    denominator: int


class SettledAt(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="settled_at"):
    """A settlement at a price."""

    price: Decimal
    final: bool


class SettledFor(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="settled_for"):
    """A settlement, told by the paid amount."""

    amount: Decimal


Effect = InKind | SplitBy | SettledAt | SettledFor


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True, tag="message"):
    """Any other message with an identity.

    Attributes:
        number: The place in the order of telling.
        recorded: The time of the event, nanoseconds since the epoch.
        content: The content, as pairs of name and text.
        account: The account.
        symbol: The symbol, empty for none.
        side: The side of the changed position, `None` for every side.
        effect: The effect on the position.
        fill: The identity of the amended fill, of a message that stands for a version of the fill.
        terms: The terms of this version.
        time: The venue's time, nanoseconds since the epoch.
    """

    number: int
    recorded: int
    content: tuple[tuple[str, str], ...]
    account: str = ""
    symbol: str = ""
    side: Side | None = None
    effect: Effect | None = None
    fill: Identity | None = None
    time: int | None = None
    terms: Terms | None = None

    def difference(self, content: tuple[tuple[str, str], ...]) -> str:
        """Say how `content` differs. Empty if both agree."""
        return ", ".join(
            f"{name} {mine or 'none'} and {theirs or 'none'}"
            for (name, mine), (_, theirs) in zip(self.content, content, strict=True)
            if mine != theirs
        )


Told = Fill | Message | Closing


class Amendment(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A change of a fill, on the way to the fill.

    Attributes:
        identity: The identity of the amending message.
        fill: The identity of the amended version of the fill.
        terms: The terms from now on, `None` for a bust. With `only_fee` only the fee counts.
        only_fee: Whether only the fee is told.
        renamed: The new identity of the fill, `None` for the same one.
        time: The venue's time, nanoseconds since the epoch.
    """

    identity: Identity
    fill: Identity
    terms: Terms | None
    only_fee: bool = False
    renamed: Identity | None = None
    time: int | None = None


class Memory(msgspec.Struct, frozen=True, gc=False):
    """The newest identities, and the amendments of unknown fills.

    Attributes:
        recent: The younger generation.
        older: The older generation.
        forgotten: The latest forgotten venue time, by feed.
        waiting: Amendments by the identity of the unknown fill.
        limit: The size of a generation.
        since: No fill up to this place in the order of telling can be amended: the whole state was
            told then.
        count: The last place in the order of telling.
    """

    recent: Map[Identity, Told] = Map()
    older: Map[Identity, Told] = Map()
    forgotten: Map[Identity, int] = Map()
    waiting: Map[Identity, tuple[Amendment, ...]] = Map()
    limit: int = _REMEMBERED
    since: int = 0
    count: int = 0

    def get(self, identity: Identity) -> Told | None:
        """Return the fill or message of an identity, `None` where unknown."""
        told = self.recent.get(identity)
        return self.older.get(identity) if told is None else told

    def fill_of(self, identity: Identity) -> tuple[Identity, Fill] | None:
        """Return the fill of a present or former identity, and the first identity."""
        told = self.get(identity)
        while isinstance(told, Message) and told.fill is not None:
            identity = told.fill
            told = self.get(identity)
        return (identity, told) if isinstance(told, Fill) else None

    def told(self) -> Iterator[tuple[Identity, Told]]:
        """Iterate over everything remembered, in no order."""
        yield from self.older.items()
        yield from self.recent.items()

    def add(self, identity: Identity, told: Told) -> Memory:
        """Remember something new."""
        count = self.count + 1
        if len(self.recent) < self.limit:
            return replace(self, recent=self.recent.set(identity, told), count=count)
        return replace(
            self,
            count=count,
            recent=Map({identity: told}),
            older=self.recent,
            forgotten=_latest_times(self.forgotten, self.older),
        )

    def change(self, changed: dict[Identity, Told]) -> Memory:
        """Replace the fills and messages of known identities."""
        younger = {identity: told for identity, told in changed.items() if identity in self.recent}
        elder = {identity: told for identity, told in changed.items() if identity in self.older}
        return replace(self, recent=self.recent.update(younger), older=self.older.update(elder))

    def refuse_too_late(self, identity: Identity, time: int | None) -> None:
        """Raise `TooLateError` for an unknown, possibly forgotten identity."""
        if time is None:
            return
        forgotten = self.forgotten.get(_feed(identity))
        if forgotten is not None and time <= forgotten:
            raise TooLateError(
                f"{' '.join(filter(None, identity))}: the venue's time of the message, {time}, is "
                f"not after {forgotten}, up to which identities were forgotten. Whether the "
                "message was told before is unknown; nothing was written. Reconcile with the "
                "venue, or remember more (full_state, memory: limit)"
            )

    def refuse_if_forgotten(self, amendment: Amendment) -> None:
        """Raise `TooLateError` for an amendment of a fill that was surely or probably forgotten.

        A fee is often told before the fill, and waits in any case. A bust and a correction come
        after the fill, as a rule.
        """
        fill = amendment.fill
        version_is_known = self.get(fill) is not None
        if version_is_known or (not amendment.only_fee and _feed(fill) in self.forgotten):
            raise TooLateError(
                f"{' '.join(filter(None, fill))}: the fill is not known, and fills of the feed "
                "were forgotten; nothing was written. Correct balance and position (adjust_cash, "
                "update_position), or tell the fill before the amendment"
            )

    def wait(self, amendment: Amendment) -> Memory:
        """Keep an amendment until the fill comes. Raises `TradingError` when too many wait."""
        waiting = (*self.waiting.get(amendment.fill, ()), amendment)
        if len(self.waiting) >= _FILLS_WAITED_FOR or len(waiting) > _AMENDMENTS_OF_A_FILL:
            raise TradingError(
                f"too many amendments wait for fills that never came ({len(self.waiting)} fills, "
                f"{len(waiting)} amendments of {amendment.fill}); nothing was written. Ask the "
                "venue for the fills, or reconcile"
            )
        return replace(self, waiting=self.waiting.set(amendment.fill, waiting))

    def waits(self, amendment: Amendment) -> bool:
        """Whether an amendment of this identity waits for the fill."""
        waiting = self.waiting.get(amendment.fill, ())
        return any(other.identity == amendment.identity for other in waiting)


def fill_identity(venue: str, account: str, symbol: str, trade_id: str, side: str) -> Identity:
    """Return the identity of a fill. `side` is the side of the trade: `buy` or `sell`."""
    return ("fill", venue, account, symbol, trade_id, side)


def amendment_identity(kind: str, fill: Identity, reference: str) -> Identity:
    """Return the identity of an amendment: the reference, or the fill without a reference."""
    _, venue, account, *trade = fill
    return (kind, venue, account, reference) if reference else (kind, venue, account, *trade)


def message_identity(kind: str, venue: str, account: str, *reference: str) -> Identity:
    """Return the identity of any other message. Of cash, `reference` is type and reference."""
    return (kind, venue, account, *reference)


def _feed(identity: Identity) -> Identity:
    """The feed of an identity: messages told in one order of times."""
    return identity[:4] if identity[0] in ("fill", "adjust_cash") else identity[:3]


def _latest_times(
    forgotten: Map[Identity, int], dropped: Map[Identity, Told]
) -> Map[Identity, int]:
    """Return the latest forgotten times by feed, 0 for a feed without times.

    A time counts as at most a day after the recording: one wrong time of the far future would
    refuse everything after it.
    """
    latest: dict[Identity, int] = {}
    for identity, told in dropped.items():
        feed, time = _feed(identity), told.time or 0
        if time > latest.get(feed, -1):
            latest[feed] = max(min(time, told.recorded + _DAY), latest.get(feed, 0))
    return forgotten.update(
        {feed: max(time, forgotten.get(feed, 0)) for feed, time in latest.items()}
    )
