"""Cases 9 and 10: bytes on disk, and bytes of memory.

On disk: the blocks of the files in a folder after closing, divided by the events. This store's
spare segment, at most 8 MiB made ahead, is not counted. The free pages of LMDB and SQLite are
counted, because free pages come with the data.

In memory: the resident size of a process of its own, in two phases. The process appends a long
history in groups of 1000 (samples after a fifth and at the end, with growth in between). Then the
process replays the history. *Trimmed* is the size after the C library gave back its reserves, and
so the size really in use. LMDB's figures hold the pages of its map in use, which the system may
take back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from benchmarks.cases.base import Case, Cell, History, Profile, Task
from benchmarks.cases.histories import archived_events, check_folded, resident, resident_trimmed
from benchmarks.cases.opening import OpenAfterCrash
from benchmarks.cases.reading import READERS, Replay
from benchmarks.contenders import Contender

__all__ = ["DiskSpace", "Memory"]

BLOCK = 512


class DiskSpace(Case):
    """Bytes on disk for each event."""

    name = "disk space"
    title = "9. Bytes on disk for each event"
    headline = "bytes"
    figures: ClassVar = {"bytes": "B"}

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        for cell in Replay().cells(profile, contenders):
            if cell.contender == "EventStore" or cell.contender in READERS:
                yield Cell(
                    self.name,
                    cell.variant,
                    cell.contender,
                    cell.options,
                    cell.history,
                    once=True,
                )

    async def run(self, task: Task) -> dict[str, float]:
        assert task.history is not None
        folder, events = task.folder, task.history.events
        if task.options.get("archive"):
            folder, events = folder / "store" / "archive", archived_events(task.folder)
        found = sum(
            path.stat().st_blocks * BLOCK
            for path in folder.rglob("*")
            if path.is_file() and path.name not in ("spare", "lock.mdb")
        )
        return {"bytes": found / events}


class Memory(Case):
    """Memory, while a long history is written and read."""

    name = "memory"
    title = "10. Memory while a long history is written, and while it is replayed"
    headline = "growth"
    figures: ClassVar = {
        "before": "MB",
        "early": "MB",
        "late": "MB",
        "growth": "MB",
        "trimmed": "MB",
    }

    EVENTS: ClassVar = {"tiny": 3000, "quick": 100_000, "full": OpenAfterCrash.SIZES["full"][-1]}
    MEASURED = ("EventStore", "sqlite3", "LMDB")

    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        size = self.EVENTS[profile]
        history = History(size, tail=OpenAfterCrash.TAIL[profile], crash=True)
        for contender in self.only(contenders, self.MEASURED):
            for variant in ("append", "replay"):
                yield Cell(
                    self.name,
                    f"{variant} {size:,}",
                    contender.name,
                    {"of build": int(variant == "append")},
                    history,
                    copied=variant == "replay",
                    fresh=True,
                    once=True,
                )

    async def run(self, task: Task) -> dict[str, float]:
        assert task.history is not None
        events = task.history.events
        peer = task.adapter(task.folder)
        await peer.open_for_reading()
        try:
            before = resident()
            await peer.fold(last=events // 5)
            early = resident()
            state = await peer.fold()
            late = resident()
            trimmed = resident_trimmed()
        finally:
            await peer.close()
        check_folded(state.trade_count, events)
        return {
            "before": before,
            "early": early,
            "late": late,
            "growth": late - early,
            "trimmed": trimmed,
        }
