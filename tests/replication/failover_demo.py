"""The failover demonstration: `make demo-failover`.

Three servers run on loopback. The tape is traded on a primary, with a standby beside it. In the
middle of the tape, the primary's process and the server that leads the stream are killed at once.
The standby is promoted and trades the rest. The old primary rejoins, and follows. At the end, the
independent ledger is compared with the state, and the rejoined machine with the new writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eventstore import EventStore, SimulatedClock, StoreConfig, state_digest
from eventstore.demo.events_to_record import Journal
from eventstore.demo.messages import Followed, Message
from eventstore.demo.registry import trading_registry
from eventstore.demo.run import survey
from eventstore.demo.tape_reader import read_moments, shipped_tape
from eventstore.demo.verify import verify
from eventstore.demo.worker import STORE_OPTIONS, Recording
from eventstore.errors import ReplicationUnavailableError
from eventstore.replication import Standby, rejoin
from tests.real.children import Child, Parent
from tests.replication.cluster import Cluster


async def trade(parent: Parent, path: Path, replicate: dict[str, Any], tape: Path) -> None:
    """Trade the tape on the primary, until killed."""
    logging.getLogger("eventstore").setLevel(logging.CRITICAL)  # in a process of its own
    clock = SimulatedClock(next(read_moments(tape))[0].received)
    store = await EventStore.open(
        path, trading_registry(), replicate=replicate, clock=clock, **STORE_OPTIONS
    )
    parent.report("trades", store.seq)
    await _record(store, clock, tape, lambda seq: parent.report("at", seq))
    parent.report("finished", store.seq)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Leave out warnings that belong to the tape (clocks) and to the killed servers."""
    logger = logging.getLogger("eventstore")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _record(
    store: EventStore[Any], clock: SimulatedClock, tape: Path, told: Callable[[int], None]
) -> None:
    def say(message: Message) -> None:
        told(store.seq)

    work, journal = Recording(store, clock, say), Journal()
    for prints in read_moments(tape):
        await work.record(journal, prints)


async def _fail_over(cluster: Cluster, folder: Path, tape: Path) -> bool:
    replicate = {"servers": cluster.urls, "stream": "demo", "acknowledge": "quorum", "lease": 2.0}
    survey_of = await asyncio.to_thread(survey, tape)
    middle = survey_of.events // 2
    primary_path, standby_path = folder / "primary", folder / "standby"
    primary = Child(trade, primary_path, replicate, tape)
    await asyncio.to_thread(primary.report)
    print(f"primary trades the tape ({survey_of.prints:,} prints), standby follows")
    clock = SimulatedClock(next(read_moments(tape))[0].received)
    standby = await Standby.open(
        standby_path, trading_registry(), replicate=replicate, clock=clock, **STORE_OPTIONS
    )
    acknowledged = 0
    while acknowledged < middle:
        acknowledged = (await asyncio.to_thread(primary.report))[1]
    leader = await cluster.leader("demo")
    leader.kill()
    primary.kill()
    for report in primary.reports(0):
        acknowledged = max(acknowledged, report[1])
    print(
        f"killed: {leader.name} and the primary, which was told that event {acknowledged:,} is safe"
    )
    began = time.monotonic()
    store = await _promoted(standby)
    try:
        print(f"standby promoted at event {store.seq:,}, {time.monotonic() - began:.1f} s later")
        kept = store.seq >= acknowledged
        await _record(store, clock, tape, lambda seq: None)
        cluster.start_nodes()
        found = await rejoin(primary_path, StoreConfig.of(None, replicate=replicate))
        set_aside = len(found.set_aside)
        print(f"primary rejoins: shared up to {found.last_shared:,}, {set_aside} events set aside")
        async with Standby.open(
            primary_path, trading_registry(), replicate=replicate, **STORE_OPTIONS
        ) as old:
            await old.wait_for(store.seq)
            followed = Followed(old.seq, state_digest(old.state))
    finally:
        await store.close()
    verification = await verify(standby_path, tape, trading_registry(), followed)
    for check in verification.checks:
        print(f"{'yes' if not check.wrong else 'NO '}  {check.question}")
    print(f"{'yes' if kept else 'NO '}  every event that the primary was told is safe survived it")
    return kept and verification.passed


async def _promoted(standby: Standby[Any]) -> EventStore[Any]:
    """Promote, once the servers that are left have chosen their leaders."""
    while True:
        try:
            return await standby.promote()
        except ReplicationUnavailableError:
            await asyncio.sleep(0.2)


def main(tape: Path | None = None) -> int:
    """Run the demonstration. Returns the exit status."""
    with _hushed(), tempfile.TemporaryDirectory(prefix="eventstore-failover-") as name:
        cluster = Cluster(Path(name))
        try:
            cluster.start()
            passed = asyncio.run(_fail_over(cluster, Path(name), tape or shipped_tape()))
        finally:
            cluster.stop()
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
