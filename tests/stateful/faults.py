"""What is to go wrong in a session: a call that fails, and the call at which everything stops.

Both count the calls on the disk from now on. A :class:`Moment` of a crash is taken as the crash
tests take it: the whole disk is cloned in the middle of the call, with what could be demanded of it
at that instant; the program runs on, and what it did afterwards is forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from eventstore.testing import Call, Fault, SimulatedDisk
from tests.torture.oracle import Claim

__all__ = ["Crash", "Failing", "Trouble"]


@dataclass
class Failing:
    """``fault`` at the ``after``-th call of a kind, or at it and all later ones of that kind."""

    kind: str
    fault: Fault
    after: int = 1
    forever: bool = False

    def __call__(self, call: Call) -> Fault | None:
        if call.kind != self.kind:
            return None
        self.after -= 1
        return self.fault if self.after == 0 or (self.forever and self.after < 0) else None


@dataclass
class Crash:
    """Everything stops before the ``after``-th call; ``disk`` and ``claim`` are as of then."""

    after: int
    disk: SimulatedDisk | None = None
    claim: Claim | None = None


@dataclass
class Trouble:
    """The rule of one machine. ``fired``: the calls that failed, and whether while opening.

    ``crash`` is where this life is to end; ``glimpse`` is an instant that is only looked at, to see
    what a crash would leave there, while life goes on.
    """

    disk: Callable[[], SimulatedDisk]
    claim: Callable[[], Claim]
    opening: Callable[[], bool]
    failing: Failing | None = None
    crash: Crash | None = None
    glimpse: Crash | None = None
    fired: list[tuple[Call, Failing, bool]] = field(default_factory=list)

    def __call__(self, call: Call) -> Fault | None:
        for crash in (self.crash, self.glimpse):
            if crash is not None and crash.disk is None:
                crash.after -= 1
                if crash.after == 0:
                    crash.disk, crash.claim = self.disk().clone(), self.claim()
        failing = self.failing
        fault = None if failing is None else failing(call)
        if failing is not None and fault is not None and (fault.short is None or _writes(call)):
            self.fired.append((call, failing, self.opening()))
        return fault


def _writes(call: Call) -> bool:
    return call.kind == "write"
