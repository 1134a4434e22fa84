"""Every row of damage, walked through as an operator would: from the error to trading again.

Each row goes through the commands alone. `info` names `repair`, `repair` prices the remedies and
names the next command, the next command writes a store, and its last line names the `mv` that
gives the new store the old path. The state is then the one that the price promised.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from click.testing import CliRunner, Result

from eventstore import Event, EventStore, EventStoreError, HandlerRegistry, Operation, handler
from eventstore.command_line.all_commands import commands
from handlers import EngineState, RecordTrade, trading_registry
from tests.repair import test_repair as damages
from tests.repair.day_store import EVENTS, fill_and_die, first_of, flip, make, segments

REGISTRY = trading_registry()
TRADE = RecordTrade(trade_id="again", symbol="BTC-USDT", side="buy", shares=1, price=64_000)


def run(line: str) -> Result:
    """Run a command line as the shell would."""
    words = shlex.split(line)
    assert words[0] == "eventstore", line
    return CliRunner().invoke(commands, words[1:])


def next_of(result: Result) -> str:
    """Return the command that a command names as the next one."""
    lines = [line for line in result.stderr.splitlines() if line.startswith("next: ")]
    assert lines, result.output
    return lines[-1].removeprefix("next: ")


def facts(path: Path, registry: str = "") -> tuple[int, dict[str, Any]]:
    result = run(f"eventstore info {path} --json{registry}")
    return result.exit_code, msgspec.json.decode(result.stdout)


async def trade(path: Path) -> int:
    """Open the store for writing, and append."""
    async with EventStore.open(path, REGISTRY, create=False) as store:
        await store.append(TRADE)
        return store.seq


def refused(path: Path) -> EventStoreError | None:
    """Return the error of the bot, `None` where the bot trades."""
    try:
        asyncio.run(trade(path))
    except EventStoreError as error:
        return error
    return None


def state(path: Path) -> tuple[str, str]:
    """Return the digest of the state, and the cash as a table of remedies shows it."""
    shown = run(f"eventstore state {path} --json")
    assert shown.exit_code == 0, shown.output
    found = msgspec.json.decode(shown.stdout)
    return found["digest"], f"{float(found['state']['cash']):,.2f}"


class Row(NamedTuple):
    """A row of damage.

    `lost` has the number of lost events by remedy, `None` where the day store decides. `take` is
    the remedy to walk through, empty for the one that `repair` recommends. `opens` says that the
    bot trades in spite of the damage.
    """

    damage: Callable[[Path], object]
    lost: dict[str, int | None]
    take: str = ""
    opens: bool = False


def beside(store: Path) -> None:
    source = segments(store)[1]
    shutil.copy(source, f"{source}.bak")


def no_snapshots(store: Path) -> None:
    shutil.rmtree(store / "snapshots")


def one_snapshot(store: Path) -> None:
    flip(max((store / "snapshots").iterdir()), 300)


def keys_at_the_ends(store: Path) -> None:
    for run_of_keys in (store / "keys").iterdir():
        flip(run_of_keys, 9)
        flip(run_of_keys, run_of_keys.stat().st_size - 1)


def of_another_store(store: Path) -> None:
    """Put a segment of another store with the same numbers in place."""
    other = make(store.with_name("other"))
    shutil.copy(segments(other)[1], segments(store)[1])


def huge_length(store: Path) -> None:
    """Write an impossible length into the header of a record, with a right checksum."""
    segment = damages.behind_snapshots(store)
    data = bytearray(segment.read_bytes())
    offset = 512
    struct.pack_into("<I", data, offset + 20, 0x7FFFFFFF)
    crc = zlib.crc32(data[offset : offset + 36], offset & 0xFFFFFFFF)
    struct.pack_into("<I", data, offset + 36, crc)
    segment.write_bytes(data)


ROWS: dict[str, Row] = {
    "bit behind the newest snapshot": Row(
        damages.flipped_behind, {"mend": 0, "skip": 5, "cut": None, "snapshot": None}
    ),
    "bit before the newest snapshot": Row(
        damages.flipped_before, {"mend": 0, "skip": 5, "cut": None}
    ),
    "bit before it, skipped": Row(
        damages.flipped_before, {"mend": 0, "skip": 5, "cut": None}, take="skip"
    ),
    "bit in the closed last segment": Row(
        damages.flipped_in_the_last, {"mend": 0, "skip": 5, "cut": None, "snapshot": None}
    ),
    "bit in a header": Row(damages.flipped_header, {"mend": 0, "skip": 0, "cut": None}),
    "segment missing": Row(damages.missing, {"skip": None, "cut": None}),
    "last segment missing": Row(damages.last_missing, {"cut": None, "snapshot": None}),
    "last segment missing, back to a snapshot": Row(
        damages.last_missing, {"cut": None, "snapshot": None}, take="snapshot"
    ),
    "segment cut short": Row(damages.cut_short, {"skip": None, "cut": None}),
    "segment of another store": Row(
        of_another_store, {"set-aside": None, "skip": None, "cut": None}
    ),
    "huge length": Row(huge_length, {"skip": None, "cut": None, "snapshot": None}),
    "copy beside": Row(beside, {}, opens=True),
    "copy under a segment's name": Row(damages.copied, {"set-aside": 0}),
    "copy behind the last": Row(damages.copied_as_the_last, {"set-aside": 0}),
    "segment renamed": Row(damages.renamed, {"set-aside": 0}),
    "bit in an archive": Row(
        damages.flipped_archive, {"mend": 0, "skip": None, "cut": None}, opens=True
    ),
    "bit in an archive, skipped": Row(
        damages.flipped_archive, {"mend": 0, "skip": None, "cut": None}, take="skip", opens=True
    ),
    "archive missing": Row(damages.archive_missing, {"skip": None, "cut": None}),
    "bit in one snapshot": Row(one_snapshot, {"mend": 0, "rebuild": 0}, opens=True),
    "bits in both snapshots": Row(damages.flipped_snapshots, {"mend": 0, "rebuild": 0}, opens=True),
    "snapshots gone": Row(no_snapshots, {}, opens=True),
    "bit in a run of keys": Row(damages.flipped_keys, {"rebuild": 0}, opens=True),
    "bits at the ends of all runs of keys": Row(keys_at_the_ends, {"rebuild": 0}, opens=True),
    "store.json gone": Row(damages.no_manifest, {"rebuild": 0}),
    "store.json empty": Row(damages.empty_manifest, {"rebuild": 0}),
    "store.json one character wrong": Row(damages.wrong_character, {"rebuild": 0}),
    "log gone": Row(damages.no_log, {"cut": None, "snapshot": None}, take="snapshot"),
}


@pytest.mark.parametrize("name", ROWS)
def test_from_the_error_to_trading_again(name: str, hurt: Path) -> None:
    row = ROWS[name]
    row.damage(hurt)
    status, found = facts(hurt)
    if row.opens:
        assert found["opens"]["verdict"] is True, found["opens"]
        shutil.copytree(hurt, hurt.with_name("opened"))
        assert refused(hurt.with_name("opened")) is None
    else:  # the error of opening, and the next command
        assert (status, found["opens"]["verdict"]) == (1, False), found["opens"]
        assert found["opens"]["next"] == f"eventstore repair {hurt}"
        error = refused(hurt)
        assert error is not None
        assert type(error).__name__ == found["opens"]["error"]
        assert "eventstore repair" in str(error)
    asked = run(f"eventstore repair {hurt}")
    if not row.lost:
        assert (asked.exit_code, asked.stdout) == (0, f"{hurt}: nothing to repair\n")
        assert asyncio.run(trade(hurt)) == EVENTS + 1
        return
    assert asked.exit_code == 1, asked.output
    remedy, line = chosen(hurt, row, asked)
    assert_walked(hurt, line, remedy)


@pytest.mark.parametrize(
    "name",
    [name for name in ROWS if not re.search("store.json|snapshot|skipped|beside", name)],
)
def test_what_is_readable_is_printed(name: str, hurt: Path) -> None:
    """`verify` counts as readable what `events --skip-damage` prints, and both name the gaps."""
    ROWS[name].damage(hurt)
    counted = msgspec.json.decode(run(f"eventstore verify {hurt} --no-refold --json").stdout)
    printed = run_json(f"eventstore events {hurt} --skip-damage --json")
    gaps = [one["gap"] for one in printed if "gap" in one]
    assert len(printed) - len(gaps) == counted["readable"]
    lost = [(one["first"], one["last"]) for one in counted["places"] if one["lost"]]
    assert [one["first"] for one in gaps] == [first for first, _ in lost]
    assert {one["last"] for one in gaps} <= {*(last for _, last in lost), None}


def chosen(hurt: Path, row: Row, asked: Result) -> tuple[dict[str, Any], str]:
    """Check the offer, and return the remedy to take with its command."""
    offer = msgspec.json.decode(run(f"eventstore repair {hurt} --json").stdout)
    prices = {one["remedy"]: one for place in offer["places"] for one in place["remedies"]}
    assert set(prices) - {"snapshot"} == set(row.lost) - {"snapshot"}
    for remedy, lost in row.lost.items():
        if lost is not None:
            assert prices[remedy]["lost_events"] == lost, remedy
        elif remedy in prices:
            assert prices[remedy]["lost_events"] > 0, remedy
    line = next_of(asked)
    if row.take:
        option = f"--{row.take}"
        if row.take == "snapshot":
            option += f" {prices['snapshot']['seq']}"
        line = f"eventstore repair {hurt} {option} --apply"
        return prices[row.take], line
    together = offer["together"]
    return together or prices[offer["places"][0]["recommended"]], line


def assert_walked(hurt: Path, line: str, remedy: dict[str, Any], registry: str = "") -> None:
    """Type the command, then the `mv` that it names, and trade with the promised state."""
    done = run(line + registry)
    assert done.exit_code == 0, done.output
    (wrote,) = re.findall(r"^wrote (\S+): events", done.stdout, re.MULTILINE)
    old, new = next_of(done).split(" && ")
    assert old == f"mv {hurt} {hurt}.damaged"
    assert new == f"mv {wrote} {hurt}"
    os.rename(hurt, f"{hurt}.damaged")
    os.rename(wrote, hurt)
    status, found = facts(hurt)
    assert (status, found["opens"]["verdict"]) == (0, True), found["opens"]
    assert found["last"]["seq"] == remedy["last"] + 1  # the event that records the repair
    assert state(hurt) == (remedy["digest"], remedy["state"]["cash"])
    assert run(f"eventstore repair {hurt}").exit_code == 0
    assert asyncio.run(trade(hurt)) == remedy["last"] + 2


@pytest.mark.parametrize(
    "name",
    ["segment missing", "last segment missing", "archive missing", "segment cut short", "log gone"],
)
def test_a_backup_loses_nothing(name: str, day: Path, hurt: Path) -> None:
    """A missing segment is reunited from an older copy."""
    ROWS[name].damage(hurt)
    told = run(f"eventstore repair {hurt}")
    assert told.exit_code == 1
    assert "restore: --restore --from BACKUP loses nothing" in told.stdout, told.stdout
    backup = f"eventstore repair {hurt} --from {day}"
    offer = msgspec.json.decode(run(f"{backup} --json").stdout)
    assert {place["recommended"] for place in offer["places"]} == {"restore"}
    (remedy,) = [one for one in offer["places"][0]["remedies"] if one["remedy"] == "restore"]
    remedy = offer["together"] or remedy
    assert remedy["lost_events"] == 0
    assert_walked(hurt, f"{backup} --restore --apply", remedy)


def test_several_at_once_have_one_choice_each(hurt: Path) -> None:
    damages.flipped_archive(hurt)
    damages.missing(hurt)
    damages.flipped_in_the_last(hurt)
    damages.flipped_snapshots(hurt)
    status, found = facts(hurt)
    assert (status, found["opens"]["next"]) == (1, f"eventstore repair {hurt}")
    told = run(f"eventstore repair {hurt}")
    offer = msgspec.json.decode(run(f"eventstore repair {hurt} --json").stdout)
    assert re.search(r"--choose 1=mend,2=\S+ --apply$", next_of(told))
    assert_walked(hurt, next_of(told), offer["together"])


class TestAKilledWriter:
    @pytest.fixture
    def hurt(self, tmp_path: Path) -> Path:
        asyncio.run(fill_and_die(tmp_path / "alive", tmp_path / "hurt"))
        (tmp_path / "hurt" / "writer.pid").unlink()  # names this process, which lives
        return tmp_path / "hurt"

    @staticmethod
    def end(store: Path) -> int:
        return len(segments(store)[-1].read_bytes().rstrip(b"\0"))

    @pytest.mark.parametrize("zeros", [0, 200, 100_000])
    def test_a_torn_or_zeroed_end_needs_no_repair(self, hurt: Path, zeros: int) -> None:
        segment, end = segments(hurt)[-1], self.end(hurt)
        data = bytearray(segment.read_bytes())
        start = max(end - zeros, 512)
        data[start:end] = bytes(end - start)
        segment.write_bytes(data)
        status, found = facts(hurt)
        assert (status, found["opens"]["verdict"]) == (0, True)
        assert "the writer was killed" in found["opens"]["text"]
        assert run(f"eventstore repair {hurt}").stdout == f"{hurt}: nothing to repair\n"
        assert refused(hurt) is None

    @pytest.mark.parametrize("opened_before", [False, True])
    def test_one_bit_of_the_last_record_is_told_and_put_back(
        self, opened_before: bool, hurt: Path
    ) -> None:
        async def opening() -> str:
            async with EventStore.open(hurt, REGISTRY, create=False) as store:
                return " ".join(store.recovery.warnings)

        flip(segments(hurt)[-1], self.end(hurt) - 40, 2)
        if opened_before:
            assert "repair --mend --apply" in asyncio.run(opening())
        status, found = facts(hurt)
        assert (status, found["opens"]["verdict"]) == (0, True)
        assert "one turned bit makes events 38 … 41 whole" in found["opens"]["text"]
        assert found["opens"]["next"] == f"eventstore repair {hurt} --mend --apply"
        told = run(f"eventstore repair {hurt}")
        assert told.exit_code == 0
        assert "--mend --apply puts them back" in told.stdout
        done = run(found["opens"]["next"])
        assert done.exit_code == 0, done.output
        assert "events 1 … 42" in done.stdout


class TestAHandlerThatRefuses:
    """Event 250 is poisonous: no handler of today takes it."""

    REGISTRY = " --registry tests.command_line.test_every_damage:picky"

    def test_the_event_is_dropped(self, hurt: Path) -> None:
        status, found = facts(hurt, self.REGISTRY)
        assert (status, found["opens"]["error"]) == (1, "ReplayError")
        assert found["opens"]["next"] == f"eventstore repair {hurt}{self.REGISTRY}"
        told = run(found["opens"]["next"])
        assert "no such price" in told.stdout
        assert f"eventstore repair {hurt}{self.REGISTRY} --drop 250 --apply" == next_of(told)
        offer = run(f"eventstore repair {hurt} --json{self.REGISTRY}")
        (place,) = msgspec.json.decode(offer.stdout)["places"]
        (remedy,) = [one for one in place["remedies"] if one["remedy"] == "drop"]
        assert remedy["lost_events"] == 1
        line = next_of(told).replace("--apply", "--reason 'a bust' --apply")
        assert_walked(hurt, line, remedy, self.REGISTRY)
        (noted,) = run_json(f"eventstore events {hurt} --op store_repaired --json")
        assert noted["data"]["reason"] == "a bust"

    def test_the_event_is_replaced(self, hurt: Path) -> None:
        data = {"op": "record_trade", "trade_id": "T00249", "symbol": "BTC-USDT", "side": "buy"}
        text = json.dumps({**data, "shares": 1, "price": 1})
        line = f"eventstore repair {hurt} --replace 250 {shlex.quote(text)} --to {hurt}2 --apply"
        done = run(line + self.REGISTRY)
        assert done.exit_code == 0, done.output
        (found,) = run_json(f"eventstore events {hurt}2 --from 250 --to 250 --json")
        assert (found["data"]["price"], found["key"]) == (1, "binance:249")
        status, opening = facts(Path(f"{hurt}2"), self.REGISTRY)
        assert (status, opening["opens"]["verdict"]) == (0, True)


class TestHandlersThatRefuseSeveral:
    """Events 240, 250 and 260 are poisonous."""

    REGISTRY = " --registry tests.command_line.test_every_damage:picky_thrice"

    def test_each_is_named_and_priced_and_then_dropped(self, hurt: Path) -> None:
        line = f"eventstore repair {hurt}{self.REGISTRY}"
        found = msgspec.json.decode(run(f"{line} --json").stdout)
        assert [one["first"] for one in found["places"]] == [240, 250, 260]
        assert (found["together"]["lost_events"], found["more_poison"]) == (3, False)
        assert {place["recommended"] for place in found["places"]} == {"drop"}
        told = run(line)
        assert "1.\n" in told.stdout
        assert next_of(told) == f"{line} --choose 1=drop,2=drop,3=drop --apply"
        assert_walked(hurt, next_of(told), found["together"], self.REGISTRY)

    def test_the_number_of_one_does_not_drop_the_others(self, hurt: Path) -> None:
        line = f"eventstore repair {hurt} --drop 250{self.REGISTRY}"
        assert "choose a remedy (drop, cut)" in run(line).stderr
        done = run(f"{line} --apply")
        assert (done.exit_code, list(hurt.parent.glob("*.repaired-*"))) == (2, [])
        rest = f"eventstore repair {hurt} --drop 240 --drop 250 --drop 260{self.REGISTRY} --apply"
        assert run(rest).exit_code == 0

    def test_a_missing_handler_is_no_list_without_end(self, hurt: Path) -> None:
        line = f"eventstore repair {hurt} --registry tests.command_line.test_every_damage:refuser"
        told = run(line)
        assert "handlers refuse more than 10 events, and these are the first" in told.stdout
        found = msgspec.json.decode(run(f"{line} --json").stdout)
        assert [one["first"] for one in found["places"]] == list(range(226, 236))
        assert found["more_poison"] is True


def run_json(line: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(one) for one in run(line).stdout.splitlines()]


def picky() -> Any:
    return damages.raising_at(250)


def picky_thrice() -> Any:
    return damages.raising_at(240, 250, 260)


def no_trades() -> Any:
    return HandlerRegistry(dividend, initial=EngineState)


def refuser() -> Any:
    return damages.raising_at(*range(226, 300))


class Dividend(Operation):
    symbol: str


@handler
def dividend(state: EngineState, event: Event[Dividend]) -> EngineState:
    return state


class TestAClearWordWhyNot:
    """The rows without a remedy of the command: the message says what to do instead."""

    def test_an_operation_without_a_handler(self, tmp_path: Path) -> None:
        async def record() -> None:
            registry = trading_registry()
            registry.register(dividend)
            async with EventStore.open(tmp_path / "s", registry) as store:
                await store.append(TRADE)
                await store.append(Dividend(symbol="AAPL"))

        asyncio.run(record())
        path = tmp_path / "s"
        status, found = facts(path)
        assert (status, found["opens"]["verdict"]) == (0, None)
        error = refused(path)
        assert "install the plugin that recorded it" in str(error)
        told = run(f"eventstore repair {path}")
        assert (told.exit_code, told.stdout.splitlines()[0]) == (0, f"{path}: nothing to repair")
        assert "event 2 is a 'dividend'" in told.stdout
        assert "--registry module:name" in told.stdout
        checked = run(f"eventstore verify {path}")
        assert (checked.exit_code, "--registry module:name" in checked.stderr) == (1, True)
        assert run(f"eventstore verify {path} --no-refold").exit_code == 0
        named = " --registry handlers:trading_registry"
        assert run(f"eventstore repair {path}{named}").exit_code == 1
        assert run(f"eventstore repair {path} --drop 2 --apply").exit_code == 0
        (repaired,) = path.parent.glob("s.repaired-*")
        assert facts(repaired, named)[1]["opens"]["verdict"] is True

    def test_handlers_of_another_store_find_no_damage(self, hurt: Path) -> None:
        other = " --registry tests.command_line.test_every_damage:no_trades"
        found = msgspec.json.decode(run(f"eventstore repair {hurt} --json{other}").stdout)
        assert (found["healthy"], found["places"]) == (True, [])
        assert "event 1 is a 'full_state'" in found["unfolded"]

    def test_a_newer_format(self, hurt: Path) -> None:
        manifest = hurt / "store.json"
        text = manifest.read_text().replace('"format": 1', '"format": 2,\n  "news": []')
        manifest.write_text(text)
        status, found = facts(hurt)
        assert (status, found["opens"]["error"]) == (5, "StoreFormatError")
        assert "nothing is damaged" in found["opens"]["text"]
        told = run(f"eventstore repair {hurt}")
        assert told.exit_code == 5
        assert "nothing is damaged" in told.stderr

    @pytest.mark.parametrize("part", ["snapshot", "segment"])
    def test_a_newer_format_of_a_part(self, part: str, hurt: Path) -> None:
        """A whole file of a newer format is no damage, in whatever command."""
        file = max((hurt / "snapshots").iterdir()) if part == "snapshot" else segments(hurt)[-1]
        length = 64 if part == "snapshot" else 512
        data = bytearray(file.read_bytes())
        data[8] += 1  # the version
        data[length - 4 : length] = zlib.crc32(data[: length - 4]).to_bytes(4, "little")
        file.write_bytes(data)
        status, found = facts(hurt)
        assert (status, found["opens"]["error"]) == (5, "StoreFormatError")
        assert "nothing is damaged" in found["opens"]["text"]
        assert "DAMAGED" not in run(f"eventstore info {hurt}").output
        for line in (f"eventstore verify {hurt}", f"eventstore repair {hurt}"):
            told = run(line)
            assert told.exit_code == 5, told.output
            assert "nothing is damaged" in told.stderr
        error = refused(hurt)
        assert type(error).__name__ == "StoreFormatError"

    def test_a_symbolic_link_and_a_directory_open_to_others(self, hurt: Path) -> None:
        os.chmod(hurt, 0o777)
        status, found = facts(hurt)
        assert (status, found["opens"]["verdict"]) == (5, False)
        assert "chmod go-w" in found["opens"]["text"]
        os.chmod(hurt, 0o700)
        assert refused(hurt) is None
        link = hurt.with_name("link")
        link.symlink_to(hurt)
        assert "is a symbolic link" in str(refused(link))

    @pytest.mark.parametrize("stand_in", ["link", "folder", "pipe"])
    def test_no_file_where_a_segment_belongs(self, stand_in: str, hurt: Path) -> None:
        """What stands behind the name is not known as damaged, in whatever command."""
        segment = segments(hurt)[0]
        segment.rename(hurt.with_name("moved"))
        match stand_in:
            case "link":
                segment.symlink_to(hurt.with_name("moved"))
            case "folder":
                segment.mkdir()
            case _:
                os.mkfifo(segment)
        for command in ("info", "verify", "stats", "repair"):
            told = run(f"eventstore {command} {hurt}")
            assert told.exit_code == 5, told.output
            assert f"{segment.name} at offset 0 may not be used (ELOOP)" in told.stderr

    def test_a_second_writer(self, hurt: Path) -> None:
        async def beside() -> None:
            async with EventStore.open(hurt, REGISTRY):
                status, found = await asyncio.to_thread(facts, hurt)
                assert (status, found["use"]["in_use"]) == (0, True)
                for line in ("repair {} --in-place --apply --cut", "snapshot {}", "compact {}"):
                    result = await asyncio.to_thread(run, f"eventstore {line.format(hurt)}")
                    if "repair" not in line:
                        assert result.exit_code == 3, result.output

        asyncio.run(beside())

    def test_damaged_keys_of_discarded_events(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"history": "discard", "segment_size": 4096, "backup_count": 1}

        async def fill() -> None:
            async with EventStore.open(tmp_path / "s", REGISTRY, **options) as store:
                for number in range(100):
                    await store.append(TRADE, key=str(number))
                    if number % 10 == 9:
                        await store.snapshot()

        asyncio.run(fill())
        flip(min((tmp_path / "s" / "keys").iterdir()), 9)
        told = run(f"eventstore repair {tmp_path / 's'}")
        assert told.exit_code == 1
        assert "no repair gives these keys back; next: eventstore restore" in told.stderr
        assert "open once with keys={'lost': 'forget'}" in str(refused(tmp_path / "s"))

    def test_no_sound_snapshot_of_a_store_of_snapshots(self, tmp_path: Path) -> None:
        async def fill() -> None:
            async with EventStore.open(tmp_path / "s", REGISTRY, use_wal=False) as store:
                await store.append(TRADE)

        asyncio.run(fill())
        path = tmp_path / "s"
        for snapshot in (path / "snapshots").iterdir():
            os.truncate(snapshot, 100)
        status, found = facts(path)
        assert (status, found["opens"]["verdict"]) == (1, False)
        told = run(found["opens"]["next"])
        assert told.exit_code == 1
        assert "no sound snapshot" in told.stdout
        told = run(f"eventstore repair {path} --rebuild --apply")
        assert told.exit_code == 1
        assert "Restore a file of snapshots/ from a backup" in told.stderr


def test_the_first_segment_of_each_row_is_in_the_log(day: Path) -> None:
    assert first_of(segments(day)[1]) > 1
