"""A process that appends the amounts 1, 2, ... without a pause, and prints each durable number."""

from __future__ import annotations

import asyncio
import sys

from eventstore import EventStore
from tests.support.bank import bank_registry, pay


async def main(path: str) -> None:
    options = {"segment_size": 8192, "wal_max_entries": 150, "backup_count": 2}
    async with EventStore.open(path, bank_registry(), options) as store:
        while True:
            receipt = await store.append(pay(store.head_seq + 1))
            print(receipt.seq, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
