"""Sabotages of the trading model: money moved twice, to another currency, or by another sign."""

from __future__ import annotations

from tests.mutants.sabotage import Sabotage

__all__ = ["TRADING"]

BY_HAND = "tests/handlers/test_books_by_hand.py"
CORRECTED = "tests/handlers/test_correct_trade.py"
RECORDED = "tests/handlers/venues/test_recorded_messages.py"
TOLD_AGAIN = "tests/handlers/test_told_again.py"


def edit(file: str, old: str, new: str) -> tuple[str, str, str]:
    """One replacement, in a file of the trading model."""
    return f"handlers/{file}", old, new


TRADING: tuple[Sabotage, ...] = (
    Sabotage(
        name="an identity without its side",
        breaks="a trade with oneself is two fills",
        edits=(
            edit(
                "record_trade.py",
                '    identity = ("fill", venue, account, symbol, data.trade_id, data.side)\n',
                '    identity = ("fill", venue, account, symbol, data.trade_id, "")\n',
            ),
            edit(
                "message_memory.py",
                '    return ("fill", venue, account, symbol, trade_id, side)\n',
                '    return ("fill", venue, account, symbol, trade_id, "")\n',
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a fee in the currency of the trade",
        breaks="a fee moves the balance of its own currency",
        edits=(
            edit(
                "booking.py",
                "added(balances, balance_key(currency, account), -fee)",
                "added(balances, balance_key(settlement, account), -fee)",
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a fee in kind that takes no coins",
        breaks="a fee in the traded coins changes the position too",
        edits=(
            edit(
                "booking.py",
                '    if fee and kind == "spot" and currency == instrument.base:\n',
                "    if False:\n",
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a bust that leaves the cash",
        breaks="after a bust all is as if the fill had never been",
        edits=(
            edit(
                "booking.py",
                '"balances": plus(minus(state.balances, old.balances), new.balances),',
                '"balances": state.balances,',
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a busted fill booked when it comes",
        breaks="an amendment that came first waits for its fill",
        edits=(
            edit(
                "booking.py",
                "    if fill.busted:\n        return replace(state, memory=memory)\n",
                "",
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="the last told correction stands",
        breaks="of two corrections of one version, the later by venue time stands",
        edits=(
            edit(
                "amending.py",
                "amendment.fill != version and (time, renamed) < (fill.corrected, version)",
                "False",
            ),
        ),
        caught_by=(CORRECTED,),
    ),
    Sabotage(
        name="a bust forgotten with the copy that had it",
        breaks="a fill told as a later version before is the same fill",
        edits=(
            edit(
                "amending.py",
                "    return replace(fill, busted=fill.busted or copy.busted)\n",
                "    return fill\n",
            ),
        ),
        caught_by=("tests/handlers/test_amended_fills.py",),
    ),
    Sabotage(
        name="a double taken bit by bit",
        breaks="a float stands for the shortest decimal that gives it back",
        edits=(
            edit(
                "amounts.py",
                "Decimal(float.__repr__(value)) if value else ZERO",
                "Decimal(value)",
            ),
        ),
        caught_by=("tests/handlers/test_amounts.py",),
    ),
    Sabotage(
        name="a fold in the caller's decimal context",
        breaks="the context of the caller changes nothing",
        edits=(
            edit(
                "amounts.py",
                "        setcontext(_SUMS)\n        try:\n            return function(state",
                "        try:\n            return function(state",
            ),
        ),
        caught_by=("tests/handlers/test_amounts.py",),
    ),
    Sabotage(
        name="one generation of identities",
        breaks="the newest identities are known",
        edits=(
            edit(
                "record_trade.py",
                "if identity in memory.recent or identity in memory.older:",
                "if identity in memory.recent:",
            ),
        ),
        caught_by=(TOLD_AGAIN,),
    ),
    Sabotage(
        name="a forgotten time taken for a new one",
        breaks="what may be a second telling is refused",
        edits=(
            edit(
                "message_memory.py", "if forgotten is not None and time <= forgotten:", "if False:"
            ),
        ),
        caught_by=(TOLD_AGAIN,),
    ),
    Sabotage(
        name="notes that outlive their position",
        breaks="a fill past zero is two fills",
        edits=(
            edit(
                "booking.py",
                "    return position is not None and position.shares.is_signed() == "
                "held.shares.is_signed()\n",
                "    return position is not None\n",
            ),
        ),
        caught_by=("tests/handlers/test_record_trade.py",),
    ),
    Sabotage(
        name="the profit of an inverse contract turned round",
        breaks="an inverse contract gains by the cost less the value",
        edits=(
            edit(
                "instrument.py",
                'return cost - value if self.kind == "inverse" else value - cost',
                "return value - cost",
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a split that drops the fraction",
        breaks="a split is exact",
        edits=(
            edit(
                "position.py",
                "shares=ratio(held.shares * numerator, Decimal(denominator))",
                "shares=held.shares * numerator // denominator",
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a rate that nobody told taken for one",
        breaks="a total is never guessed",
        edits=(
            edit(
                "state.py",
                "else self._rate(held_in, currency, rates)\n",
                "else self._rate(held_in, currency, rates) or ONE\n",
            ),
        ),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="an order opened by a stale word",
        breaks="a closing stands against messages of before",
        edits=(edit("order_updated.py", "    if closed is not None:\n", "    if False:\n"),),
        caught_by=(BY_HAND,),
    ),
    Sabotage(
        name="a bust that opens no order again",
        breaks="the same orders are open in any order of telling",
        edits=(edit("order_lookup.py", "    elif quantity.is_signed():\n", "    elif False:\n"),),
        caught_by=("tests/handlers/test_orders_opened_again.py",),
    ),
    Sabotage(
        name="coins corrected twice",
        breaks="the position of a pair outside the report is no difference",
        edits=(
            edit(
                "reconcile.py",
                "names = {name for name in held if name in told or not _is_spot(state, name[0])}",
                "names = set(held)",
            ),
        ),
        caught_by=("tests/handlers/test_reconcile.py",),
    ),
    Sabotage(
        name="funding by another sign",
        breaks="funding that was paid leaves the balance",
        edits=(
            edit(
                "venues/bybit.py",
                'amount=negated(entry.number("execFee")),',
                'amount=entry.number("execFee"),',
            ),
        ),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="a rebate taken for a fee",
        breaks="a negative fee of OKX is paid",
        edits=(
            edit(
                "venues/okx.py",
                "fee = negated(entry.number(amount))",
                "fee = entry.number(amount)",
            ),
        ),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="the sum of an order booked as a fill",
        breaks="a fill has the quantity of the fill",
        edits=(
            edit(
                "venues/binance_spot.py",
                'shares=event.positive("l"),',
                'shares=event.positive("z"),',
            ),
        ),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="an adjusted fill booked again",
        breaks="a reversal and a correction are no further fills",
        edits=(
            edit(
                "venues/coinbase.py",
                'if (kind := fill.text("trade_type")) != "FILL":',
                'if not (kind := fill.text("trade_type")):',
            ),
        ),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="a message of a wrong checksum taken",
        breaks="a FIX message that was changed on the way is refused",
        edits=(edit("venues/fix_message.py", "if checksum != int(rest[-4:-1]):", "if False:"),),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="a fee of crypto taken for none",
        breaks="a fee that is told later is not zero",
        edits=(
            edit(
                "venues/alpaca.py",
                "        if crypto:\n            return [fill]\n",
                "",
            ),
        ),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="cash in the shape of a trade booked as one",
        breaks="what the venue's own entry calls no trade is refused",
        edits=(edit("venues/ccxt.py", "            _check_venue(info)\n", ""),),
        caught_by=(RECORDED,),
    ),
    Sabotage(
        name="a field without a meaning passed over",
        breaks="an unknown field is refused",
        edits=(
            edit(
                "venues/reading.py",
                'if unknown and self._unknown_fields == "refuse":',
                "if False:",
            ),
        ),
        caught_by=("tests/handlers/venues/test_hostile_messages.py",),
    ),
)
