"""A message took the number of a record, later records fitted behind, and nobody has mended it."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext

from eventstore import EventStore, StoreConfig, read_events
from eventstore.disk.local import LocalDisk
from eventstore.disk.manifest import load_manifest
from eventstore.errors import StreamMismatchError
from eventstore.log.reader import LogReader
from eventstore.replication import trim
from eventstore.replication.messages import Record, record_messages
from tests.replication.plain_reader import read_stream, without_repeats
from tests.replication.test_shipping import in_stream, opened, until
from tests.replication.test_standby import followed
from tests.support.bank import bank_registry, pay

pytestmark = pytest.mark.asyncio

LAST = 8
"""The last event of the writer. The stream has the events 1 to 3, and 5 to 8 behind the hole."""


@dataclasses.dataclass(frozen=True)
class Holed:
    """A writer at `one`, which is closed, and a stream with a hole in the place of event 4.

    `ahead` is a copy of the directory with the events up to 4, and `behind` one up to 3.
    """

    one: Path
    behind: Path
    ahead: Path
    replicate: dict[str, Any]
    stream: JetStreamContext

    @property
    def subject(self) -> str:
        return f"eventstore.{self.replicate['stream']}"

    async def repeat(self, number: int | str) -> None:
        """Store message `number` once more, as a client may that expects no number.

        Or store a message of another client, to the subject of that name.
        """
        if isinstance(number, str):
            await self.stream.publish(f"{self.subject}.{number}", b"hello")
            return
        found = await self.stream.get_msg(self.replicate["stream"], seq=number)
        own = {key: value for key, value in (found.headers or {}).items() if key[:5] == "Event"}
        await self.stream.publish(found.subject or "", found.data or b"", headers=own)

    async def fill(self) -> None:
        """Store the records that the writer had on the way behind the hole."""
        disk = LocalDisk(str(self.one), read_only=True)
        manifest = load_manifest(disk)
        for chunk in LogReader(disk, manifest.store).chunks(5):
            for seq in range(chunk.first_seq, chunk.first_seq + chunk.events):
                record = Record(chunk.first_seq, chunk.events, chunk.array[5:]).behind(seq - 1)
                assert record is not None
                items = record.behind(seq)
                body = record.body if items is None else record.body[: -len(items.body)]
                name, timeline = self.replicate["stream"], manifest.timelines[-1]
                alone = Record(seq, 1, body)
                for one in record_messages(name, manifest.store, timeline, alone, 2**20):
                    await self.stream.publish(one.subject, one.data, headers=one.headers)
        disk.close()

    async def mended(self) -> None:
        """Open the writer, and see that the stream has every event in order."""
        async with opened(self.one, self.replicate) as store:
            await until(lambda: store.stats().unreplicated == 0)
            assert store.seq == LAST
        found = await read_stream(self.replicate["servers"], self.replicate["stream"])
        assert [seq for seq, *_ in without_repeats(found)] == list(range(1, LAST + 1))

    async def promoted(self, path: Path, last: int) -> None:
        """Promote a directory with the events up to `last`, and see that another one follows."""
        async with followed(path, self.replicate) as standby, standby.promote() as store:
            assert store.seq == last
            await store.append(pay(100))
            await until(lambda: store.stats().unreplicated == 0)
        async with followed(self.one.with_name("new"), self.replicate) as new:
            await new.wait_for(last + 1)
            assert new.state == store.state


@pytest_asyncio.fixture
async def holed(tmp_path: Path, replicate: dict[str, Any]) -> AsyncIterator[Holed]:
    one, behind, ahead = tmp_path / "one", tmp_path / "behind", tmp_path / "ahead"
    replicate["acknowledge"] = "local"
    async with opened(one, replicate) as store:
        for number in range(1, 4):
            await store.append(pay(number))
        await until(lambda: store.stats().unreplicated == 0)
    shutil.copytree(one, behind)
    async with EventStore.open(one, bank_registry()) as store:
        await store.append(pay(4))
    shutil.copytree(one, ahead)
    for copy in (behind, ahead):
        os.remove(copy / "replica.json")
    async with EventStore.open(one, bank_registry()) as store:
        for number in range(5, LAST + 1):
            await store.append(pay(number))
    client = await nats.connect(replicate["servers"])
    try:
        yield Holed(one, behind, ahead, replicate, client.jetstream())
    finally:
        await client.close()


@pytest.mark.parametrize(
    "repeated",
    [1, 2, 3, 4, "record", "history"],
    ids=["history", "1", "2", "3", "foreign record", "foreign history"],
)
class TestBehind:
    """Message 1 is the history, and message N the record of event N - 1."""

    async def test_a_standby_passes_the_records_behind_over(
        self, holed: Holed, repeated: int | str
    ) -> None:
        await holed.repeat(repeated)
        await holed.fill()
        async with (
            followed(holed.behind, holed.replicate) as standby,
            followed(holed.ahead, holed.replicate) as ahead,
            followed(holed.one.with_name("new"), holed.replicate) as new,
        ):
            await new.wait_for(3)
            await until(lambda: standby.lag.messages == 0 == ahead.lag.messages)
            assert (standby.seq, ahead.seq, new.seq) == (3, 4, 3)
            assert standby.failure is ahead.failure is new.failure is None
            await holed.mended()
            for one in (standby, ahead, new):
                await one.wait_for(LAST)
        for path in (holed.behind, holed.ahead, holed.one.with_name("new")):
            assert list(read_events(path)) == list(read_events(holed.one))

    @pytest.mark.parametrize("last", [3, 4])
    async def test_a_standby_is_promoted_in_the_place_of_the_writer(
        self, holed: Holed, repeated: int | str, last: int
    ) -> None:
        await holed.repeat(repeated)
        await holed.fill()
        await holed.promoted(holed.behind if last == 3 else holed.ahead, last)

    async def test_a_trimmed_stream_keeps_the_hole_to_be_seen(
        self, holed: Holed, repeated: int | str
    ) -> None:
        """The place of the standby is event 3: what is behind stays."""
        async with followed(holed.behind, holed.replicate):
            pass
        await holed.repeat(repeated)
        await holed.fill()
        await trim(holed.one, StoreConfig.of(None, replicate=holed.replicate))
        async with followed(holed.behind, holed.replicate) as standby:
            await until(lambda: standby.lag.messages == 0)
            assert (standby.seq, standby.failure) == (3, None)
            async with opened(holed.one, holed.replicate) as store:
                await until(lambda: store.stats().unreplicated == 0)
            await standby.wait_for(LAST)


class TestPromotion:
    """The promoted directory has more than the end of the stream. No number is missing behind."""

    async def test_a_directory_that_began_with_a_backup_of_later_events(self, holed: Holed) -> None:
        await holed.promoted(holed.ahead, 4)

    async def test_an_old_message_that_comes_twice_before_the_writer_is_lost(
        self, holed: Holed
    ) -> None:
        async with followed(holed.behind, holed.replicate):
            await holed.repeat(2)
        await holed.promoted(holed.behind, 3)
        assert await in_stream(holed.replicate) == [1, 2, 3, 1, 2, 3, 4]


class TestTakenAwayByHand:
    async def test_a_damaged_message_that_somebody_removed(self, holed: Holed) -> None:
        """What fitted behind stands there alone, and the writer sends the event before again."""
        name = holed.replicate["stream"]
        headers = {"Eventstore-Store": "damaged"}
        await holed.stream.publish(f"{holed.subject}.record", b"hello", headers=headers)
        await holed.fill()
        with pytest.raises(StreamMismatchError, match=f"nats stream rmm {name} 5"):
            await opened(holed.one, holed.replicate)
        await holed.stream.delete_msg(name, 5)
        await holed.mended()
        async with followed(holed.behind, holed.replicate) as standby:
            await standby.wait_for(LAST)

    async def test_only_what_the_writer_has_is_removed(self, holed: Holed) -> None:
        """An older copy of the writer cannot send the events again: they stay in the stream."""
        name = holed.replicate["stream"]
        await holed.stream.publish(f"{holed.subject}.record", b"hello")
        await holed.fill()
        await holed.stream.delete_msg(name, 5)
        with pytest.raises(StreamMismatchError):
            await opened(holed.behind, holed.replicate | {"acknowledge": "quorum"})
        assert await in_stream(holed.replicate) == [1, 2, 3, 5, 6, 7, 8]
