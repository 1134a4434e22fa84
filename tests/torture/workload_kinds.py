"""The kinds of explored programs, and their names.

`17` is the `Workload` number 17, a store and one program. `log:17` is an `EventLog` alone,
`snapshots:17` a store without a log (`use_wal=False`), and `busy:17` a store in concurrent use
(`busy_workload`). `mixed:17` is a store whose calls ask for a durability of their own, and
`intents:17` one whose orders are intents (`intent_workload`). `cursors:17` is a store with a
consumer that keeps its place in a named cursor (`cursor_workload`). Each kind draws from numbers of
its own, so that a new kind changes no other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from eventstore import Durability, StoreConfig
from tests.torture.busy_workload import BusyWorkload
from tests.torture.cursor_workload import CursorWorkload
from tests.torture.intent_workload import IntentWorkload
from tests.torture.misuse import Misuse
from tests.torture.program import Program
from tests.torture.store_or_log import Subject, open_log
from tests.torture.workload import Workload

__all__ = [
    "KINDS",
    "LogWorkload",
    "MixedWorkload",
    "SnapshotWorkload",
    "program_at",
    "program_named",
    "programs",
]


class LogWorkload(Misuse):
    """A program with a log and nothing else."""

    kind = "log"
    subject: ClassVar[Subject] = staticmethod(open_log)
    callers = ("clock",)
    refused_amount = 1 << 70
    weights: ClassVar[Mapping[str, int]] = {
        "append": 5,
        "group": 4,
        "burst": 3,
        "crowd": 3,
        "cancel": 2,
        "refused_payload": 1,
        "full_queue": 2,
        "reentrant_call": 2,
        "set_clock": 1,
        "flush": 1,
        "read": 2,
        "follow": 1,
        "idle": 2,
    }

    def configured(self, config: StoreConfig) -> StoreConfig:
        """Keep history whole: nobody compacts a log."""
        return msgspec.structs.replace(config, history="keep")


class SnapshotWorkload(Workload):
    """A program with a store that logs nothing: only events under a snapshot are owed."""

    kind = "snapshots"
    weights: ClassVar[Mapping[str, int]] = {
        "append": 4,
        "group": 3,
        "burst": 2,
        "crowd": 1,
        "cancel": 1,
        "refused_payload": 1,
        "full_queue": 2,
        "reentrant_call": 2,
        "set_clock": 1,
        "flush": 1,
        "snapshot": 4,
        "snapshot_beside_appends": 4,
        "follow": 1,
        "idle": 2,
    }

    def configured(self, config: StoreConfig) -> StoreConfig:
        """Turn the log off."""
        return msgspec.structs.replace(config, use_wal=False)


class MixedWorkload(Workload):
    """A program whose groups wait for the disk, or for the write alone, in one order."""

    kind = "mixed"

    def options(self, group: int | None) -> Mapping[str, Any]:
        """Ask for a durability, or for none."""
        asked = self.random.choice((None, *Durability, Durability.INTERVAL, Durability.NONE))
        if asked is None:
            return {}
        if group is not None:
            self.promised.ask(group, asked)
        return {"durability": asked}


KINDS: Mapping[str, type[Program]] = {
    kind.kind: kind
    for kind in (
        Workload,
        LogWorkload,
        SnapshotWorkload,
        BusyWorkload,
        MixedWorkload,
        IntentWorkload,
        CursorWorkload,
    )
}


def program_named(name: int | str, **options: Any) -> Program:
    """Return the program with a case's `name`: `17`, or `log:17`. `options` go to the
    program.

    Raises `ValueError` for an unknown kind.
    """
    kind, _, number = str(name).rpartition(":")
    if kind not in KINDS:
        known = ", ".join(sorted(filter(None, KINDS)))
        raise ValueError(f"there is no workload {name}: it is a number, or one after {known} and :")
    return KINDS[kind](int(number), **options)


def program_at(seed: int, place: int, kinds: Sequence[str] = tuple(KINDS)) -> str:
    """Return the name of the program at `place` (from 0) among those from number `seed` on.

    Each number has one program of each kind. The first kind of a number goes round, so that short
    explorations with different first numbers have all kinds, too.

    >>> [program_at(7, place) for place in range(8)]
    ['7', 'log:7', 'snapshots:7', 'busy:7', 'mixed:7', 'intents:7', 'cursors:7', 'log:8']
    """
    number = seed + place // len(kinds)
    kind = kinds[(number + place) % len(kinds)]
    return f"{kind}:{number}" if kind else str(number)


def programs(seed: int) -> Iterator[str]:
    """Yield the names of all programs from number `seed` on, in the order of `program_at`."""
    return (program_at(seed, place) for place in itertools.count())
