"""Versions of an execution of Interactive Brokers: a later version replaces all earlier ones.

An `execId` ends in a version, as in `0000e215.5f7e7753.01.02`. Version 1 is a fill. A later version
becomes `correct_trade` of version 1. So a correction depends neither on versions in between, which
may be told late or never, nor on the memory of the adapter, which a restart loses. A correction of
the version before was rejected: with that version never told, the correction would wait for ever.

Each version is told on, also after a later one. The fold decides by the times of the corrections,
then by their ids, and needs the earlier ones for their commissions. Where version 1 was never told,
the fold keeps the correction until then.
"""

from __future__ import annotations

from eventstore import Operation
from handlers.correct_trade import CorrectTrade
from handlers.record_trade import RecordTrade

__all__ = ["version_told"]


def version_told(version: int, fill: RecordTrade) -> Operation:
    """Return the operation of a version of an execution."""
    if version == 1:
        return fill
    base, _, digits = fill.trade_id.rpartition(".")
    return CorrectTrade(
        trade_id=f"{base}.{1:0{len(digits)}d}",
        new_trade_id=fill.trade_id,
        symbol=fill.symbol,
        side=fill.side,
        shares=fill.shares,
        price=fill.price,
        venue=fill.venue,
        account=fill.account,
        time=fill.time,
    )
