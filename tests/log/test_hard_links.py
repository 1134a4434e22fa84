"""Files with a second name, which a copy made of hard links has: none of them is written to."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import pytest

from eventstore import EventLog, StoreFullError
from eventstore.disk.layout import REWRITE_TEMPORARY, SPARE_SEGMENT, segment_name
from tests.log.samples import (
    commit,
    new_log,
    open_on,
    several_segments,
    values_on,
    writer_after,
    writer_on,
)


def linked(source: Path, copy: Path) -> None:
    """Copy a store as `cp -al` does."""
    copy.mkdir(mode=0o700)
    for path in sorted(source.rglob("*")):
        target = copy / path.relative_to(source)
        if path.is_dir():
            target.mkdir(mode=0o700)
        else:
            os.link(path, target)


def contents(store: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    }


async def events(path: Path) -> list[object]:
    async with EventLog.open(path) as log:
        return [event.data async for event in log.read()]


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["closed", "idle", "killed"])
@pytest.mark.parametrize("first", ["the copy", "the original"])
async def test_a_copy_and_its_original_go_on_apart(tmp_path: Path, end: str, first: str) -> None:
    original, copy = tmp_path / "store", tmp_path / "copy"
    idle_seal = 0.001 if end == "idle" else 3600.0
    log = await EventLog.open(original, segment_size=4096, idle_seal=idle_seal)
    await log.append(b"shared")
    synced = 2 if end == "idle" else 1  # the seal is the second
    while not log.stats().spare_ready or log.stats().syncs < synced:  # noqa: ASYNC110  no event
        await asyncio.sleep(0.001)
    if end == "closed":
        await log.close()
        linked(original, copy)
    else:  # as a kill leaves it, by way of a copy without hard links
        shutil.copytree(original, tmp_path / "killed")
        (tmp_path / "killed").chmod(0o700)
        await log.close()
        original = tmp_path / "killed"
        linked(original, copy)
    one, two = (copy, original) if first == "the copy" else (original, copy)
    before = contents(two)
    async with EventLog.open(one, segment_size=4096) as opened:
        for number in range(100):
            await opened.append(number)
    assert contents(two) == before
    async with EventLog.open(two, segment_size=4096) as opened:
        assert opened.seq == 1
        await opened.append(b"of its own")
    assert await events(one) == [b"shared", *range(100)]
    assert await events(two) == [b"shared", b"of its own"]


def test_the_predecessor_is_copied_before_it_is_sealed() -> None:
    disk, values = several_segments(segments=1)
    disk.link_file(segment_name(1), "elsewhere")
    before = disk.read_file("elsewhere")
    writer = writer_after(disk)
    commit(writer, "more")
    writer.close()
    assert disk.read_file("elsewhere") == before
    assert disk.read_file(segment_name(1)) != before
    assert open_on(disk.after_power_cut(1)).next_seq == len(values) + 2
    assert values_on(disk) == [*values, "more"]


@pytest.mark.parametrize("call", ["create", "write", "open"])
def test_a_copy_that_finds_no_space_is_made_by_the_next_commit(call: str) -> None:
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, "x" * 3000)
    disk.link_file(segment_name(1), "elsewhere")
    before = disk.read_file("elsewhere")
    name = segment_name(1) if call == "open" else REWRITE_TEMPORARY
    code = errno.EMFILE if call == "open" else errno.ENOSPC
    disk.fail(kind=call, name=name, errno=code)
    with pytest.raises(StoreFullError):
        commit(writer, "y" * 3000)
    commit(writer, "z" * 3000)
    writer.close()
    assert disk.read_file("elsewhere") == before
    assert values_on(disk) == ["x" * 3000, "z" * 3000]
    assert open_on(disk.after_power_cut(1)).next_seq == 3


def test_a_spare_with_a_second_name_is_not_used() -> None:
    disk = new_log()
    writer = writer_on(disk)
    commit(writer, "x" * 1500)
    commit(writer, "x" * 1500)
    writer.prepare_spare()
    disk.link_file(SPARE_SEGMENT, "elsewhere")
    commit(writer, "x" * 1500)
    assert not any(disk.read_file("elsewhere"))
    assert not writer.spare.ready
    writer.close()
