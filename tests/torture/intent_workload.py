"""A program that intends: orders are opened, settled in every way, settled twice, and left open.

`Ledger` takes two more operations. An `Order` opens an intent, a `Fill` settles one by value. A
settlement by `Doubt.settle` carries its number as the note. The oracle works out which intents are
open from the submitted events, by the payloads alone (`oracle.open_after`), and holds every opened
store against that.

The body of `intend` is a promise of its own: from its first step on, no power cut may take the
intent, whatever durability the store has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from eventstore import Doubt, Durability, EventStoreError, StoreFullError
from tests.torture.ledger import Deposit, Fill, Order
from tests.torture.oracle import OracleError
from tests.torture.workload import Workload

__all__ = ["IntentWorkload"]


class IntentWorkload(Workload):
    """A program with a store, whose orders are intents."""

    kind = "intents"
    weights: ClassVar[Mapping[str, int]] = {
        **Workload.weights,
        "order": 3,
        "intend": 6,
        "intend_beside": 3,
        "settle": 4,
        "settle_twice": 2,
        "snapshot": 4,
    }

    def _orders(self, count: int) -> tuple[int, list[Any]]:
        """Draw a group of one order and up to `count - 1` other operations."""
        group, numbers = self.record.new_group(count)
        self.promised.ask(group, Durability.COMMIT)
        order = Order(number=numbers[0], amount=self.random.randrange(100))
        rest = [Deposit(number=number, account="fees", amount=1) for number in numbers[1:]]
        return group, [order, *rest]

    async def _order(self) -> None:
        """Open an intent by `append`, perhaps one that is settled in its own group."""
        group, operations = self._orders(self._small_count())
        if self.random.random() < 0.3:
            name = f"own-{operations[0].number}"
            order = Order(number=operations[0].number, name=name, amount=3)
            operations = [order, *operations[1:]]
            if len(operations) > 1:
                operations[-1] = Fill(number=operations[-1].number, name=name, amount=1)
        await self._succeeds(self._acknowledged(group, operations, None), group)

    async def _intend(self) -> None:
        store, random = self._open_store(), self.random
        group, operations = self._orders(random.choice((1, 1, 2)))
        try:
            async with store.intend(*operations) as doubt:
                self.record.flushed = max(self.record.flushed, doubt.seq)
                if doubt.seq > store.seq or doubt in store.in_doubt:
                    raise OracleError(f"{doubt} is at work, and open to others")
                await self._idle_or_not()
                if random.random() < 0.5:
                    await self._settled(doubt)
                elif random.random() < 0.3:
                    raise TimeoutError
        except TimeoutError:
            pass
        except StoreFullError as error:
            self._report(error)
            self.record.refuse(group)
        except EventStoreError as error:
            self._report(error)

    async def _intend_beside(self) -> None:
        """Open intents side by side, and cancel some of them at any step."""
        tasks = [asyncio.ensure_future(self._intend()) for _ in range(self._small_count())]
        await self._turns(6)
        for task in tasks[:: self.random.choice((1, 2))]:
            task.cancel()
        for told in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(told, Exception):
                raise told

    async def _settle(self) -> None:
        doubts = self._open_store().in_doubt
        if doubts:
            await self._settled(self.random.choice(doubts))

    async def _settle_twice(self) -> None:
        """Settle the oldest doubt side by side. One settlement is written, and told to both."""
        doubts = self._open_store().in_doubt
        if doubts:
            before = self._open_store().head_seq
            receipts = await asyncio.gather(self._settled(doubts[0]), self._settled(doubts[0]))
            if len({id(receipt) for receipt in receipts}) > 1 and None not in receipts:
                raise OracleError(f"{doubts[0]} was settled twice, after event {before}")

    async def _settled(self, doubt: Doubt[Any]) -> Any:
        """Settle a doubt, and return the receipt, or `None` where the store refused."""
        group, (number, other) = self.record.new_group(2)
        also = [Deposit(number=other, account="fees", amount=1)] * (self.random.random() < 0.5)
        try:
            if self.random.random() < 0.3 and not doubt.settled and doubt.receipt is None:
                fill = Fill(number=number, name=doubt.id, amount=2)
                return await self._open_store().append(fill, *also)
            return await doubt.settle("accepted", *also, note=str(number))
        except StoreFullError as error:
            self._report(error)
            self.record.refuse(group)
        except EventStoreError as error:
            self._report(error)
        return None

    async def _idle_or_not(self) -> None:
        if self.random.random() < 0.3:
            await self._idle()
