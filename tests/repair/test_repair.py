"""Every row of damage, repaired: what each remedy loses, and that the price is what one gets."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eventstore import (
    ConfigError,
    CorruptLogError,
    EventsLost,
    EventStore,
    HandlerRegistry,
    StoreExistsError,
    StoreLockedError,
    StoreRepaired,
    read_events,
    replay,
    state_at,
    state_digest,
)
from eventstore.command_line.all_commands import commands
from eventstore.repair import Choice, Proposal, Repaired, propose, repair
from eventstore.tools import verify
from eventstore.tools.backup.entrance import make_backup, open_copy
from handlers import EngineState, RecordTrade, trading_registry
from tests.repair.day_store import (
    EVENTS,
    archives,
    contents,
    first_of,
    flip,
    make,
    segments,
)

REGISTRY = trading_registry()


def behind_snapshots(store: Path) -> Path:
    """A segment that lies wholly behind the newest snapshot."""
    return next(file for file in segments(store) if first_of(file) > 225)


def before_a_snapshot(store: Path) -> Path:
    return segments(store)[0]


def flipped_behind(store: Path) -> None:
    flip(behind_snapshots(store), 2000)


def flipped_before(store: Path) -> None:
    flip(before_a_snapshot(store), 2000)


def flipped_in_the_last(store: Path) -> None:
    flip(segments(store)[-1], 1000)


def flipped_header(store: Path) -> None:
    flip(segments(store)[1], 40)


def missing(store: Path) -> None:
    segments(store)[1].unlink()


def last_missing(store: Path) -> None:
    segments(store)[-1].unlink()


def cut_short(store: Path) -> None:
    os.truncate(segments(store)[1], 6000)


def copied(store: Path) -> None:
    source = segments(store)[1]
    shutil.copy(source, store / "log" / f"{first_of(source) + 1:020d}.log")


def copied_as_the_last(store: Path) -> None:
    shutil.copy(segments(store)[1], store / "log" / f"{EVENTS + 1:020d}.log")


def renamed(store: Path) -> None:
    source = segments(store)[1]
    source.rename(store / "log" / f"{first_of(source) + 1:020d}.log")


def flipped_archive(store: Path) -> None:
    flip(archives(store)[1], 700, 3)


def archive_missing(store: Path) -> None:
    archives(store)[1].unlink()


def flipped_snapshots(store: Path) -> None:
    for snapshot in (store / "snapshots").iterdir():
        flip(snapshot, 300)


def flipped_keys(store: Path) -> None:
    """Turn a bit of a row, where no opening looks."""
    flip(max((store / "keys").iterdir()), 600)


def no_manifest(store: Path) -> None:
    (store / "store.json").unlink()


def empty_manifest(store: Path) -> None:
    (store / "store.json").write_bytes(b"")


def wrong_character(store: Path) -> None:
    flip(store / "store.json", 100, 1)


def no_log(store: Path) -> None:
    shutil.rmtree(store / "log")


DAMAGE: dict[Callable[[Path], None], set[str]] = {
    flipped_behind: {"mend", "skip", "cut", "snapshot"},
    flipped_before: {"mend", "skip", "cut"},
    flipped_in_the_last: {"mend", "skip", "cut", "snapshot"},
    flipped_header: {"mend", "skip", "cut"},
    missing: {"skip", "cut"},
    last_missing: {"cut", "snapshot"},
    cut_short: {"skip", "cut"},
    copied: {"set-aside"},
    copied_as_the_last: {"set-aside"},
    renamed: {"set-aside"},
    flipped_archive: {"mend", "skip", "cut"},
    archive_missing: {"skip", "cut"},
    flipped_snapshots: {"mend", "rebuild"},
    no_manifest: {"rebuild"},
    empty_manifest: {"rebuild"},
    wrong_character: {"rebuild"},
    no_log: {"cut", "snapshot"},
}


def all_events(path: Path) -> dict[int, Any]:
    return {event.seq: event.data for event in read_events(path, REGISTRY)}


async def opened(path: Path) -> tuple[int, str]:
    async with EventStore.open(path, REGISTRY, create=False) as store:
        await store.append(
            RecordTrade(trade_id="new", symbol="BTC-USDT", side="buy", shares=1, price=1.0)
        )
        return store.seq, state_digest(store.state)


def repaired(path: Path, proposal: Proposal, to: Path, **remedies: str) -> Repaired:
    """Repair with the first remedy for each place, or the one asked for."""
    choices = dict(proposal.recommended)
    for index, prices in enumerate(proposal.prices):
        for price in prices:
            if price.choice.remedy == remedies.get("remedy"):
                choices[index] = price.choice
    return repair(path, choices, REGISTRY, to=to, reason="a test")


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__)
def test_each_remedy_costs_what_its_price_says(
    damage: Callable[[Path], None], hurt: Path, day: Path, tmp_path: Path
) -> None:
    damage(hurt)
    before = contents(hurt)
    proposal = propose(hurt, REGISTRY)
    assert proposal.diagnosis.places
    offered = {price.choice.remedy for prices in proposal.prices for price in prices}
    assert offered - {"snapshot"} == DAMAGE[damage] - {"snapshot"}
    whole = all_events(day)
    by_remedy = {price.choice.remedy: price for prices in proposal.prices for price in prices}
    for price in by_remedy.values():
        to = tmp_path / price.choice.remedy
        result = repaired(hurt, proposal, to, remedy=price.choice.remedy)
        assert result.lost == price.lost
        found = all_events(to)
        note = found.pop(result.last_seq)
        assert isinstance(note, StoreRepaired)
        assert (note.reason, note.lost) == ("a test", price.lost)
        lost = {seq for first, last in price.lost for seq in range(first, last + 1)}
        assert found == {seq: data for seq, data in whole.items() if seq not in lost}
        checked = verify(to, REGISTRY)
        assert checked.passed, checked
        assert price.state is not None
        assert state_digest(state_at(to, REGISTRY)) == state_digest(price.state)
        if price.exact or price.lost_events == 0:
            right = state_at(day, REGISTRY, price.last_seq)
            assert state_digest(price.state) == state_digest(right)
        assert asyncio.run(opened(to))[0] == result.last_seq + 1
    assert contents(hurt) == before


def test_a_mended_store_is_the_old_one_byte_for_byte(hurt: Path, day: Path, tmp_path: Path) -> None:
    flipped_before(hurt)
    flipped_archive(hurt)
    flip(segments(hurt)[1], 30)
    repaired(hurt, propose(hurt, REGISTRY), tmp_path / "to", remedy="mend")
    for file in (*archives(day), *segments(day)[:-1]):
        name = file.relative_to(day)
        assert (tmp_path / "to" / name).read_bytes() == file.read_bytes(), name


def test_a_snapshot_behind_the_place_confirms_a_mend(hurt: Path) -> None:
    flipped_archive(hurt)
    (prices,) = propose(hurt, REGISTRY).prices
    mend = next(price for price in prices if price.choice.remedy == "mend")
    assert mend.confirmed_by == 150


def test_no_snapshot_in_front_of_the_place_confirms_a_mend(hurt: Path) -> None:
    flipped_behind(hurt)
    (prices,) = propose(hurt, REGISTRY).prices
    assert [price.confirmed_by for price in prices] == [0] * len(prices)


def test_a_snapshot_with_another_state_confirms_nothing(hurt: Path) -> None:
    """The fold differs between the place and the snapshot, as it would after a wrong mend."""
    registry = trading_registry()
    fold = registry.functions[RecordTrade]

    def forgetful(state: Any, event: Any) -> Any:
        return state if event.seq == 140 else fold(state, event)

    registry.functions[RecordTrade] = forgetful  # type: ignore[index]  # the registry's own dict
    flipped_archive(hurt)
    (prices,) = propose(hurt, registry).prices
    assert next(one for one in prices if one.choice.remedy == "mend").confirmed_by == 0


def test_two_flipped_bits_are_mended_where_a_snapshot_confirms_them(
    hurt: Path, day: Path, tmp_path: Path
) -> None:
    segment = before_a_snapshot(hurt)
    flip(segment, 2000)
    flip(segment, 2004, 5)
    assert propose(hurt).diagnosis.places[0].flips is None
    proposal = propose(hurt, REGISTRY)
    (place,) = proposal.diagnosis.places
    assert place.flips == ((2000, 0), (2004, 5))
    assert proposal.prices[0][0].confirmed_by == 150
    repair(hurt, proposal.recommended, REGISTRY, to=tmp_path / "to")
    name = segment.relative_to(hurt)
    assert (tmp_path / "to" / name).read_bytes() == (day / name).read_bytes()


def test_two_flipped_bits_behind_every_snapshot_are_not_guessed(hurt: Path) -> None:
    segment = behind_snapshots(hurt)
    flip(segment, 2000)
    flip(segment, 2004, 5)
    assert propose(hurt, REGISTRY).diagnosis.places[0].flips is None


def test_readers_pass_over_lost_events(hurt: Path, tmp_path: Path) -> None:
    flipped_behind(hurt)
    proposal = propose(hurt, REGISTRY)
    (place,) = proposal.diagnosis.places
    to = tmp_path / "to"
    repaired(hurt, proposal, to, remedy="skip")
    shown = {event.seq: event for event in read_events(to, REGISTRY, gaps=True)}
    assert sorted(shown) == list(range(1, EVENTS + 2))
    first = shown[place.first].data
    assert isinstance(first, EventsLost)
    assert (first.first, first.last, first.reason) == (place.first, place.last, place.reason)
    lost = set(range(place.first, place.last + 1))
    for events in (
        read_events(to),
        read_events(to, REGISTRY),
        (event for event, _ in replay(to, REGISTRY)),
    ):
        assert {event.seq for event in events} == set(shown) - lost

    async def live(gaps: bool) -> set[int]:
        async with EventStore.open(to, REGISTRY, read_only=True) as store:
            return {event.seq async for event in store.events(gaps=gaps)}

    assert asyncio.run(live(gaps=False)) == set(shown) - lost
    assert asyncio.run(live(gaps=True)) == set(shown)


def test_a_backup_gives_a_missing_file_back(hurt: Path, day: Path, tmp_path: Path) -> None:
    missing(hurt)
    archive_missing(hurt)
    proposal = propose(hurt, REGISTRY, backup=day)
    assert [choice.remedy for choice in proposal.recommended.values()] == ["restore", "restore"]
    to = tmp_path / "to"
    result = repair(hurt, proposal.recommended, REGISTRY, backup=day, to=to)
    assert result.lost == ()
    found = all_events(to)
    found.pop(EVENTS + 1)
    assert found == all_events(day)


@pytest.mark.parametrize("name", ["place", "copy.tar.zst"])
def test_a_copy_of_the_backup_command_gives_a_missing_file_back(
    hurt: Path, day: Path, tmp_path: Path, name: str
) -> None:
    missing(hurt)
    archive_missing(hurt)
    make_backup(day, str(tmp_path / name), REGISTRY)
    copy = open_copy(str(tmp_path / name))
    proposal = propose(hurt, REGISTRY, backup=copy)
    assert [choice.remedy for choice in proposal.recommended.values()] == ["restore", "restore"]
    source, to = tmp_path / name, tmp_path / "to"
    result = eventstore("repair", hurt, "--restore", "--from", source, "--to", to, "--apply")
    assert result.exit_code == 0, result.output
    found = all_events(tmp_path / "to")
    found.pop(EVENTS + 1)
    assert found == all_events(day)


def test_a_file_of_another_store_is_no_backup(hurt: Path, tmp_path: Path) -> None:
    missing(hurt)
    other = make(tmp_path / "other")  # the same events, under the same names
    proposal = propose(hurt, REGISTRY, backup=other)
    assert "restore" not in {price.choice.remedy for price in proposal.prices[0]}


def test_several_places_have_one_choice_each(hurt: Path, tmp_path: Path) -> None:
    flipped_archive(hurt)
    missing(hurt)
    flipped_in_the_last(hurt)
    flipped_snapshots(hurt)
    proposal = propose(hurt, REGISTRY)
    result = repair(hurt, proposal.recommended, REGISTRY, to=tmp_path / "to")
    gone = [place for place in proposal.diagnosis.places if place.kind == "missing"]
    assert result.lost == ((gone[0].first, gone[0].last),)
    assert proposal.total is not None
    assert proposal.total.lost == result.lost
    assert verify(tmp_path / "to", REGISTRY).passed
    with pytest.raises(ConfigError, match="no remedy was chosen"):
        repair(hurt, {}, REGISTRY, to=tmp_path / "again")


@pytest.mark.parametrize(
    "damage",
    [
        flipped_behind,
        last_missing,
        cut_short,
        renamed,
        flipped_archive,
        flipped_snapshots,
        flipped_keys,
    ],
    ids=lambda one: one.__name__,
)
def test_in_place_keeps_every_byte_of_before(damage: Callable[[Path], None], hurt: Path) -> None:
    damage(hurt)
    before = contents(hurt)
    proposal = propose(hurt, REGISTRY)
    result = repair(hurt, proposal.recommended, REGISTRY, in_place=True)
    after = contents(hurt)
    for name, data in before.items():
        if after.get(name) != data and not name.startswith(("keys/", "frontier", "writer.pid")):
            assert after[f"{result.kept}/{name}"] == data, name
    assert propose(hurt, REGISTRY).diagnosis.places == ()
    assert asyncio.run(opened(hurt))[0] == result.last_seq + 1


@pytest.mark.parametrize("size", [1, 100, 9000])
def test_bytes_behind_a_segment_are_left_out(size: int, hurt: Path, tmp_path: Path) -> None:
    """Opening refuses them, so a repair must find them, beside other damage, too."""
    segment, other = segments(hurt)[:2]
    segment.write_bytes(segment.read_bytes() + b"x" * size)
    with pytest.raises(CorruptLogError, match="bytes follow the last seal"):
        asyncio.run(opened(hurt))
    flip(other, 2000)
    proposal = propose(hurt, REGISTRY)
    stray, bit = proposal.diagnosis.places
    assert (stray.name, stray.reason) == (f"log/{segment.name}", "bytes follow the last seal")
    assert (stray.lost, bit.lost) == (0, 5)
    assert {price.choice.remedy: price.lost_events for price in proposal.prices[0]}["skip"] == 0
    choices = {0: Choice("skip"), 1: Choice("mend")}
    result = repair(hurt, choices, REGISTRY, to=tmp_path / "to")
    assert result.lost == ()
    assert propose(tmp_path / "to", REGISTRY).diagnosis.places == ()
    assert asyncio.run(opened(tmp_path / "to"))[0] == EVENTS + 2


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_an_archive_beside_a_lost_manifest_is_missed(
    number: int, gone: bool, hurt: Path, tmp_path: Path
) -> None:
    """Only store.json counts the archives. Without it, the files around tell of the hole."""
    (hurt / "store.json").unlink()
    archive = archives(hurt)[number]
    behind = [*map(first_of, archives(hurt)), first_of(segments(hurt)[0])]
    lost = (first_of(archive), behind[behind.index(first_of(archive)) + 1] - 1)
    archive.unlink() if gone else archive.write_bytes(b"")
    proposal = propose(hurt, REGISTRY)
    if number == 0 and gone:  # as if the beginning was discarded
        assert proposal.diagnosis.first_seq == lost[1] + 1
        return
    holes = [(one.name, one.first, one.last) for one in proposal.diagnosis.places if one.lost]
    assert holes == [(f"archive/{archive.name}", *lost)]
    result = repair(hurt, proposal.recommended, REGISTRY, to=tmp_path / "to")
    assert result.lost == (lost,)
    assert verify(tmp_path / "to", REGISTRY).passed
    assert propose(tmp_path / "to", REGISTRY).diagnosis.places == ()


def test_a_cut_in_place_keeps_what_is_behind(hurt: Path) -> None:
    archive_missing(hurt)
    before = contents(hurt)
    result = repair(hurt, {0: Choice("cut")}, REGISTRY, in_place=True)
    after = contents(hurt)
    for name, data in before.items():
        if after.get(name) != data and not name.startswith(("keys/", "frontier", "writer.pid")):
            assert after[f"{result.kept}/{name}"] == data, name
    assert asyncio.run(opened(hurt))[0] == result.last_seq + 1


def test_two_repairs_in_one_second_keep_both(hurt: Path) -> None:
    kept = set()
    for offset in (2000, 3000):
        flip(behind_snapshots(hurt), offset)
        before = behind_snapshots(hurt).read_bytes()
        result = repair(hurt, propose(hurt, REGISTRY).recommended, REGISTRY, in_place=True)
        kept.add(result.kept)
        assert (hurt / result.kept / "log" / behind_snapshots(hurt).name).read_bytes() == before
    assert len(kept) == 2


def test_in_place_needs_the_lock(hurt: Path) -> None:
    async def beside() -> None:
        async with EventStore.open(hurt, REGISTRY):
            with pytest.raises(StoreLockedError):
                await asyncio.to_thread(repair, hurt, {}, REGISTRY, in_place=True)

    asyncio.run(beside())


def test_an_existing_directory_is_never_written_to(hurt: Path, tmp_path: Path) -> None:
    flipped_behind(hurt)
    (tmp_path / "to").mkdir()
    proposal = propose(hurt, REGISTRY)
    with pytest.raises(StoreExistsError):
        repair(hurt, proposal.recommended, REGISTRY, to=tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


def raising_at(*seqs: int) -> HandlerRegistry[EngineState]:
    registry = trading_registry()
    fold = registry.functions[RecordTrade]

    def refuse(state: Any, event: Any) -> Any:
        if event.seq in seqs and event.data.price != 1:
            raise ValueError("no such price")
        return fold(state, event)

    registry.functions[RecordTrade] = refuse  # type: ignore[index]  # the registry's own dict
    return registry


def test_an_event_that_a_handler_refuses_is_dropped_or_replaced(hurt: Path, tmp_path: Path) -> None:
    registry = raising_at(250)
    proposal = propose(hurt, registry)
    (place,) = proposal.diagnosis.places
    assert (place.kind, place.first) == ("poison", 250)
    assert "no such price" in place.reason
    drop = next(price for price in proposal.prices[0] if price.choice.remedy == "drop")
    assert drop.lost == ((250, 250),)
    result = repair(hurt, {0: drop.choice}, registry, to=tmp_path / "dropped")
    assert result.lost == ((250, 250),)
    assert 250 not in all_events(tmp_path / "dropped")
    assert propose(tmp_path / "dropped", registry).healthy


def eventstore(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


class TestCommand:
    def test_a_sound_store_has_nothing_to_repair(self, day: Path) -> None:
        result = eventstore("repair", day)
        assert (result.exit_code, result.stdout) == (0, f"{day}: nothing to repair\n")

    def test_without_apply_everything_is_priced_and_nothing_written(self, hurt: Path) -> None:
        flipped_behind(hurt)
        before = contents(hurt)
        result = eventstore("repair", hurt)
        assert result.exit_code == 1, result.output
        assert contents(hurt) == before
        assert "1 damaged place. Nothing was changed." in result.stdout
        header, *rows = [line.split("\t") for line in result.stdout.splitlines() if "\t" in line]
        assert header[:5] == ["remedy", "events lost", "number", "last event", "cash"]
        assert [row[0].strip() for row in rows][:3] == ["* mend", "skip", "cut"]
        assert [row[2] for row in rows][:2] == ["0", "5"]
        assert "bit 0 of byte 2,000" in result.stdout
        assert re.search(r"^  event \d+ reads record_trade trade_id=T\d+ ", result.stdout, re.M)
        before, after = re.findall(r"^    (?:before|after) +([0-9a-f ]{50})", result.stdout, re.M)
        assert bytes.fromhex(before)[8] == bytes.fromhex(after)[8] ^ 1
        assert bytes.fromhex(before)[:8] == bytes.fromhex(after)[:8]
        assert "keys around it: binance:" in result.stdout
        assert f"next: eventstore repair {hurt} --mend --apply" in result.stderr

    def test_json_has_the_same(self, hurt: Path) -> None:
        flipped_behind(hurt)
        found = json.loads(eventstore("repair", hurt, "--json").stdout)
        (place,) = found["places"]
        assert found["schema"] == "eventstore.repair/1"
        assert (place["recommended"], place["lost"]) == ("mend", 5)
        (mended,) = place["mended"]
        assert place["first"] <= mended["seq"] <= place["last"]
        assert mended["data"]["op"] == "record_trade"
        assert mended["before"] != mended["after"]
        assert place["remedies"][0]["state"]["cash"]

    def test_apply_writes_a_verified_store_beside(self, hurt: Path, tmp_path: Path) -> None:
        flipped_behind(hurt)
        before = contents(hurt)
        result = eventstore("repair", hurt, "--mend", "--apply", "--to", tmp_path / "to")
        assert result.exit_code == 0, result.output
        assert contents(hurt) == before
        assert (
            f"events 1 … {EVENTS + 1:,}, timeline 2 (from timeline 1 at {EVENTS}), verified, "
            "opens\n"
            f"  event {EVENTS + 1:,} store_repaired says so\n" in result.stdout
        )
        assert f"changed   log/{behind_snapshots(hurt).name} (1 byte)" in result.stdout
        assert verify(tmp_path / "to", REGISTRY).passed
        assert eventstore("repair", tmp_path / "to").exit_code == 0

    def test_apply_needs_a_choice_where_something_is_lost(self, hurt: Path) -> None:
        missing(hurt)
        result = eventstore("repair", hurt, "--apply")
        assert result.exit_code == 2
        assert "choose a remedy (skip, cut" in result.output

    def test_apply_alone_takes_the_one_remedy_without_a_loss(
        self, hurt: Path, tmp_path: Path
    ) -> None:
        flipped_before(hurt)
        result = eventstore("repair", hurt, "--apply", "--to", tmp_path / "to")
        assert result.exit_code == 0, result.output

    def test_a_remedy_for_each_place(self, hurt: Path, tmp_path: Path) -> None:
        flipped_archive(hurt)
        missing(hurt)
        result = eventstore(
            "repair", hurt, "--choose", "1=mend,2=skip", "--apply", "--to", tmp_path / "to"
        )
        assert result.exit_code == 0, result.output
        assert eventstore("repair", hurt, "--choose", "9=mend", "--apply").exit_code == 2

    def test_an_event_is_replaced(self, hurt: Path, tmp_path: Path) -> None:
        trade = {
            "op": "record_trade",
            "trade_id": "T00249",
            "symbol": "BTC-USDT",
            "side": "buy",
            "shares": 1,
            "price": 2,
        }
        to = tmp_path / "to"
        result = eventstore(
            "repair", hurt, "--replace", "250", json.dumps(trade), "--apply", "--to", to
        )
        assert result.exit_code == 0, result.output
        found = next(iter(read_events(to, REGISTRY, start=250, stop=251)))
        assert (found.data.price, found.key) == (2, "binance:249")
        wrong = eventstore("repair", hurt, "--replace", "250", "{}", "--apply")
        assert wrong.exit_code == 2

    def test_without_handlers_the_events_are_priced(self, hurt: Path, tmp_path: Path) -> None:
        flipped_behind(hurt)
        proposal = propose(hurt)
        assert [price.lost_events for price in proposal.prices[0]][:2] == [0, 5]
        assert all("no handlers" in price.note for price in proposal.prices[0])
        repair(hurt, proposal.recommended, to=tmp_path / "to")
        assert verify(tmp_path / "to", REGISTRY).passed


def test_the_fixture_is_as_the_tests_expect(day: Path) -> None:
    snapshots = sorted(int(file.name[:20]) for file in (day / "snapshots").iterdir())
    assert snapshots == [150, 225]
    assert len(archives(day)) >= 3
    assert first_of(segments(day)[0]) < 150
