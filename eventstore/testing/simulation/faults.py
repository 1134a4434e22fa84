"""The rates of the faults in a simulated run: `Faults`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eventstore.arguments import argument_error
from eventstore.testing.simulation.arguments import checked_seconds

__all__ = ["Faults"]


@dataclass(frozen=True)
class Faults:
    """Rates of faults. A rate is a share of the messages or orders, from 0 to 1.

    Attributes:
        deaths: The fewest and the most deaths of the process in one run.
        power: The share of deaths by a power cut, and not by a kill.
        lost: Requests and replies that never arrive. The request of a lost reply was executed.
        slow: Requests and replies on the way for half a second to nine seconds.
        refused: Requests beyond a rate limit, as the venue says.
        rejected: Orders rejected for no reason of the bot's.
        dropped: Messages of a stream without arrival.
        repeated: Messages of a stream with two arrivals.
        late: Messages of a stream up to four seconds late, behind younger ones.
        cut: Seconds between two disconnections of a stream, on average. 0 for no disconnection.
        busted: Fills taken back by the venue some seconds later. None by default.
        corrected: Fills with a price corrected some seconds later. None by default.

    `Faults.none()` has no fault at all. Each fault is drawn by itself.
    """

    deaths: tuple[int, int] = (1, 3)
    power: float = 0.3
    lost: float = 0.04
    slow: float = 0.08
    refused: float = 0.01
    rejected: float = 0.02
    dropped: float = 0.02
    repeated: float = 0.15
    late: float = 0.05
    cut: float = 6.0
    busted: float = 0.0
    corrected: float = 0.0

    def __post_init__(self) -> None:
        deaths: Any = self.deaths
        if not (_are_counts(deaths) and 0 <= deaths[0] <= deaths[1]):
            raise argument_error("deaths", deaths, "expected (fewest, most), such as (1, 3)")
        checked_seconds("cut", self.cut)  # 0 for no disconnection
        for name, rate in vars(self).items():
            if name in ("deaths", "cut"):
                continue
            if not isinstance(rate, int | float) or not 0 <= rate <= 1:
                raise argument_error(name, rate, "expected a share from 0 to 1")

    def __repr__(self) -> str:
        rates = (f"{name}={rate}" for name, rate in vars(self).items() if rate)
        return f"Faults({', '.join(rates)})"

    @classmethod
    def none(cls) -> Faults:
        """Return rates without any fault: no deaths, and a healthy network."""
        return cls(
            deaths=(0, 0), power=0, lost=0, slow=0, refused=0, rejected=0, dropped=0, repeated=0,
            late=0, cut=0,
        )  # fmt: skip


def _are_counts(pair: Any) -> bool:
    return isinstance(pair, tuple | list) and [type(one) for one in pair] == [int, int]
