"""Planned trouble in a session: a call that fails, and the call at which everything stops.

Both count the calls on the disk from now on. A crash in a session works as in the crash tests. The
whole disk is cloned in the middle of the call, together with the claim at that instant. The program
runs on, and its later calls are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from eventstore.testing import Call, Fault, SimulatedDisk
from tests.torture.oracle import Claim

__all__ = ["Crash", "Failing", "Trouble"]


@dataclass
class Failing:
    """A `fault` at the `after`-th call of a kind, or at this call and all later ones of the
    kind.
    """

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
    """Everything stops before the `after`-th call. The other attributes are as of then.

    `tells_unsynced` says whether other processes may have been told of unsynced events.
    """

    after: int
    disk: SimulatedDisk | None = None
    claim: Claim | None = None
    tells_unsynced: bool = False


@dataclass
class Trouble:
    """The rule of one machine. `fired` holds the calls that failed, and whether while opening.

    `crash` is the planned end of this life. `glimpse` is an instant to look at only: the
    possible remains of a crash are checked, while life goes on.
    """

    disk: Callable[[], SimulatedDisk]
    claim: Callable[[], Claim]
    opening: Callable[[], bool]
    tells_unsynced: Callable[[], bool]
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
                    crash.tells_unsynced = self.tells_unsynced()
        failing = self.failing
        fault = None if failing is None else failing(call)
        if failing is not None and fault is not None and (fault.short is None or _writes(call)):
            self.fired.append((call, failing, self.opening()))
        return fault


def _writes(call: Call) -> bool:
    return call.kind == "write"
