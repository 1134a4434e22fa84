"""Versions of an execution of Interactive Brokers: a later version replaces all earlier ones.

An `execId` ends in a version, as in `0000e215.5f7e7753.01.02`. Version 1 is a fill. A later version
becomes `correct_trade` of version 1. So a correction depends neither on versions in between, which
may be told late or never, nor on the memory of the adapter, which a restart loses. A correction of
the version before was rejected: with that version never told, the correction would wait for ever.

A version changes nothing once a later version was told. After a restart, the fold decides by the
times of the corrections. Where version 1 was never told, the fold keeps the correction until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eventstore import Operation
from handlers.correct_trade import CorrectTrade
from handlers.record_trade import RecordTrade

__all__ = ["Versions"]


@dataclass
class Versions:
    """The versions of one execution.

    Attributes:
        fill: The fill of any version, for symbol, side and account. `None` for a combination.
        booked: The told versions, and whether a version gave operations.
    """

    fill: RecordTrade | None
    booked: dict[int, bool] = field(default_factory=dict)

    def operations(self, version: int, fill: RecordTrade) -> list[Operation]:
        """Return the operations of a version, told for the first time or again."""
        newest = version >= max(self.booked, default=version)
        self.booked[version] = self.booked.get(version, False) or newest or version == 1
        if version == 1:
            return [fill]
        return [_correction(fill)] if newest else []


def _correction(fill: RecordTrade) -> CorrectTrade:
    base, _, version = fill.trade_id.rpartition(".")
    return CorrectTrade(
        trade_id=f"{base}.{1:0{len(version)}d}",
        new_trade_id=fill.trade_id,
        symbol=fill.symbol,
        side=fill.side,
        shares=fill.shares,
        price=fill.price,
        venue=fill.venue,
        account=fill.account,
        time=fill.time,
    )
