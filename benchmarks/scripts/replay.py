"""How fast history is read, verified, decoded and folded, as ratios within one run.

Builds one store for each record size, with the same trades, then compares in interleaved rounds:

* `decode`: one bare msgspec decode of the same bytes, already in memory: the floor.
* `read_events`: files, checksums, order and decoding, event by event.
* `loop`: handlers over events already decoded: the floor of a fold.
* `replay`: everything, handing over each event with its state.

Run with `python benchmarks/scripts/replay.py [--events N] [--rounds N]`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from eventstore import EventStore, SimulatedClock, read_events, replay
from eventstore.disk.listing import Listing
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.log.archive import compact
from eventstore.log.recovery import examine_log, repair_log
from eventstore.log.writer import LogWriter
from eventstore.model.codec import array_header
from eventstore.model.operation import Event
from handlers import EngineState, RecordTrade, UpdatePosition, trading_registry

REGISTRY = trading_registry()


def trades(count: int) -> list[Event[Any]]:
    """Trades in twenty symbols, with a mark of the position after every fourth."""
    events: list[Event[Any]] = []
    for seq in range(1, count + 1):
        symbol = f"SYM{seq % 20:02d}"
        data: Any = (
            UpdatePosition(symbol=symbol, shares=100.0 + seq % 7, price=50.0 + seq % 11)
            if seq % 4 == 0
            else RecordTrade(
                trade_id=f"t-{seq}",
                symbol=symbol,
                side="buy" if seq % 3 else "sell",
                shares=1.0 + seq % 5,
                price=50.0 + seq % 13 / 8,
                fee=0.01,
            )
        )
        events.append(Event(seq, 1_600_000_000_000_000_000 + seq * 1_000_000, data))
    return events


async def build(path: Path, events: list[Event[Any]], per_record: int, archived: bool) -> int:
    """Make a store with `per_record` events in each record. Returns the number of events to read.

    Of an archived history, only the events in the archive count: the last segment stays in the log.
    """
    async with EventStore.open(path, REGISTRY, clock=SimulatedClock(0)):
        pass
    disk = LocalDisk(path)
    manifest = load_manifest(disk)
    examined = examine_log(disk, manifest.store, Listing.read(disk), log_start=1, verify_from=1)
    opened = repair_log(disk, examined)
    writer = LogWriter(
        disk,
        manifest.store,
        opened.last,
        opened.next_seq,
        spare_ready=False,
        segment_size=8 << 20,
        slow_sync=60.0,
    )
    encode = REGISTRY.codec.encode_all
    for first in range(0, len(events), per_record):
        batch = events[first : first + per_record]
        writer.commit(writer.next_seq, len(batch), encode(batch), sync=False)
    writer.close()
    if archived:
        manifest = compact(disk, manifest, len(events), "archive")
    disk.close()
    return manifest.archived[-1][1] if archived else len(events)


def timed(history: Callable[[], Iterable[Any]], count: int) -> float:
    """Nanoseconds for each of `count` events."""
    gc.collect()
    began = time.perf_counter()
    for _ in history():
        pass
    return (time.perf_counter() - began) / count * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    events = trades(options.events)
    whole = REGISTRY.codec.encode_all(events)
    decode_many = REGISTRY.codec._decode_many
    parts = [
        array_header(len(part)) + REGISTRY.codec.encode_all(part)
        for part in (events[i : i + 4096] for i in range(0, len(events), 4096))
    ]
    decoded = REGISTRY.codec.decode(array_header(len(events)) + whole, len(events), 1)
    handlers = REGISTRY._fold
    del whole

    def bare_decode() -> Any:
        return itertools.chain.from_iterable(map(decode_many, parts))

    def bare_loop() -> Any:
        state: Any = EngineState()
        for event in decoded:
            state = handlers[type(event.data)](state, event)
        return ()

    print(f"{options.events:,} events, {options.rounds} rounds; medians")
    print(
        f"{'records of':>12} {'decode ns':>10} {'read ns':>9} {'ratio':>6}  "
        f"{'loop ns':>8} {'replay ns':>10} {'replay/(read+loop)':>19}"
    )
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for per_record, archived in ((1, False), (8, False), (64, False), (1000, False), (1, True)):
            path = Path(folder) / f"{per_record}-{archived}"
            count = asyncio.run(build(path, events, per_record, archived))
            read = partial(read_events, path, REGISTRY, stop=count + 1)
            fold = partial(replay, path, REGISTRY, stop=count + 1)
            rows: dict[str, list[float]] = {"decode": [], "read": [], "loop": [], "replay": []}
            for _ in range(options.rounds):
                rows["decode"].append(timed(bare_decode, options.events))
                rows["read"].append(timed(read, count))
                rows["loop"].append(timed(bare_loop, options.events))
                rows["replay"].append(timed(fold, count))
            each = {name: statistics.median(figures) for name, figures in rows.items()}
            label = "archive" if archived else str(per_record)
            print(
                f"{label:>12} {each['decode']:10.0f} {each['read']:9.0f} "
                f"{each['read'] / each['decode']:6.2f}  {each['loop']:8.0f} "
                f"{each['replay']:10.0f} {each['replay'] / (each['read'] + each['loop']):19.2f}"
            )


if __name__ == "__main__":
    main()
