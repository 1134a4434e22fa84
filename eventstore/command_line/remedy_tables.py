"""The remedies of a proposal as a table, with the values in which the states differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventstore.command_line.output import Output, name_text, time_text, value_text
from eventstore.model.differences import path_of, walk_differences
from eventstore.model.operation import OPERATION_FIELD
from eventstore.model.state_codec import state_digest
from eventstore.reading.replay import recorded_name
from eventstore.repair import Place, Price, Proposal
from eventstore.repair.changed_events import MendedEvent

__all__ = [
    "mended_object",
    "place_lines",
    "price_object",
    "show_place",
    "show_prices",
    "state_columns",
]

_MOST_COLUMNS = 6


def place_lines(place: Place, last_seq: int) -> list[str]:
    """Describe a damaged place in words."""
    where = place.name
    if place.offset is not None:
        where += f", at {place.offset:,}, {place.size:,} bytes"
    lines = [f"{where}: {place.reason}"]
    if place.lost:
        times = []
        if place.before is not None:
            times.append(f"after {time_text(place.before, ' ')}")
        if place.after is not None:
            times.append(f"before {time_text(place.after, ' ')}")
        events = f"event {place.first:,}"
        if place.lost > 1:
            events = f"events {place.first:,} … {place.last:,}"
        when = f"; {', '.join(times)}" if times else ""
        whole = "" if place.open else "; behind it all is whole"
        lines.append(f"  {events} of {last_seq:,}{when}{whole}")
    elif place.open:
        lines.append("  how many events are lost is not known")
    else:
        lines.append("  no event is lost")
    return lines


def state_columns(prices: Sequence[Price]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the values that differ between the remedies, and each remedy's values.

    A state with cash and positions shows these. Any other state shows the paths that differ.
    """
    states = [price.state for price in prices if price.state is not None]
    if not states:
        return [], [[] for _ in prices]
    if all(isinstance(getattr(state, "positions", None), Mapping) for state in states) and all(
        hasattr(state, "cash") for state in states
    ):
        return _trading_columns(prices, states)
    found = [_differing(states[0], price.state) for price in prices]
    paths = list(dict.fromkeys(path for one in found for path in one))[:_MOST_COLUMNS]
    first: dict[str, Any] = {}
    for one in found:
        first |= {path: left for path, (left, _) in one.items()}
    rows = []
    for price, one in zip(prices, found, strict=True):
        values = [one.get(path, (None, first[path]))[1] for path in paths]
        rows.append([""] * len(paths) if price.state is None else list(map(str, values)))
    return paths, rows


def _differing(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Return the paths in which two states differ, with both values."""
    if other is None:
        return {}
    walk = walk_differences(one, other, exact=True)
    return {path_of(steps): (left, right) for steps, left, right in walk}


def _trading_columns(
    prices: Sequence[Price], states: Sequence[Any]
) -> tuple[list[str], list[list[str]]]:
    symbols = sorted({symbol for state in states for symbol in state.positions})
    shares = {symbol: {_shares(state, symbol) for state in states} for symbol in symbols}
    differing = [symbol for symbol in symbols if len(shares[symbol]) > 1][:_MOST_COLUMNS]
    rows = []
    for price in prices:
        state = price.state
        if state is None:
            rows.append([""] * (1 + len(differing)))
        else:
            rows.append([f"{state.cash:,.2f}", *(_shares(state, symbol) for symbol in differing)])
    return ["cash", *differing], rows


def _shares(state: Any, symbol: str) -> str:
    position = state.positions.get(symbol)
    return "0" if position is None else f"{position.shares:+}"


def _show_rows(out: Output, prices: Sequence[Price], best: Price | None) -> None:
    """Print a row for each remedy. On a terminal, a day that all of them share is left out."""
    names, values = state_columns(prices)
    times = [time_text(price.last_time) for price in prices if price.last_time is not None]
    short = out.terminal and len({time.partition("T")[0] for time in times}) == 1
    rows = []
    for price, row in zip(prices, values, strict=True):
        mark = "* " if price is best else "  "
        ranges = ", ".join(
            f"{first:,}" if first == last else f"{first:,} … {last:,}" for first, last in price.lost
        )
        time = "" if price.last_time is None else time_text(price.last_time)
        time = time.partition("T")[2] if short else time
        rows.append([f"{mark}{price.choice}", ranges or "none", str(price.lost_events), time, *row])
    columns = ["remedy", "events lost", "number", "last event", *names]
    out.rows(columns, rows, right=columns[2:3] + columns[4:])


def price_object(price: Price) -> dict[str, Any]:
    """Return a price as plain values, for JSON."""
    names, values = state_columns([price])
    return {
        "remedy": price.choice.remedy,
        "seq": price.choice.seq or None,
        "lost": [list(gap) for gap in price.lost],
        "lost_events": price.lost_events,
        "last": price.last_seq,
        "last_time": price.last_time,
        "exact": price.exact,
        "confirmed_by": price.confirmed_by or None,
        "note": price.note,
        "digest": None if price.state is None else state_digest(price.state),
        "state": dict(zip(names, values[0], strict=True)),
    }


def show_place(out: Output, proposal: Proposal, index: int) -> None:
    """Print one place with its remedies."""
    place, prices = proposal.diagnosis.places[index], proposal.prices[index]
    for line in place_lines(place, proposal.diagnosis.last_seq):
        out.line(line)
    if not prices:
        out.line("  no remedy")
        return
    chosen = proposal.recommended.get(index)
    best = next((price for price in prices if price.choice == chosen), None)
    _show_rows(out, prices, best)
    for price in prices:
        for line in _remarks(place, price):
            out.line(line)
        if price.choice.remedy == "mend":
            for mended in proposal.mended.get(index, ()):
                for line in _mended_lines(mended):
                    out.line(line)
    if place.lost and "restore" not in {price.choice.remedy for price in prices}:
        out.line(
            "restore: --restore --from BACKUP loses nothing, if an older copy of the store has the "
            f"file up to event {place.last:,}"
        )


def show_prices(out: Output, prices: Sequence[Price]) -> None:
    """Print prices that are of no single place."""
    _show_rows(out, prices, None)
    for price in prices:
        if price.note:
            out.line(f"{price.choice}: {price.note}")


def _remarks(place: Place, price: Price) -> list[str]:
    lines = []
    remedy = price.choice.remedy
    if remedy == "mend":
        lines += _mend_remarks(place, price)
    if remedy == "skip" and place.lost:
        parts = []
        if place.before is not None:
            parts.append(f"after {time_text(place.before)}")
        if place.after is not None:
            parts.append(f"before {time_text(place.after)}")
        keys = ", ".join(key for key in (place.key_before, place.key_after) if key)
        ask = f"ask the venue for events {' and '.join(parts)}" if parts else "ask the venue"
        lines.append(
            f"skip: to fill the gap, {ask}" + (f"; keys around it: {keys}" if keys else "")
        )
    if price.exact:
        count = sum(last - first + 1 for first, last in price.lost if last <= price.last_seq)
        lines.append(f"{price.choice}: state exact; history lacks {count:,} events")
    if price.note:
        lines.append(f"{price.choice}: {price.note}")
    return lines


def _mended_lines(mended: MendedEvent) -> list[str]:
    """Show an event that a mend changes, with the bytes around the bit."""
    event = mended.event
    shown = " ".join(
        f"{name_text(name)}={value_text(value)}"
        for name, value in event.data.items()
        if name != OPERATION_FIELD and value not in (None, "")
    )
    return [
        f"  event {event.seq:,} reads {recorded_name(event)} {shown}",
        f"    before  {_bytes_text(mended.before)}",
        f"    after   {_bytes_text(mended.after)}",
    ]


def _bytes_text(data: bytes) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
    return f"{data.hex(' ')}  {text}"


def mended_object(mended: MendedEvent) -> dict[str, Any]:
    """Return an event that a mend changes as plain values, for JSON."""
    return {
        "seq": mended.event.seq,
        "data": mended.event.data,
        "offset": mended.offset,
        "before": mended.before.hex(),
        "after": mended.after.hex(),
    }


def _mend_remarks(place: Place, price: Price) -> list[str]:
    flips = place.flips or ()
    bits = ", ".join(f"bit {flip.bit} of byte {flip.offset:,}" for flip in flips)
    if len(flips) == 1 or place.size == 0:
        said = f"mend: turning one bit ({bits}) makes the checksum right"
    else:
        said = f"mend: turning these bits makes every checksum right: {bits}"
    if price.confirmed_by:
        return [f"{said}; confirmed by the snapshot of {price.confirmed_by:,}"]
    if place.size:
        odds = (1 << 32) // (8 * place.size)
        said += (
            ". This is what it was, unless three bits or more are wrong here, and then it would "
            f"look like this in 1 of {odds:,} cases"
        )
    return [said]
