"""Reading ahead: the next file is loaded in a thread, and nothing is different for it."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from eventstore.disk import LocalDisk
from eventstore.errors import CorruptLogError, ReadFailedError
from eventstore.identity import load_identity
from eventstore.log import ahead, reader
from eventstore.log.ahead import ReadAhead
from eventstore.log.archive import compact
from eventstore.log.reader import LogReader
from eventstore.log.segment import segment_name
from eventstore.testing import Call, SimulatedDisk
from tests.log.samples import STORE, commit, several_segments, writer_after
from tests.log.test_reader import values_in

THREAD = "eventstore-read-ahead"


class ThreadedDisk(SimulatedDisk):
    """A simulated disk that says it blocks, and remembers what was loaded ahead."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.load_ended = threading.Event()
        self.add_rule(self.watch)

    def watch(self, call: Call) -> None:
        if threading.current_thread().name.startswith(THREAD):
            if call.kind == "open":
                self.loaded.append(call.name)
            elif call.kind == "close":
                self.load_ended.set()


def threaded(source: SimulatedDisk) -> ThreadedDisk:
    disk = ThreadedDisk()
    for name, content in source.contents().items():
        folder = name.rpartition("/")[0]
        if folder:
            disk.make_folder(folder)
        disk.write_file(name, content)
    return disk


@pytest.fixture(autouse=True)
def _each_event_is_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there is a second chunk in a small segment, before which the next is begun."""
    monkeypatch.setattr(reader, "CHUNK_EVENTS", 1)


def archived(segments: int) -> tuple[ThreadedDisk, list[object]]:
    disk, values = several_segments(segments=segments)
    compact(disk, load_identity(disk), 2 * segments - 2, "archive")
    return threaded(disk), values


class TestWhatIsLoadedAhead:
    def test_archives_one_at_a_time(self) -> None:
        disk, values = archived(5)
        chunks = LogReader(disk, STORE).chunks(ahead=True)
        found = values_in(next(chunks))
        assert disk.loaded == [], "nothing, as long as nobody has asked for more"
        found += values_in(next(chunks))
        assert disk.load_ended.wait(60)
        assert disk.loaded == ["archive/00000000000000000003.log.zst"]
        found += [value for chunk in chunks for value in values_in(chunk)]
        assert found == values
        assert disk.loaded == sorted(f"archive/{seq:020d}.log.zst" for seq in (3, 5, 7))

    def test_not_the_file_behind_the_last_event_that_is_wanted(self) -> None:
        disk, values = archived(5)
        found = LogReader(disk, STORE).chunks(1, 5, ahead=True)
        assert [value for chunk in found for value in values_in(chunk)] == values[:4]
        assert disk.loaded == ["archive/00000000000000000003.log.zst"]

    @pytest.mark.parametrize("ahead", [False, True])
    def test_nothing_unless_asked_for_or_on_a_disk_that_never_blocks(self, ahead: bool) -> None:
        disk, values = archived(4)
        disk.blocking = not ahead
        found = LogReader(disk, STORE).chunks(ahead=ahead)
        assert [value for chunk in found for value in values_in(chunk)] == values
        assert disk.loaded == []

    @pytest.mark.parametrize("segments", range(1, 7))
    def test_no_segment_that_is_still_to_be_written_to(self, segments: int) -> None:
        """The writer goes on after a file was loaded ahead, and every event is there, once."""
        source, values = several_segments(segments=segments, close=False)
        disk = threaded(source)
        chunks = LogReader(disk, STORE).chunks(ahead=True)
        found = values_in(next(chunks)) + values_in(next(chunks))
        if segments > 3:
            assert disk.load_ended.wait(60)
        else:
            assert not disk.loaded
        writer = writer_after(disk)
        for number in range(4):
            values.append(f"{number}" + "x" * 3000)
            commit(writer, values[-1])
        writer.close()
        found += [value for chunk in chunks for value in values_in(chunk)]
        assert found == values


class TestWhatGoesWrong:
    def test_a_file_that_cannot_be_read_is_told_in_its_turn(self) -> None:
        disk, values = archived(4)
        name = "archive/00000000000000000005.log.zst"
        disk.fail(kind="read", name=name, errno=errno.EIO, forever=True)
        chunks = LogReader(disk, STORE).chunks(ahead=True)
        found = [value for _ in range(2) for value in values_in(next(chunks))]
        assert found == values[:4]
        with pytest.raises(ReadFailedError) as raised:
            next(chunks)
        assert raised.value.path == f"simulated/{name}"

    def test_so_is_one_that_is_damaged(self) -> None:
        disk, values = archived(4)
        disk.flip_bit("archive/00000000000000000005.log.zst", 8 * 60)
        chunks = LogReader(disk, STORE).chunks(ahead=True)
        assert [value for _ in range(2) for value in values_in(next(chunks))] == values[:4]
        with pytest.raises(CorruptLogError):
            next(chunks)

    def test_a_segment_that_moves_to_the_archive_is_found_there(self) -> None:
        source, values = several_segments(segments=6)
        disk = threaded(source)
        chunks = LogReader(disk, STORE).chunks(ahead=True)
        found = values_in(next(chunks)) + values_in(next(chunks))
        assert disk.load_ended.wait(60)
        assert disk.loaded == [segment_name(3)]
        compact(disk, load_identity(disk), 8, "archive")
        found += [value for chunk in chunks for value in values_in(chunk)]
        assert found == values


class TestTheThread:
    def test_it_ends_with_the_reading(self) -> None:
        disk, _ = archived(5)
        chunks = LogReader(disk, STORE).chunks(ahead=True)
        next(chunks)
        next(chunks)
        assert threads() == 1
        del chunks
        assert threads() == 0
        list(LogReader(disk, STORE).chunks(ahead=True))
        assert threads() == 0

    def test_what_was_not_begun_is_loaded_when_asked_for(self) -> None:
        loaded: list[tuple[int, str]] = []
        second = threading.Event()

        def load(source: int) -> bytes:
            loaded.append((source, threading.current_thread().name))
            if source == 2:
                second.set()
            return bytes(source)

        files = ReadAhead[int, bytes](load, threads=True)
        files.begin(1)
        files.begin(1)
        assert files.take(1) == b"\0"
        files.begin(2)
        assert second.wait(60)
        assert files.take(3) == b"\0\0\0"
        files.close()
        assert sorted(loaded) == [(1, f"{THREAD}_0"), (2, f"{THREAD}_0"), (3, "MainThread")]

    def test_it_is_let_come_forward_as_long_as_it_loads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        go_on, ended = threading.Event(), threading.Event()

        def load(source: int) -> int:
            assert go_on.wait(60)
            return source

        files = ReadAhead[int, int](load, threads=True)
        monkeypatch.setattr(ahead, "time", SimpleNamespace(sleep=waits.append))
        files.begin(1)
        assert waits == []
        files.begin(1)
        files.begin(1)
        assert waits == [0, 0]
        assert files._begun is not None
        files._begun[1].add_done_callback(lambda future: ended.set())
        go_on.set()
        assert ended.wait(60)
        files.begin(1)
        assert waits == [0, 0]
        assert files.take(1) == 1
        files.close()


def threads() -> int:
    return sum(thread.name.startswith(THREAD) for thread in threading.enumerate())


def test_a_real_directory_is_read_in_the_same_way(tmp_path: Path) -> None:
    source, values = archived(6)
    for name, content in source.contents().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    disk = LocalDisk(str(tmp_path), read_only=True)
    found = LogReader(disk, STORE).chunks(ahead=True)
    assert [value for chunk in found for value in values_in(chunk)] == values
