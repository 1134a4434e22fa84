"""The same backups in one file and in an object store: a real S3 server, started here."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from eventstore import (
    ConfigError,
    CorruptStoreError,
    EventStore,
    HistoryForkedError,
    ReadFailedError,
    StoreReadOnlyError,
    state_at,
    state_digest,
)
from eventstore.disk.local import LocalDisk
from eventstore.tools.backup.catalog import CATALOGS
from eventstore.tools.backup.copying import backup, newest_catalog
from eventstore.tools.backup.entrance import list_copies, make_backup, open_place
from eventstore.tools.backup.object_store import ObjectPlace
from eventstore.tools.backup.places import DirectoryPlace, Place
from eventstore.tools.backup.restore import plan_restore, restore
from eventstore.tools.backup.single_file import SingleFilePlace
from tests.support.bank import bank_after, bank_registry, pay

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SMALL: dict[str, Any] = {"segment_size": 4096, "wal_max_entries": 40, "backup_count": 2}


async def fill(store: Path, *amounts: int) -> None:
    async with EventStore.open(store, bank_registry(), **SMALL) as opened:
        for amount in amounts:
            await opened.append(pay(amount))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    asyncio.run(fill(tmp_path / "store", *[1] * 100))
    return tmp_path / "store"


def check_restored(place: Place, new: Path, *amounts: int) -> None:
    plan = plan_restore(place, None, bank_registry())
    restore(plan, new, bank_registry())
    state = state_at(new, bank_registry())
    assert state == bank_after(*amounts)
    assert state_digest(state) == plan.catalog.digest


@pytest.fixture(params=["directory", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "directory":
        return DirectoryPlace(tmp_path / "place")
    return ObjectPlace(MemoryStore(), "memory")


class TestAPlace:
    def test_an_object_is_written_once(self, place: Place) -> None:
        assert place.put_new("data/a/b", b"one")
        assert not place.put_new("data/a/b", b"two")
        assert place.get("data/a/b") == b"one"

    def test_names_under_a_prefix(self, place: Place) -> None:
        assert place.list("data/") == {}
        for name in ("data/a/b", "data/c", "catalogs/1"):
            place.put_new(name, b"xy")
        assert place.list("data/") == {"data/a/b": 2, "data/c": 2}
        place.remove("data/a/b")
        place.remove("data/a/b")
        assert place.list("data/") == {"data/c": 2}
        with pytest.raises(FileNotFoundError):
            place.get("data/a/b")


class TestOneFile:
    def test_a_file_is_replaced_by_a_newer_copy(self, tmp_path: Path, store: Path) -> None:
        name = str(tmp_path / "day.tar.zst")
        first = make_backup(store, name, bank_registry())
        assert first.new
        assert not make_backup(store, name, bank_registry()).new
        asyncio.run(fill(store, 5))
        assert make_backup(store, name, bank_registry()).catalog.number == 2
        [catalog] = list_copies(open_place(name))
        assert (catalog.number, catalog.last) == (2, 101)
        check_restored(open_place(name), tmp_path / "new", *[1] * 100, 5)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["day.tar.zst", "new", "store"]

    @pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the program zstd")
    def test_other_programs_unpack_the_file(self, tmp_path: Path, store: Path) -> None:
        name = tmp_path / "day.tar.zst"
        make_backup(store, str(name), bank_registry())
        subprocess.run(["zstd", "-q", "-d", name, "-o", tmp_path / "day.tar"], check=True)
        with tarfile.open(tmp_path / "day.tar") as tar:
            tar.extractall(tmp_path / "out", filter="data")
        check_restored(DirectoryPlace(tmp_path / "out"), tmp_path / "new", *[1] * 100)

    def test_the_file_is_a_tar_archive_in_frames(self, tmp_path: Path, store: Path) -> None:
        name = tmp_path / "day.tar.zst"
        make_backup(store, str(name), bank_registry())
        (tmp_path / "day.tar").write_bytes(zstd.decompress(name.read_bytes()))
        with tarfile.open(tmp_path / "day.tar") as tar:
            tar.extractall(tmp_path / "out", filter="data")
        check_restored(DirectoryPlace(tmp_path / "out"), tmp_path / "new", *[1] * 100)

    def test_another_writers_file_is_not_replaced(self, tmp_path: Path, store: Path) -> None:
        zombie, name = tmp_path / "zombie", tmp_path / "day.tar.zst"
        shutil.copytree(store, zombie)
        asyncio.run(fill(store, 1))
        asyncio.run(fill(zombie, 2))
        make_backup(store, str(name), bank_registry())
        before = name.read_bytes()
        with pytest.raises(HistoryForkedError):
            make_backup(zombie, str(name), bank_registry())
        assert name.read_bytes() == before

    def test_damage(self, tmp_path: Path, store: Path) -> None:
        name = tmp_path / "day.tar.zst"
        make_backup(store, str(name), bank_registry())
        content = bytearray(name.read_bytes())
        content[len(content) // 3] ^= 1
        name.write_bytes(content)
        with pytest.raises(CorruptStoreError):
            check_restored(SingleFilePlace(name), tmp_path / "new")
        name.write_bytes(content[:-20])
        with pytest.raises(CorruptStoreError, match="cut short"):
            open_place(str(name))
        name.write_bytes(b"")
        with pytest.raises(CorruptStoreError, match="cut short"):
            open_place(str(name))

    def test_no_object_is_put_into_a_file(self, tmp_path: Path) -> None:
        place = SingleFilePlace(tmp_path / "none.tar.zst")
        assert place.list("") == {}
        for change in (lambda: place.put_new("a", b""), lambda: place.remove("a")):
            with pytest.raises(StoreReadOnlyError):
                change()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server on this machine, in a process of its own thread."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("ACCESS_KEY_ID", "test"),
            ("SECRET_ACCESS_KEY", "test"),
            ("REGION", "us-east-1"),
            ("ALLOW_HTTP", "true"),
            ("ENDPOINT_URL", endpoint),
        ):
            patch.setenv(f"AWS_{name}", value)
        with urllib.request.urlopen(
            urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=30
        ):
            pass
        yield "s3://bucket"
    server.stop()


class TestObjectStore:
    def test_backups_in_s3(self, tmp_path: Path, store: Path, bucket: str) -> None:
        to, amounts = f"{bucket}/day", [1] * 100
        for round_ in range(3):
            copy = make_backup(store, to, bank_registry(), keep=2)
            assert copy.catalog.digest == state_digest(bank_after(*amounts))
            check_restored(open_place(to), tmp_path / f"new-{round_}", *amounts)
            new = [round_ + 2] * 30
            asyncio.run(fill(store, *new))
            amounts += new
        assert [one.number for one in list_copies(open_place(to))] == [2, 3]

    def test_the_server_refuses_a_name_that_is_taken(self, bucket: str) -> None:
        place = open_place(f"{bucket}/names")
        assert place.put_new("a/b", b"one")
        assert not place.put_new("a/b", b"two")
        assert place.get("a/b") == b"one"
        place.remove("a/b")
        assert place.list("") == {}

    def test_a_second_writer_is_refused(self, tmp_path: Path, store: Path, bucket: str) -> None:
        zombie, to = tmp_path / "zombie", f"{bucket}/writers"
        shutil.copytree(store, zombie)
        asyncio.run(fill(store, 1))
        asyncio.run(fill(zombie, 2))
        make_backup(store, to, bank_registry())
        before = open_place(to).list("")
        with pytest.raises(HistoryForkedError):
            make_backup(zombie, to, bank_registry())
        assert open_place(to).list("") == before

    def test_a_request_that_fails_is_an_error_of_ours(self, store: Path, bucket: str) -> None:
        with pytest.raises(ReadFailedError, match="s3://nowhere/day cannot be listed") as caught:
            make_backup(store, "s3://nowhere/day", bank_registry())
        assert str(caught.value).endswith("; is there such a bucket or container?")

    @pytest.mark.parametrize(
        ("answer", "advice"),
        [
            ("PUT http://169.254.169.254/latest/api/token in 1ms", "set AWS_ACCESS_KEY_ID"),
            ("GET http://127.0.0.1:1/bucket in 9us - HTTP error: builder error", "AWS_ALLOW_HTTP"),
            ("GET http://127.0.0.1:1/bucket - HTTP error: error sending request", "be reached?"),
            ("something else", "something else"),
        ],
    )
    def test_an_answer_says_what_to_do_next(
        self, answer: str, advice: str, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(answer)

        place = open_place(f"{bucket}/day")
        monkeypatch.setattr("obstore.list", refuse)
        with pytest.raises(ReadFailedError, match=advice):
            place.list("")


def test_a_url_of_no_object_store(store: Path) -> None:
    with pytest.raises(ConfigError, match="names no object store"):
        make_backup(store, "ftp://host/day")


def test_without_the_extra(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ConfigError, match=r"pip install 'asyncio-eventstore\[backup\]'"):
        open_place("s3://bucket/day")


def test_a_place_that_is_no_place_for_a_backup(tmp_path: Path, store: Path) -> None:
    with pytest.raises(ConfigError, match="is within the store"):
        make_backup(store, str(store / "backup"))
    with pytest.raises(ConfigError, match="is within the store"):
        make_backup(store, str(store))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letters").mkdir()
    with pytest.raises(ConfigError, match=r"holds other files \(letters\)"):
        make_backup(store, str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="at least 1"):
        make_backup(store, str(tmp_path / "place"), keep=0)


def test_a_failure_at_any_step_leaves_the_earlier_copies(tmp_path: Path) -> None:
    """One call of the place after another fails: the process dies there, or the network does."""
    store, amounts, steps = tmp_path / "store", [1], 0
    asyncio.run(fill(store, 1))
    place = StoppingPlace(tmp_path / "place")
    make_backup(store, place.name, bank_registry())
    while True:
        asyncio.run(fill(store, 2, 3))
        disk = LocalDisk(store, read_only=True)
        place.left = steps
        try:
            backup(disk, place, bank_registry(), keep=1)
        except ReadFailedError:
            catalogs = list_copies(DirectoryPlace(place.name))
            newest = catalogs[-1].last
            assert newest in (len(amounts), len(amounts) + 2)
            new = tmp_path / f"new-{steps}"
            check_restored(DirectoryPlace(place.name), new, *[*amounts, 2, 3][:newest])
        else:
            break
        finally:
            disk.close()
        amounts += [2, 3]
        place.left = 1_000_000
        disk = LocalDisk(store, read_only=True)
        backup(disk, place, bank_registry(), keep=2)
        disk.close()
        steps += 2
    assert steps > 8


class StoppingPlace(DirectoryPlace):
    """A place whose calls fail after the next `left` ones."""

    left = 1_000_000

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ReadFailedError("the connection is gone", path=self.name)

    def list(self, prefix: str) -> dict[str, int]:
        self._step()
        return super().list(prefix)

    def get(self, name: str) -> bytes:
        self._step()
        return super().get(name)

    def put_new(self, name: str, data: bytes) -> bool:
        self._step()
        return super().put_new(name, data)

    def remove(self, name: str) -> None:
        self._step()
        super().remove(name)


def test_an_unfinished_copy_leaves_parts_that_the_next_one_uses(
    tmp_path: Path, store: Path
) -> None:
    place = FailingPlace(tmp_path / "place")
    disk = LocalDisk(store, read_only=True)
    with pytest.raises(ReadFailedError):
        backup(disk, place, bank_registry())
    assert newest_catalog(place) is None
    left = set(place.list("data/"))
    assert left
    place.failing = False
    made = backup(disk, place, bank_registry())
    disk.close()
    assert left == set(made.catalog.parts)
    check_restored(place, tmp_path / "new", *[1] * 100)


class FailingPlace(DirectoryPlace):
    """A place that loses its connection before the catalog."""

    failing = True

    def put_new(self, name: str, data: bytes) -> bool:
        if self.failing and name.startswith(CATALOGS):
            raise ReadFailedError("the connection is gone", path=self.name)
        return super().put_new(name, data)
