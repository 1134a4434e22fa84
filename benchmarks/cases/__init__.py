"""The cases, in order. `benchmarks.cases.base` says what a case is."""

from __future__ import annotations

from benchmarks.cases.appending import Awaiters, Burst, Groups, OneAwaiter
from benchmarks.cases.base import Case, Cell, History, Profile, Task
from benchmarks.cases.finding import Following, Moments, OneEvent
from benchmarks.cases.folding import TradingFold
from benchmarks.cases.growing import Growth
from benchmarks.cases.history_lengths import Sizes
from benchmarks.cases.holding_up import HoldUp
from benchmarks.cases.idle import Idle
from benchmarks.cases.keys import Keys
from benchmarks.cases.opening import OpenAfterCrash, Starting
from benchmarks.cases.reading import Replay, StateAt
from benchmarks.cases.refolding import Refolding
from benchmarks.cases.slices import Slices
from benchmarks.cases.space import DiskSpace, Memory

__all__ = ["CASES", "Case", "Cell", "History", "Profile", "Task"]

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        OneAwaiter(),
        Awaiters(),
        Groups(),
        Burst(),
        OpenAfterCrash(),
        Replay(),
        StateAt(),
        HoldUp(),
        DiskSpace(),
        Memory(),
        Starting(),
        Growth(),
        TradingFold(),
        Sizes(),
        Slices(),
        Keys(),
        OneEvent(),
        Moments(),
        Following(),
        Idle(),
        Refolding(),
    )
}
