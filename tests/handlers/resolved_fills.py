"""Fills as all messages together make them: corrected, with their fees, or busted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

from tests.handlers.messages import Bust, Correct, Fill, FillFee, FillKey, Message

__all__ = ["Resolved", "resolved_fills"]


@dataclass
class Resolved:
    """A fill with its corrections: every version by its own trade id, the last one valid."""

    versions: list[Fill]
    busted: bool = False

    @property
    def last(self) -> Fill:
        return self.versions[-1]

    def version(self, key: FillKey) -> Fill | None:
        return next((version for version in self.versions if version.key == key), None)


def resolved_fills(messages: Iterable[Message]) -> Iterator[Resolved]:
    busts: set[FillKey] = set()
    fees: dict[FillKey, tuple[Decimal, str | None]] = {}
    corrections: dict[FillKey, Correct] = {}
    fills: dict[FillKey, Fill] = {}
    for message in messages:
        match message:
            case Bust():
                busts.add(message.ref)
            case FillFee():
                fees.setdefault(message.ref, (message.fee, message.fee_currency))
            case Correct():
                corrections.setdefault(message.ref, message)
            case Fill():
                fills.setdefault(message.key, message)
                if message.fee is not None:
                    fees.setdefault(message.key, (message.fee, message.fee_currency))
            case _:
                pass
    found = []
    for fill in fills.values():
        version = fill
        versions = []
        while True:
            if version.fee is None and version.key in fees:
                fee, currency = fees[version.key]
                version = replace(version, fee=fee, fee_currency=currency)
            versions.append(version)
            correction = corrections.get(version.key)
            if correction is None:
                break
            version = replace(
                version,
                trade_id=correction.trade_id,
                quantity=correction.quantity,
                price=correction.price,
            )
            if correction.fee is not None:
                version = replace(version, fee=correction.fee, fee_currency=correction.fee_currency)
        found.append(Resolved(versions, any(version.key in busts for version in versions)))
    replacing = {version.key for fill in found for version in fill.versions[1:]}
    for resolved in found:
        if resolved.versions[0].key not in replacing:  # else told by itself as well
            yield resolved
