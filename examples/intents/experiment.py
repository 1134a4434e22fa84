"""What becomes of a bot's orders when the bot dies: `python experiment.py [RUNS]`.

Each run has six decisions, a network with slow messages, and up to three deaths of the bot, by kill
or by power cut. Every step follows from the number of the run. Afterwards, the venue's books tell
whether each decision is one order.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

from bot import REGISTRY, Book, PlaceOrder, ask, trade, wait_then_ask
from venue import Rejected, Venue, now_ns

from eventstore import Doubt, EventStore, SimulatedClock
from eventstore.testing import SimulatedDisk, run_in_virtual_time

DECISIONS = dict.fromkeys(range(6), 1)

Life = Callable[[EventStore[Book], Venue], Awaitable[None]]


class LoopClock(SimulatedClock):
    """A clock with the time of the event loop."""

    def time_ns(self) -> int:
        return now_ns()


async def send_then_record(store: EventStore[Book], venue: Venue) -> None:
    """Send an order, and record it afterwards. After a time-out, send it again."""
    for decision in DECISIONS:
        while decision not in store.state.done:
            try:
                await venue.place(f"order-{decision}-{store.seq}", decision, now_ns())
            except (TimeoutError, Rejected):
                continue
            await store.append(PlaceOrder(decision=decision, qty=1))


async def asked_at_once(store: EventStore[Book], venue: Venue) -> None:
    """Intend, and ask at once where an order is in doubt."""
    await trade(store, venue, DECISIONS, ask)


async def sent_again(store: EventStore[Book], venue: Venue) -> None:
    """Intend, and send the order again under the same id where it is in doubt."""

    async def resolve(doubt: Doubt[PlaceOrder], venue: Venue) -> None:
        while True:
            try:
                await venue.place(doubt.id, doubt.operation.decision, now_ns())
            except Rejected:
                break
            except TimeoutError:
                continue
            break
        await doubt.settle("accepted")

    await trade(store, venue, DECISIONS, resolve)


async def asked_when_decidable(store: EventStore[Book], venue: Venue) -> None:
    """Intend, and ask once nothing can be under way any more."""
    await trade(store, venue, DECISIONS, wait_then_ask)


LIVES: dict[str, Life] = {
    "send, then record": send_then_record,
    "intent, asked at once": asked_at_once,
    "intent, sent again under the same id": sent_again,
    "intent, asked when decidable": asked_when_decidable,
}


class Outcome(NamedTuple):
    """Decisions with more than one order, and with none."""

    doubled: int
    missing: int


async def run(life: Life, seed: int) -> Outcome:
    """Let a bot live, die and live again until everything is done, and read the venue's books."""
    random = Random(seed)
    venue, disk = Venue(random), SimulatedDisk(seed)
    deaths = random.randint(0, 3)
    while True:
        store = await EventStore.open("", REGISTRY, disk=disk, clock=LoopClock())
        living = asyncio.ensure_future(life(store, venue))
        if deaths:
            await asyncio.wait([living], timeout=random.uniform(0, 1))
        else:
            await living
        if living.done():
            living.result()
            await store.close()
            break
        # The disk is what the next life finds. What the dead one still does reaches nobody.
        deaths -= 1
        disk = disk.after_kill() if random.random() < 0.5 else disk.after_power_cut(random)
        living.cancel()
        await asyncio.wait([living])
        await store.close()
        await asyncio.sleep(random.uniform(0.1, 1.0))
    await asyncio.sleep(60)  # whatever is still under way arrives
    doubled = sum(count > 1 for count in venue.orders.values())
    return Outcome(doubled, sum(not venue.orders[decision] for decision in DECISIONS))


def main(runs: int) -> None:
    """Print how many runs go wrong, for each way to live."""
    print(f"{'':40}runs with double orders   with missing orders   of")
    for name, life in LIVES.items():
        found = [run_in_virtual_time(run(life, seed)) for seed in range(runs)]
        doubled = sum(outcome.doubled > 0 for outcome in found)
        missing = sum(outcome.missing > 0 for outcome in found)
        print(f"{name:40}{doubled:23}{missing:22}{runs:5}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
