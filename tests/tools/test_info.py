"""`eventstore info`: its facts, who has the store, and whether opening would succeed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eventstore import CorruptLogError, EventStore, StoreFormatError
from eventstore.demo.registry import trading_registry as demo_registry
from eventstore.disk.layout import segment_name
from eventstore.disk.local import LocalDisk
from eventstore.disk.processes import this_process
from eventstore.errors import EventStoreError
from handlers import UpdatePosition, trading_registry
from tests.support.counting import registry
from tests.support.day import flip
from tests.tools.command import eventstore, in_terminal
from tests.tools.conftest import segment_at

LIVE = """
import asyncio, sys
from eventstore import EventStore
from handlers import UpdatePosition, trading_registry

async def main():
    async with EventStore.open(sys.argv[1], trading_registry(), segment_size=4096) as store:
        for _ in range(40):
            await store.append(UpdatePosition(symbol="A", shares=1, price=1))
        if sys.argv[2] == "torn":
            store.submit(UpdatePosition(symbol="B" * 900, shares=1, price=1))
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def facts(path: Path, *options: str) -> tuple[int, dict[str, Any]]:
    result = eventstore("info", path, "--json", *options)
    return result.exit_code, msgspec.json.decode(result.stdout)


def copied(store: Path, folder: Path) -> Path:
    path = folder / "store"
    shutil.copytree(store, path)
    return path


class TestFacts:
    def test_in_a_pipe(self, day_store: Path) -> None:
        result = eventstore("info", day_store)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[:5] == [
            f"path\t{day_store}",
            "opens\tyes",
            "events\t1\t5000",
            "first\t2026-03-02T14:30:00Z",
            "last\t2026-03-02T20:03:16Z",
        ]
        assert "use\tnot in use" in result.stdout
        assert "snapshots\t3001\t4001\n" in result.stdout
        assert "folds\t999\n" in result.stdout
        assert "timeline\t1\n" in result.stdout
        assert "sealed\tclosed\n" in result.stdout

    def test_on_a_terminal(self, day_store: Path) -> None:
        status, output = in_terminal("info", day_store, "--color", "never")
        assert status == 0
        lines = output.splitlines()
        assert lines[0] == "day: 5,000 events, closed, not in use"
        rest = {line.split()[0]: line for line in lines[1:]}
        assert "1 … 5,000  2026-03-02 14:30:00Z … 20:03:16Z" in rest["events"]
        assert re.search(r"\d+ segments  2,\d+ … 5,000, .*kB, sealed: closed; spare", rest["log"])
        assert re.search(r"\d+ segments  1 … 2,\d+, \d+ kB", rest["archive"])
        assert "2  events 3,001 and 4,001; opening folds 999 events" in rest["snapshots"]
        assert "format 1, timeline 1, made 2026-03-02 14:30:00Z" in rest["store"]
        assert rest["opens"].split() == ["opens", "yes"]

    def test_in_json(self, day_store: Path) -> None:
        status, found = facts(day_store, "--count")
        assert status == 0
        assert found["schema"] == "eventstore.info/1"
        assert found["opens"]["verdict"] is True
        assert found["last"] == {"seq": 5000, "time": 1772481796 * 10**9}
        assert found["operations"]["record_trade"]["events"] == 4999
        assert found["timelines"][0]["number"] == 1
        assert found["use"]["owner"] is None

    def test_files_and_counts_as_rows(self, day_store: Path) -> None:
        output = eventstore("info", day_store, "--files", "--count").stdout
        assert "file\tbytes\tfirst\tlast\trecords\tsealed\n" in output
        assert "snapshots/00000000000000004001.snap\t" in output
        assert "record_trade\t4999\t2\t5000\n" in output

    def test_nothing_is_written(self, hurt_store: Path) -> None:
        before = {one: one.stat().st_mtime_ns for one in hurt_store.rglob("*")}
        eventstore("info", hurt_store)
        assert {one: one.stat().st_mtime_ns for one in hurt_store.rglob("*")} == before


class TestOpens:
    def test_damage_behind_the_snapshot(self, hurt_store: Path) -> None:
        result = eventstore("info", hurt_store)
        assert result.exit_code == 1
        (line,) = [one for one in result.stdout.splitlines() if one.startswith("opens\t")]
        assert re.match(r"opens\tno: CorruptLogError: .*log/\d{20}\.log ", line)
        assert line.endswith(f"next: eventstore repair {hurt_store}")
        assert f"next\teventstore repair {hurt_store}\n" in result.stdout
        assert "opening folds" not in in_terminal("info", hurt_store)[1]

    @pytest.mark.parametrize("missing", ["segment", "last segment", "archive", "log", "store.json"])
    def test_what_is_missing(self, day_store: Path, tmp_path: Path, missing: str) -> None:
        path = copied(day_store, tmp_path)
        segments = sorted((path / "log").glob("0*.log"))
        removals: dict[str, Callable[[], object]] = {
            "segment": segments[2].unlink,
            "last segment": segments[-1].unlink,
            "archive": sorted((path / "archive").iterdir())[1].unlink,
            "log": lambda: shutil.rmtree(path / "log"),
            "store.json": (path / "store.json").unlink,
        }
        removals[missing]()
        status, found = facts(path)
        assert status == 1
        assert found["opens"]["verdict"] is False
        assert found["opens"]["next"] == f"eventstore repair {path}"
        with pytest.raises(EventStoreError) as raised:
            asyncio.run(opened(path))
        assert type(raised.value).__name__ == found["opens"]["error"]

    def test_a_moment_at_any_size(
        self, day_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Little is folded and read without a request, however long the log is."""
        path = copied(day_store, tmp_path)
        monkeypatch.setattr("eventstore.tools.opening_outcome._FOLDED", 100)
        assert facts(path)[1]["opens"]["text"] == (
            "yes; 999 events were not folded (--registry folds them)"
        )
        early = segment_at(path, 4300)
        flip(path / segment_name(early), 20_000)
        assert facts(path)[1]["opens"]["verdict"] is False
        monkeypatch.setattr("eventstore.tools.read_limit._READ_AT_MOST", 10_000)
        found = facts(path)[1]
        assert found["opens"]["verdict"] is True
        assert "headers judged the older segments (eventstore verify" in found["opens"]["text"]
        whole = [one["whole"] for one in found["segments"]]
        assert whole == [False] * (len(whole) - 1) + [True]
        assert (found["last"]["seq"], found["open_intents"]) == (5000, None)
        assert (
            f"not known; eventstore events {path} --open reads" in eventstore("info", path).stdout
        )
        monkeypatch.setattr("eventstore.tools.opening_outcome._FOLDED", 10_000)
        assert facts(path)[1]["opens"]["verdict"] is False  # what is folded is read

    def test_a_newer_format(self, day_store: Path, tmp_path: Path) -> None:
        path = copied(day_store, tmp_path)
        manifest = path / "store.json"
        text = manifest.read_text().replace('"format": 1', '"format": 2,\n  "news": []')
        manifest.write_text(text)
        result = eventstore("info", path)
        assert result.exit_code == 5
        assert "no: StoreFormatError: " in result.stdout
        assert "is of format 2, and this release reads 1" in result.stdout
        assert "nothing is damaged" in result.stdout
        assert eventstore("events", path).exit_code == 5
        with pytest.raises(StoreFormatError):
            asyncio.run(opened(path))

    def test_a_flipped_bit_of_the_format_is_damage(self, day_store: Path, tmp_path: Path) -> None:
        path = copied(day_store, tmp_path)
        manifest = path / "store.json"
        manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 3'))
        status, found = facts(path)
        assert status == 1
        assert found["opens"]["error"] == "CorruptStoreError"

    def test_an_operation_without_a_handler(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventStore.open(tmp_path / "store", registry()) as store:
                await store.append("count", {"n": 1})

        asyncio.run(record())
        status, found = facts(tmp_path / "store")
        assert status == 0
        assert found["opens"]["verdict"] is None
        assert found["opens"]["text"] == "not known without handlers (--registry)"
        for name, expected, code in (
            ("registry", "yes", 0),
            ("refusing", "no: ReplayError: ", 1),
            ("trading", "no: UnknownOperationError: ", 1),
        ):
            option = f"tests.support.counting:{name}"
            status, found = facts(tmp_path / "store", "--registry", option)
            assert found["opens"]["text"].startswith(expected), name
            assert status == code

    def test_intents_of_another_registry(self, tmp_path: Path) -> None:
        """The snapshot of a registry with intents, such as the demonstration's, opens as well."""

        async def record() -> None:
            async with EventStore.open(tmp_path / "store", demo_registry()) as store:
                await store.append("full_state", {"cash": 1})
                await store.snapshot()

        asyncio.run(record())
        status, found = facts(tmp_path / "store")
        assert (status, found["opens"]["text"]) == (0, "yes")

    @pytest.mark.parametrize(
        "name", ["nowhere:x", "tests.support.counting:nothing", "no colon", "os:sep"]
    )
    def test_a_registry_that_is_none_is_wrong_usage(self, day_store: Path, name: str) -> None:
        result = eventstore("info", day_store, "--registry", name)
        assert result.exit_code == 2
        assert "Traceback" not in result.output

    def test_modes_and_links(self, day_store: Path, tmp_path: Path) -> None:
        path = copied(day_store, tmp_path)
        segment = max((path / "log").glob("0*.log"))
        path.chmod(0o777)
        status, found = facts(path)
        assert status == 5
        assert "can be written by others (mode 0777): chmod go-w" in found["opens"]["text"]
        path.chmod(0o700)
        elsewhere = tmp_path / "elsewhere"
        segment.rename(elsewhere)
        segment.symlink_to(elsewhere)
        status, found = facts(path)
        assert status == 5
        assert f"is a symbolic link to {elsewhere}" in found["opens"]["text"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_a_file_of_somebody_else(self, day_store: Path, tmp_path: Path) -> None:
        path = copied(day_store, tmp_path)
        segment = max((path / "log").glob("0*.log"))
        os.chown(segment, 65534, -1)
        status, found = facts(path)
        assert status == 5
        assert re.search(r"log/\d+\.log belongs to \w+, mode 0600", found["opens"]["text"])
        assert "chown root " in found["opens"]["text"]

    @pytest.mark.parametrize(
        ("free", "torn", "verdict"),
        [(1 << 30, True, True), (0, True, True), (0, True, False), (0, False, True)],
    )
    def test_space(
        self, tmp_path: Path, free: int, torn: bool, verdict: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A last segment with torn bytes is replaced by another file, which needs space."""
        path = tmp_path / "store"
        program = [sys.executable, "-c", LIVE, str(path), ""]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.kill()
        if torn:
            segment = max((path / "log").glob("0*.log"))
            content = segment.read_bytes()
            end = len(content.rstrip(b"\0")) + 64
            segment.write_bytes(content[:end] + b"\1" + content[end + 1 :])
        spare = path / "log" / "spare"
        if verdict:
            spare.write_bytes(bytes(4096))
        else:
            spare.unlink(missing_ok=True)
        monkeypatch.setattr(LocalDisk, "free_bytes", lambda self: free)
        status, found = facts(path)
        assert found["opens"]["verdict"] is verdict
        assert status == (0 if verdict else 5)
        if not verdict:
            assert re.match(r"no: needs [\d,]+ bytes, 0 free on /", found["opens"]["text"])
        elif torn and not free:
            assert "the spare segment will be used" in found["opens"]["text"]


async def opened(path: Path) -> None:
    async with EventStore.open(path, trading_registry(), create=False):
        pass


class TestUse:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Path:
        return tmp_path / "store"

    def live(self, store: Path, how: str = "") -> subprocess.Popen[str]:
        program = [sys.executable, "-c", LIVE, str(store), how]
        process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        return process

    def test_running_stopped_killed(self, store: Path) -> None:
        with self.live(store) as process:
            status, found = facts(store)
            assert status == 0
            use = found["use"]
            assert use["in_use"] is True
            assert use["standing"] == "running"
            assert use["owner"]["pid"] == process.pid
            pattern = (
                rf"in use by process {process.pid} \(.*\), running, since .*; last event \d+ s ago"
            )
            assert re.fullmatch(pattern, use["text"])
            assert found["opens"]["text"] == "not while it is in use"

            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            status, found = facts(store)
            assert status == 0
            assert "STOPPED (state T); last event" in found["use"]["text"]

            process.kill()
            process.wait()
            status, found = facts(store)
            assert status == 0
            ended = f"not in use (process {process.pid} ended without closing it)"
            assert found["use"]["text"] == ended
            text = "yes; the writer was killed: 1 segment will be rewritten"
            assert found["opens"]["text"] == text
            assert found["opens"]["clean"] is False

    def test_torn_bytes(self, store: Path) -> None:
        with self.live(store) as process:
            process.kill()
        segment = max((store / "log").glob("0*.log"))
        _, found = facts(store)
        used = found["segments"][-1]["used"]
        with segment.open("r+b") as file:
            file.seek(used)
            file.write(b"\x07" * 260)
        status, found = facts(store)
        assert status == 0
        assert found["opens"]["text"].endswith("260 bytes of an unfinished commit set aside")
        assert found["opens"]["torn_bytes"] == 260

    def test_another_namespace(self, day_store: Path, tmp_path: Path) -> None:
        path = copied(day_store, tmp_path)
        owner = msgspec.structs.replace(
            this_process(), pid=1, namespace="pid:[1]", host="bot-7f9c", command="python bot.py"
        )
        (path / "writer.pid").write_bytes(owner.encode())
        status, found = facts(path)
        assert status == 0
        assert found["use"]["text"] == (
            "in use by a process of another PID namespace, which calls itself 1, host bot-7f9c: "
            f"look there, or fuser -v {path}"
        )

    def test_this_process(self, store: Path) -> None:
        async def inside() -> None:
            async with EventStore.open(store, trading_registry()) as opened:
                await opened.append(UpdatePosition(symbol="A", shares=1, price=1))
                _, found = await asyncio.to_thread(facts, store)
                assert found["use"]["standing"] == "this process"
                assert f"in use by this process ({os.getpid()})" in found["use"]["text"]

        asyncio.run(inside())


@pytest.mark.parametrize("place", range(6))
def test_damage_before_the_snapshot_is_a_finding(
    place: int, day_store: Path, tmp_path: Path
) -> None:
    """An opening reads from the oldest kept snapshot on, and so does the verdict."""
    path = copied(day_store, tmp_path)
    flip(sorted((path / "log").glob("0*.log"))[place], 20_000)
    status, found = facts(path)
    assert status == 1
    assert found["faults"][0]["name"].startswith("log/")

    async def opens() -> bool:
        try:
            async with EventStore.open(path, trading_registry()):
                return True
        except CorruptLogError:
            return False

    assert found["opens"]["verdict"] is asyncio.run(opens())
