"""The `repr` of everything public, for a debugger, a log line or a failed assertion."""

from __future__ import annotations

import asyncio
import importlib
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from eventstore import (
    Durability,
    Event,
    EventLog,
    EventsLost,
    EventStore,
    Histogram,
    IntentSettled,
    RecoveryReport,
    SimulatedClock,
    StoreConfig,
    StoreRepaired,
    StoreStats,
    SystemClock,
    follow,
    follow_sync,
)
from eventstore.analysis import (
    Blame,
    Change,
    ExportSettings,
    Found,
    Samples,
    export_store,
    write_report,
)
from eventstore.disk import LocalDisk
from eventstore.history import compare
from eventstore.history.compare import Difference
from eventstore.testing import (
    Call,
    Fault,
    Faults,
    HandlerReport,
    SimulatedCrash,
    SimulatedDisk,
    Venue,
    VenueClient,
    VirtualTimeLoop,
    simulate,
)
from eventstore.tools import (
    Damage,
    Divergence,
    Refold,
    Verification,
    make_backup,
    open_place,
    plan_restore,
    restore,
)
from handlers import (
    AdjustCash,
    BustTrade,
    CorrectTrade,
    DefineInstrument,
    EngineState,
    FullState,
    Instrument,
    Mark,
    Order,
    OrderClosed,
    OrderSent,
    OrderUpdated,
    Position,
    RecordTrade,
    Settle,
    Split,
    TradeFee,
    UpdatePosition,
    trading_registry,
)
from tests.support.orders import PlaceOrder, opened

PACKAGES = (
    "eventstore",
    *(f"eventstore.{name}" for name in "analysis disk history testing tools".split()),
)
LONGEST = 200
SETTLED = IntentSettled(id="k3f9-7QZ2M1-4372", outcome="accepted")
SOLD = RecordTrade(trade_id="t-1", symbol="AAPL", side="sell", shares=40, price=155.0)
BOUGHT = UpdatePosition(symbol="AAPL", shares=100, price=150.0)
FILL: dict[str, Any] = {"trade_id": "t-1", "symbol": "AAPL", "side": "sell"}
TRADING: list[object] = [
    AdjustCash(type="dividend", amount=Decimal("1.25"), reference="d-1", symbol="AAPL"),
    BustTrade(**FILL),
    CorrectTrade(**FILL, new_trade_id="t-2", shares=40, price=154.0),
    DefineInstrument(symbol="BTCUSDT", kind="spot", base="BTC", quote="USDT"),
    Instrument("spot", "USDT", "USDT", "BTC"),
    Mark(symbol="AAPL", price=151.5),
    Order("o-1", "c-1", "AAPL", "buy", Decimal(100)),
    OrderClosed(order_id="o-1", reason="filled"),
    OrderSent(client_order_id="c-1", symbol="AAPL", side="buy", shares=100),
    OrderUpdated(order_id="o-1", symbol="AAPL", side="buy", shares=100),
    Position("AAPL", Decimal(100), Decimal(15_000)),
    Settle(symbol="ESZ6", price=5000.25, reference="s-1"),
    Split(symbol="AAPL", numerator=4, denominator=1, reference="s-2"),
    TradeFee(**FILL, fee=0.5),
]


def public_classes() -> list[type[Any]]:
    """Every exported class with instances, except errors: an error shows a message."""
    found: dict[type[Any], None] = {}
    for name in (*PACKAGES, "handlers"):
        package = importlib.import_module(name)
        for value in (getattr(package, public) for public in package.__all__):
            if isinstance(value, type) and not issubclass(value, BaseException):
                found[value] = None
    return [kind for kind in found if not getattr(kind, "_is_protocol", False)]


async def instances(folder: Path) -> list[tuple[object, str]]:
    """Instances of each public class, with the `repr` while the store is open."""
    registry, disk = trading_registry(), SimulatedDisk(7)
    local = LocalDisk(folder / "local", create=True)
    difference = Difference("positions['AAPL'].shares", Decimal(100), Decimal(60))
    divergence = Divergence(
        agrees_at=0,
        differs_at=20,
        seq=7,
        operation="update_position",
        handler="handlers.update_position",
        cause="changed",
        exact=True,
        differences=(),
        explanation="",
    )
    async with (
        EventStore.open(folder / "store", registry) as store,
        EventLog.open(disk=disk) as log,
        store.subscribe() as subscription,
    ):
        receipt = await store.append(BOUGHT)
        found: list[object] = [store, log, subscription, receipt, registry, EngineState()]
        found += [store.stats(), store.recovery, StoreConfig(backup_count=3), Durability.COMMIT]
        found += [SystemClock(), SimulatedClock(10**18), EventLog.open(disk=disk)]
        found += [EventsLost(first=4, last=9), StoreRepaired(did=("mended a bit",))]
        found += await asyncio.to_thread(moved, folder)
        found += [Found(Event(1, 0, BOUGHT), 5), Change(Event(1, 0, BOUGHT), 5, 6)]
        found += [Blame(field="cash", seq=1, value=5, changes=(), searched_from=0)]
        found += [Samples(columns=("time", "seq", "cash"), rows=[(0, 1, 5)])]
        found += [SETTLED, await doubt(), Histogram((1.0,), (1,))]
        follower = follow_sync(folder / "store")
        found += [follow(folder / "store"), follower]
        found += [store.cursor, Event(1, 0, BOUGHT), BOUGHT, SOLD, FullState()]
        found += TRADING
        found += [local, local.create("file"), disk, disk.open(disk.files()[0])]
        found += [Call("sync", "log/spare"), Fault(), HandlerReport({"buy": 5}, {}, (1, 2))]
        found += [difference, await compare(store, store), divergence, Refold(agreeing=(10, 20))]
        exported = export_store(store.path, folder / "out", registry)
        settings = ExportSettings(format="csv")
        found += [settings, exported, exported.tables["update_position"]]
        found += [Damage("log/spare", "bad"), Verification(path=store.path, last_seq=1)]
        found += await asyncio.to_thread(simulation)
        found += [loop := VirtualTimeLoop(patience=60.0)]
        shown = [(instance, repr(instance)) for instance in found]
        loop.close()
        local.close()
        follower.close()
    return shown


def moved(folder: Path) -> list[object]:
    """A copy, the plan of a restore, a restored store, and a report."""
    made = make_backup(folder / "store", str(folder / "copies"))
    plan = plan_restore(open_place(str(folder / "copies")))
    written = write_report(folder / "store", folder / "page.html")
    return [made, plan, restore(plan, folder / "again"), written]


def simulation() -> list[object]:
    """A simulation, and what its bot was given."""
    given: list[object] = []

    async def bot(_: EventStore[Any], client: VenueClient) -> None:
        given.append(client)

    report = simulate(bot, registry=trading_registry(), seeds=[1])
    return [report, Faults(), Venue(), *given]


async def doubt() -> object:
    async with opened(None) as store, store.intend(PlaceOrder(decision=1)) as found:
        return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, str]]:
    return asyncio.run(instances(tmp_path_factory.mktemp("reprs")))


@pytest.mark.parametrize("kind", public_classes(), ids=lambda kind: kind.__name__)
def test_it_is_short_and_says_more_than_the_class(
    kind: type[Any], shown: list[tuple[object, str]]
) -> None:
    texts = [text for instance, text in shown if isinstance(instance, kind)]
    assert texts, f"add a {kind.__name__} to the instances of this test"
    for text in texts:
        assert len(text) < LONGEST
        assert " at 0x" not in text


def test_a_disk_says_what_became_of_it(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path, read_only=True)
    assert repr(disk) == f"<LocalDisk {str(tmp_path)!r} read-only not locked>"
    disk.close()
    assert repr(disk) == f"<LocalDisk {str(tmp_path)!r} read-only closed>"
    simulated = SimulatedDisk(7)
    file = simulated.create("journal")
    file.write(0, b"kept")
    assert repr(file) == "<SimulatedFile 'journal' of 4 bytes>"
    assert repr(simulated) == "<SimulatedDisk seed=7 open: 1 files after 2 calls>"
    simulated.crash_at()
    with pytest.raises(SimulatedCrash):
        file.sync()
    assert repr(simulated) == "<SimulatedDisk seed=7 crashed: 1 files after 3 calls>"


def test_values_show_what_differs_from_the_defaults() -> None:
    assert repr(StoreConfig(backup_count=3)) == "StoreConfig(backup_count=3)"
    assert repr(RecoveryReport(torn_bytes=9)) == "RecoveryReport(torn_bytes=9)"


def test_stats_show_the_members_that_say_most() -> None:
    stats = StoreStats(seq=5, events=3, commits=2, syncs=1, sync_max=0.25, pending=7)
    said = "seq=5 events=3 commits=2 sync_max=0.250s pending=7 snapshot_seq=0"
    assert repr(stats) == f"<StoreStats {said}>"
    worse = msgspec.structs.replace(stats, failed=True, warnings=("no space",))
    assert repr(worse) == f"<StoreStats {said} warnings=1 failed>"
    assert repr(Histogram((1.0, 3.0), (9, 1))) == "<Histogram of 10: half up to 1, all up to 3>"


@pytest.mark.asyncio
async def test_a_notebook_shows_tables(tmp_path: Path) -> None:
    path = tmp_path / "<b>"
    async with EventStore.open(path, trading_registry()) as store:
        await store.append("update_position", {"symbol": "<A&B>", "shares": 2, "price": 1.5})
        await store.append("adjust_cash", {"type": "deposit", "amount": 5, "reference": "d"})
        shown: list[Any] = [store, store.recovery, store.stats(), store.state]
        tables = [one._repr_html_() for one in shown]
    for table in tables:
        parsed = ElementTree.fromstring(f"<div>{table}</div>")
        assert parsed.find("table/caption") is not None
    facts, recovery, stats, books = tables
    assert f"<td style='text-align:left'>{tmp_path}/&lt;b&gt;</td>" in facts
    assert ">created</th><td style='text-align:left'>True<" in recovery
    assert ">events</th><td style='text-align:left'>2<" in stats
    assert "<td>&lt;A&amp;B&gt;</td><td>main</td><td>net</td><td>2</td><td>1.5</td>" in books
    assert "<td>main</td><td>USD</td><td>5</td>" in books
    assert ">closed<" in store._repr_html_()


def test_a_store_that_is_not_open_yet_says_so() -> None:
    with pytest.warns(RuntimeWarning, match="nothing was opened"):
        assert repr(EventStore.in_memory(trading_registry())).startswith("<Opening: nothing is")
