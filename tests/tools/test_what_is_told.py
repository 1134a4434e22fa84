"""What the tools say: of damage, of a store that is alive or was killed, and to a terminal."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from eventstore import CorruptLogError, EventLog, EventStore, HandlerRegistry, read_events
from eventstore.command_line.all_commands import commands
from eventstore.recovery_and_stats import printable
from eventstore.tools import verify
from eventstore.tools.file_survey import overview
from handlers import UpdatePosition, trading_registry
from tests.support.till import Pay, pay, sell

REGISTRY = HandlerRegistry(pay, sell)
HOSTILE = "a\x1b[2J\x07\x9bb\u202ec\nEVENT 3 IS FINE"


def eventstore(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def segment(store: Path, index: int) -> Path:
    return sorted((store / "log").glob("0*.log"))[index]


async def fill(path: Path, count: int = 200, **options: object) -> None:
    settings = {"segment_size": 4096, "history": "keep", **options}
    async with EventStore.open(path, REGISTRY, **settings) as store:  # type: ignore[arg-type]  # mixed types
        for number in range(count):
            await store.append(Pay(name=f"n{number % 9}", amount=1.0))
        await store.snapshot()


def filled(path: Path) -> Path:
    """A store of many segments and one snapshot."""
    asyncio.run(fill(path))
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "store"
    asyncio.run(fill(path))
    assert len(list((path / "log").glob("0*.log"))) >= 5
    return path


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def of_another_store(store: Path) -> None:
    stranger = store.with_name("stranger")
    asyncio.run(fill(stranger))
    shutil.copy(segment(stranger, 2), segment(store, 2))


def remove_two(store: Path) -> None:
    for file in (segment(store, 2), segment(store, 3)):
        file.unlink()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "the first missing": lambda store: segment(store, 0).unlink(),
    "one missing": lambda store: segment(store, 2).unlink(),
    "two missing": remove_two,
    "the last missing": lambda store: segment(store, -1).unlink(),
    "a copy behind the end": lambda store: shutil.copy(
        segment(store, 1), store / "log" / f"{999:020d}.log"
    ),
    "a copy in between": lambda store: shutil.copy(
        segment(store, 1), store / "log" / f"{3:020d}.log"
    ),
    "another file as a segment": lambda store: (store / "log" / f"{999:020d}.log").write_text("me"),
    "one renamed": lambda store: segment(store, 1).rename(store / "log" / f"{999:020d}.log"),
    "of another store": of_another_store,
    "a flipped bit": lambda store: flip(segment(store, 2), 700),
    "a flipped bit of a header": lambda store: flip(segment(store, 2), 20),
    "cut short": lambda store: os.truncate(segment(store, 2), 1000),
    "a flipped bit of the last": lambda store: flip(segment(store, -1), 700),
}


def of_another_life(store: Path) -> None:
    """Put a whole segment in place that another copy of the store wrote. Its checksums are right.

    The store goes on afterwards, so that the segment has a successor.
    """
    other = store.with_name("other")
    shutil.copytree(store, other)
    before = {one.name for one in (store / "log").glob("0*.log")}
    asyncio.run(fill(store, 40))
    asyncio.run(fill(other, 60))
    newer = sorted(one for one in (store / "log").glob("0*.log") if one.name not in before)[0]
    shutil.copy(other / "log" / newer.name, newer)


def lose_an_archive(store: Path) -> None:
    shutil.rmtree(store)
    asyncio.run(fill(store, history="archive", wal_max_entries=20, backup_count=1))
    min((store / "archive").glob("*.zst")).unlink()


OTHER_DAMAGES: dict[str, Callable[[Path], object]] = {
    "of another life": of_another_life,
    "an archive missing": lose_an_archive,
    "a snapshot damaged": lambda store: flip(max((store / "snapshots").glob("*.snap")), 300),
}


class TestDamage:
    @pytest.fixture(params=list(DAMAGES))
    def damaged(self, request: pytest.FixtureRequest, sound: Path, tmp_path: Path) -> Path:
        path = tmp_path / "store"
        shutil.copytree(sound, path)
        DAMAGES[request.param](path)
        return path

    @pytest.mark.parametrize("command", ["info", "verify"])
    def test_it_is_named_with_what_to_do_and_how_far_reading_goes(
        self, damaged: Path, sound: Path, command: str
    ) -> None:
        result = eventstore(command, damaged)
        assert result.exit_code == 1
        assert re.search(r"^DAMAGED: log/\d{20}\.log: ", result.output, re.MULTILINE)
        assert re.search("Restore the file|move it out of log/|ename it to", result.output)
        stop = int((re.findall(r"--stop (\d+)", result.output) or ["1"])[0])
        dumped = eventstore("dump", damaged, "--stop", stop)
        assert dumped.exit_code == 0, dumped.output
        assert len(dumped.output.splitlines()) == stop
        before = list(read_events(sound, REGISTRY, stop=stop))
        assert list(read_events(damaged, REGISTRY, stop=stop)) == before

    def test_a_stray_copy_is_to_be_moved_away_and_nothing_else(
        self, sound: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "store"
        shutil.copytree(sound, path)
        stray = path / "log" / f"{999:020d}.log"
        shutil.copy(segment(path, 1), stray)
        result = eventstore("info", path)
        assert f"DAMAGED: log/{stray.name}: it is the segment of event" in result.output
        assert "nothing is missing: move it out of log/" in result.output
        assert "backup" not in result.output
        assert "events\t1\t200\n" in result.output
        stray.unlink()
        assert eventstore("info", path).exit_code == 0

    @pytest.mark.parametrize(
        ("damage", "commands", "said"),
        [
            ("of another life", ("info", "verify"), r"log/\d+\.log: it is not what"),
            ("an archive missing", ("info", "verify"), r"archive/\d+\.log\.zst: .* missing"),
            ("a snapshot damaged", ("verify",), r"snapshots/\d+\.snap: it is damaged"),
        ],
    )
    def test_so_is_what_the_chain_of_segments_does_not_show(
        self, sound: Path, tmp_path: Path, damage: str, commands: tuple[str, ...], said: str
    ) -> None:
        path = tmp_path / "store"
        shutil.copytree(sound, path)
        OTHER_DAMAGES[damage](path)
        for command in commands:
            result = eventstore(command, path)
            assert result.exit_code == 1, command
            assert re.search(f"DAMAGED: {said}", result.output)

    def test_a_copy_below_the_log_is_told_by_all(self, tmp_path: Path) -> None:
        """A name of an archived segment. Opening for writing would have to remove the file."""
        path = tmp_path / "store"
        asyncio.run(fill(path, history="archive", wal_max_entries=20, backup_count=1))
        stray = path / "log" / f"{2:020d}.log"
        shutil.copy(segment(path, 0), stray)
        for command in ("info", "verify"):
            result = eventstore(command, path)
            assert result.exit_code == 1
            assert f"DAMAGED: log/{stray.name}" in result.output
            assert "move it out of log/" in result.output
        with pytest.raises(CorruptLogError, match="move it out of log/"):
            asyncio.run(fill(path, 1))

    def test_files_that_are_nobodys_are_named_and_harmless(
        self, sound: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "store"
        shutil.copytree(sound, path)
        names = ["snapshots/mine.snap", "log/1.log.bak", "notes.txt"]
        for name in names:
            (path / name).write_text("mine")
        (path / "quarantine" / "looked at").mkdir(parents=True)
        result = eventstore("info", path)
        assert result.exit_code == 0, result.output
        for name in names:
            assert f"unknown\t{name}\t" in result.output
        assert verify(path).damage == ()

    def test_a_snapshot_that_cannot_be_opened_does_not_end_the_check(
        self, sound: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "store"
        shutil.copytree(sound, path)
        (snapshot,) = (path / "snapshots").glob("*.snap")
        snapshot.unlink()
        snapshot.mkdir()
        found = verify(path)
        assert [damage.name for damage in found.damage] == [f"snapshots/{snapshot.name}"]
        assert found.segments > 0


class TestNoFalseAlarm:
    def test_beside_a_writer_that_rolls_and_archives(self, tmp_path: Path) -> None:
        path = tmp_path / "store"

        async def beside() -> None:
            options = {"segment_size": 4096, "wal_max_entries": 25, "backup_count": 2}
            async with EventStore.open(path, REGISTRY, **options) as store:  # type: ignore[arg-type]  # mixed types
                await store.append(Pay(name="first", amount=1.0))
                looking = asyncio.ensure_future(asyncio.to_thread(look))
                while not looking.done():
                    await store.append(Pay(name="x", amount=1.0))
                await looking

        def look() -> None:
            for _ in range(12):
                info = eventstore("info", path)
                assert info.exit_code == 0, info.output
                found = verify(path, REGISTRY)
                assert found.passed, found

        asyncio.run(beside())

    @pytest.mark.parametrize("history", ["archive", "discard"])
    def test_after_a_kill(self, tmp_path: Path, history: str) -> None:
        path = tmp_path / "store"
        script = (
            "import asyncio, os, sys\n"
            "from eventstore import EventStore\n"
            "from tests.tools.test_what_is_told import REGISTRY, Pay\n"
            "async def main():\n"
            "    store = await EventStore.open(sys.argv[1], REGISTRY, segment_size=4096,\n"
            f"        wal_max_entries=25, backup_count=2, history={history!r})\n"
            "    for number in range(150):\n"
            "        await store.append(Pay(name='x', amount=1.0))\n"
            "    store.submit(Pay(name='y' * 900, amount=1.0))\n"
            "    os.kill(os.getpid(), 9)\n"
            "asyncio.run(main())\n"
        )
        ended = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
        assert ended.returncode == -9
        info = eventstore("info", path)
        assert info.exit_code == 0, info.output
        assert verify(path, REGISTRY).passed

    def test_of_an_event_log_which_has_no_state(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventLog.open(tmp_path / "log") as log:
                for value in (1, {"op": "x"}, None, {None: 1}):
                    await log.append(value)

        asyncio.run(record())
        result = eventstore("verify", tmp_path / "log")
        assert result.exit_code == 0, result.output
        assert "events 1 to 4 checked" in result.output
        assert "not folded again" in result.output

    def test_of_a_store_of_snapshots_only(self, tmp_path: Path) -> None:
        path = tmp_path / "store"
        asyncio.run(fill(path, use_wal=False, history="archive"))
        info = eventstore("info", path)
        assert info.exit_code == 0
        assert "logged\tno (use_wal=False)" in info.output
        assert eventstore("verify", path, "--no-refold").exit_code == 0


class TestToATerminal:
    @pytest.fixture
    def hostile(self, tmp_path: Path) -> Path:
        """A log of what another side chose, and files with such names."""

        async def record() -> None:
            async with EventLog.open(tmp_path / "log") as log:
                await log.append({"op": HOSTILE, HOSTILE: HOSTILE}, key=HOSTILE)
                await log.append({"op": "fine", "a=1 key": {HOSTILE: [HOSTILE]}})
                await log.append(HOSTILE, metadata={HOSTILE: HOSTILE})

        asyncio.run(record())
        for folder in ("quarantine", "snapshots", "."):
            (tmp_path / "log" / folder).mkdir(exist_ok=True)
            (tmp_path / "log" / folder / HOSTILE.replace("\x9b", "")).write_bytes(b"")
        (tmp_path / "log" / "quarantine" / os.fsdecode(b"no utf-8 \xff")).write_bytes(b"")
        return tmp_path / "log"

    @pytest.mark.parametrize("command", ["dump", "dump --json", "info", "verify"])
    def test_no_control_character_reaches_it(self, hostile: Path, command: str) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "eventstore", *command.split(), str(hostile)],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        for line in (ended.stdout + ended.stderr).split("\n"):
            assert line.replace("\t", "").isprintable(), line
            assert not line.startswith("EVENT 3")

    @pytest.mark.parametrize(
        "command",
        [
            "repair",
            "state",
            "diff --from 1 --to 3",
            "blame positions",
            "sample --every 1 --columns positions",
        ],
    )
    def test_no_control_character_of_a_state_reaches_it(self, tmp_path: Path, command: str) -> None:
        """Names in a state become columns of a table."""

        async def record() -> None:
            async with EventStore.open(tmp_path / "store", trading_registry()) as store:
                for shares in (1, 2, 3):
                    await store.append(UpdatePosition(symbol=HOSTILE, shares=shares, price=1))

        asyncio.run(record())
        name, *options = command.split()
        if name == "repair":
            (segment,) = (tmp_path / "store" / "log").glob("0*.log")
            flip(segment, segment.read_bytes().rindex(b"update_position"))
        result = eventstore(name, tmp_path / "store", *options)
        assert result.exit_code in (0, 1), result.output
        assert "c\\nEVENT 3" in result.output
        for line in result.output.split("\n"):
            assert line.replace("\t", "").isprintable(), line

    def test_json_still_says_the_same(self, hostile: Path) -> None:
        lines = eventstore("dump", hostile, "--json").output.splitlines()
        events = [msgspec.json.decode(line) for line in lines]
        assert events[0]["operation"] == events[0]["key"] == HOSTILE
        assert events[0]["data"] == {HOSTILE: HOSTILE}

    @pytest.mark.parametrize("command", ["info", "verify", "stats", "events"])
    def test_a_name_that_is_no_utf_8_is_escaped_in_json(
        self, sound: Path, tmp_path: Path, command: str
    ) -> None:
        path = tmp_path / os.fsdecode(b"no utf-8 \xff")
        shutil.copytree(sound, path)
        for given in (path, path / "nowhere"):
            result = eventstore(command, given, "--json")
            assert (result.exit_code == 4) is (given is not path), result.output
            for line in result.stdout.splitlines():
                found = msgspec.json.decode(line)
            if command != "events" or given is not path:
                assert "no utf-8 \\udcff" in found["path"]

    def test_a_key_cannot_be_taken_for_two(self, hostile: Path) -> None:
        assert "'a=1 key'={" in eventstore("dump", hostile).output

    def test_the_warning_of_an_unknown_file_is_one_line(
        self, hostile: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = hostile.with_name("store")
        asyncio.run(fill(path, 1))
        (path / HOSTILE).write_bytes(b"")
        asyncio.run(fill(path, 1))
        (said,) = [one.getMessage() for one in caplog.records if "none of the" in one.getMessage()]
        assert said.isprintable()

    @pytest.mark.parametrize("text", ["plain", "café [x]", "日本", "😀"])
    def test_ordinary_text_stays_as_it_is(self, text: str) -> None:
        assert printable(text) == text


class TestOutput:
    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
    @pytest.mark.parametrize("command", ["--help", "dump", "dump --json", "info", "verify"])
    def test_that_cannot_be_written_is_one_message(self, sound: Path, command: str) -> None:
        arguments = [*command.split(), *([] if command == "--help" else [str(sound)])]
        with open("/dev/full", "wb") as full:
            ended = subprocess.run(
                [sys.executable, "-m", "eventstore", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert ended.returncode == 5
        assert ended.stderr == "Error: the output cannot be written: No space left on device\n"

    @pytest.mark.parametrize("command", ["dump", "info", "verify"])
    def test_that_is_closed_is_one_message(self, sound: Path, command: str) -> None:
        shell = f'exec "$0" -m eventstore {command} "$1" >&-'
        ended = subprocess.run(
            ["/bin/sh", "-c", shell, sys.executable, str(sound)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (5, "Error: standard output is closed\n")

    def test_in_another_encoding_nothing_is_lost_and_nothing_raised(self, tmp_path: Path) -> None:
        async def record() -> None:
            async with EventLog.open(tmp_path / "log") as log:
                await log.append({"op": "日本"})

        asyncio.run(record())
        ended = subprocess.run(
            [sys.executable, "-m", "eventstore", "dump", str(tmp_path / "log")],
            capture_output=True,
            env={**os.environ, "PYTHONIOENCODING": "latin-1"},
            check=False,
        )
        assert ended.returncode == 0
        assert rb"\u65e5\u672c" in ended.stdout

    def test_the_last_event_is_one_that_is_there(self, sound: Path) -> None:
        assert overview(sound).last_seq == 200
        assert overview(sound).intact_up_to is None
