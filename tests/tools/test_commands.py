"""The command line, through click's runner and, where processes matter, as a process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eventstore import Event, EventStore, HandlerRegistry, Operation, handler
from eventstore.cli import main
from eventstore.command_line.all_commands import commands
from eventstore.tools.file_survey import overview


class Deposit(Operation, tag="deposit"):
    amount: float
    note: str = ""


@handler
def deposit(state: float, event: Event[Deposit]) -> float:
    return state + event.data.amount


REGISTRY: HandlerRegistry[float] = HandlerRegistry(deposit)


def eventstore(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Five events of an operation that no installed handler knows, in small segments."""

    async def fill() -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, REGISTRY, segment_size=4096) as opened:
            for number in range(1, 5):
                await opened.append("deposit", {"amount": number * 1.5}, key=f"k-{number}")
            await opened.snapshot()
            await opened.append(
                "deposit", {"amount": 6.0, "note": "café [x]"}, metadata={"by": "test"}
            )

    asyncio.run(fill())
    return tmp_path / "store"


def contents(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def last_segment(store: Path) -> Path:
    return max((store / "log").glob("*.log"))


class TestInfo:
    def test_it_shows_segments_snapshots_and_numbers(self, store: Path) -> None:
        result = eventstore("info", store)
        assert result.exit_code == 0, result.output
        assert "events\t1\t5\n" in result.output
        assert "sealed\tclosed\n" in result.output
        assert "snapshots\t4\n" in result.output
        assert str(overview(store).manifest.store) in result.output
        assert "\x1b" not in result.output

    def test_it_changes_nothing(self, store: Path) -> None:
        before = contents(store)
        eventstore("info", store)
        eventstore("dump", store)
        assert contents(store) == before

    def test_torn_bytes_are_reported_and_left_where_they_are(self, store: Path) -> None:
        segment = last_segment(store)
        whole = segment.read_bytes()
        found = overview(store).segments[-1]
        # as a crash leaves it: no seal, the next record begun, zeros up to the full size
        torn = whole[: found.used] + b"\x07" * 24
        header_size = int.from_bytes(whole[32:40], "little")
        segment.write_bytes(torn.ljust(header_size, b"\0"))
        before = contents(store)
        result = eventstore("info", store)
        assert result.exit_code == 0, result.output
        assert "torn\t24\n" in result.output
        assert overview(store).segments[-1].torn_bytes == 24
        assert overview(store).segments[-1].sealed is None
        assert contents(store) == before

    def test_a_damaged_segment_is_named_and_the_rest_is_shown(self, store: Path) -> None:
        segment = last_segment(store)
        damaged = bytearray(segment.read_bytes())
        damaged[600] ^= 1
        segment.write_bytes(damaged)
        result = eventstore("info", store)
        assert result.exit_code == 1
        assert "DAMAGED" in result.output
        assert segment.name in result.output

    def test_it_works_beside_a_writer(self, store: Path) -> None:
        async def beside() -> Result:
            async with EventStore.open(store, REGISTRY) as opened:
                await opened.append("deposit", {"amount": 1.0})
                return await asyncio.to_thread(eventstore, "info", store)

        result = asyncio.run(beside())
        assert result.exit_code == 0, result.output
        assert "events\t1\t6\n" in result.output
        assert f"in use by this process ({os.getpid()})" in result.output
        assert "opens\tnot while it is in use\n" in result.output


class TestErrors:
    @pytest.mark.parametrize("command", ["info", "dump"])
    def test_a_typed_error_is_one_message(self, command: str, tmp_path: Path) -> None:
        result = eventstore(command, tmp_path / "nowhere")
        assert result.exit_code == 4
        assert "Error: there is no store at" in result.output
        assert "Traceback" not in result.output

    def test_a_directory_that_is_no_store(self, tmp_path: Path) -> None:
        result = eventstore("info", tmp_path)
        assert result.exit_code == 4
        assert "there is no store at" in result.output

    def test_the_version_is_the_distribution_s(self) -> None:
        result = eventstore("--version")
        assert result.exit_code == 0
        assert result.output.startswith("eventstore, version ")

    @pytest.mark.parametrize("missing", ["click", "rich"])
    def test_without_the_extra_it_says_how_to_install_it(
        self, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in [name for name in sys.modules if name.startswith("eventstore.command_line")]:
            monkeypatch.delitem(sys.modules, name)
        for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, missing, None)
        if missing == "rich":
            monkeypatch.setitem(sys.modules, "rich.console", None)
        assert main() == 2
        captured = capsys.readouterr()
        assert "pip install 'asyncio-eventstore[cli]'" in captured.err
        assert captured.out == ""


class TestDemo:
    ROWS = "\n".join(
        f"venue,XYZ,{number}000,{number}500,{number},{'buy' if number % 3 else 'sell'},"
        f"{100 + (number * 7919) % 13 / 10},{1 + number % 9}"
        for number in range(1, 200)
    )

    @pytest.fixture
    def tape(self, tmp_path: Path) -> Path:
        path = tmp_path / "tape.csv"
        path.write_text(
            f"exchange,symbol,timestamp,local_timestamp,id,side,price,amount\n{self.ROWS}\n",
            encoding="utf-8",
        )
        return path

    def test_it_ends_well_and_without_control_codes(self, tape: Path, tmp_path: Path) -> None:
        store = tmp_path / "demo-store"
        result = eventstore("demo", "--tape", tape, "--store", store, "--kills", 1, "--seed", 3)
        assert result.exit_code == 0, result.output
        assert "Nothing lost, nothing doubled: killed once" in result.output
        assert "seed 3" in result.output
        assert "SIGKILL" in result.output
        assert "\x1b" not in result.output
        assert eventstore("info", store).exit_code == 0

    def test_a_store_that_was_tampered_with_ends_badly(self, tape: Path, tmp_path: Path) -> None:
        store = tmp_path / "demo-store"
        assert eventstore("demo", "--tape", tape, "--store", store, "--kills", 0).exit_code == 0
        late = tmp_path / "late.csv"
        late.write_text(tape.read_text(encoding="utf-8").replace("500,", "501,"), encoding="utf-8")
        result = eventstore("demo", "--tape", late, "--store", store, "--kills", 0)
        assert result.exit_code == 1
        assert "not what it must be" in result.output

    def test_a_malformed_tape_is_one_message_with_the_line(self, tape: Path) -> None:
        with tape.open("a", encoding="utf-8") as file:
            file.write("venue,XYZ,200000,200500,200,buy,free,1\n")
        result = eventstore("demo", "--tape", tape)
        assert result.exit_code == 1
        assert "line 201: the price is 'free'" in result.output
        assert "Traceback" not in result.output
