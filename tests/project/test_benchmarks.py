"""The harness of the benchmarks: the treatment of figures, the choice of contenders, and runs.

No figure is judged here, and no test depends on a speed.
"""

from __future__ import annotations

import asyncio
import io
import math
import sqlite3
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.cases import CASES, Cell, History, Profile
from benchmarks.cases.histories import check_folded, trades_among
from benchmarks.contenders import CONTENDERS, Contender, by_name
from benchmarks.figures import Figures, Summary, ratio, summary
from benchmarks.measuring import Found, Measuring
from benchmarks.peers.sqlite3 import PRAGMAS
from benchmarks.report import Run, shown, table, write
from benchmarks.scripts import following
from benchmarks.scripts.syncs import count
from benchmarks.targets import Verdict, verdicts
from benchmarks.worker import Answer, Order, main
from benchmarks.workload import EMPTY, events, fold, pack_state, payloads, positions, unpack_state

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


class TestFigures:
    def test_the_middle_and_the_quartiles(self) -> None:
        assert summary([5.0, 1.0, 2.0, 4.0, 3.0]) == Summary(3.0, 2.0, 4.0, 5)

    def test_of_few_values_the_extremes(self) -> None:
        assert summary([7.0]) == Summary(7.0, 7.0, 7.0, 1)
        assert summary([3.0, 1.0, 2.0]) == Summary(2.0, 1.0, 3.0, 3)

    def test_nothing_is_made_of_nothing(self) -> None:
        assert summary([]) is None

    def test_a_spread_is_relative(self) -> None:
        assert Summary(10.0, 9.0, 12.0, 5).spread == 0.3
        assert Summary(0.0, 0.0, 0.0, 5).spread == 0.0

    def test_a_ratio_is_taken_within_rounds(self) -> None:
        rounds = {
            "a": [{"t": 2.0}, {"t": 300.0}, {"t": 2.0}],
            "b": [{"t": 1.0}, {"t": 100.0}, {"t": 2.0}],
        }
        found = ratio(rounds, "a", "b", "t")
        assert found == Summary(2.0, 1.0, 3.0, 3)  # and not 2.0 to 2.0, the medians

    def test_rounds_that_failed_count_for_neither(self) -> None:
        rounds: dict[str, list[Figures | None]] = {
            "a": [{"t": 2.0}, {"t": 9.0}, None],
            "b": [{"t": 1.0}, None, {"t": 1.0}],
        }
        assert ratio(rounds, "a", "b", "t") == Summary(2.0, 2.0, 2.0, 1)

    def test_what_was_measured_once_stands_for_every_round(self) -> None:
        rounds = {"a": [{"t": 2.0}, {"t": 4.0}], "b": [{"t": 2.0}]}
        found = ratio(rounds, "a", "b", "t")
        assert found is not None
        assert (found.low, found.high, found.rounds) == (1.0, 2.0, 2)

    def test_two_figures_of_one_cell(self) -> None:
        rounds = {"a": [{"whole": 3.0, "part": 2.0}]}
        assert ratio(rounds, "a", "a", "whole", "part") == Summary(1.5, 1.5, 1.5, 1)

    def test_without_the_other_there_is_none(self) -> None:
        assert ratio({"a": [{"t": 1.0}]}, "a", "b", "t") is None


class TestTargets:
    @staticmethod
    def judged(rounds: dict[str, list[Figures | None]], case: str, words: str) -> Verdict:
        (found,) = (
            verdict
            for verdict in verdicts(rounds)
            if verdict.case == case and words in verdict.target
        )
        return found

    def test_met_and_missed(self) -> None:
        rounds: dict[str, list[Figures | None]] = {
            "one awaiter||write + fdatasync": [{"p50": 10.0}],
            "one awaiter||EventStore": [{"p50": 15.0}],
            "one awaiter||EventStore (uvloop)": [{"p50": 14.0}],
        }
        met = self.judged(rounds, "one awaiter, p50", "1.6 times the bare limit")
        missed = self.judged(rounds, "one awaiter, p50", "1.3 times the bare limit")
        assert (met.met, met.figure.split()[0]) == (True, "1.50")
        assert (missed.met, missed.figure.split()[0]) == (False, "1.40")

    def test_what_was_not_measured_is_neither(self) -> None:
        assert {verdict.met for verdict in verdicts({})} == {None}

    def test_the_best_of_the_peers_counts(self) -> None:
        rounds: dict[str, list[Figures | None]] = {
            "awaiters|64|EventStore": [{"per event": 1.0}],
            "awaiters|64|aiosqlite": [{"per event": 3.9}],
            "awaiters|64|Redis": [{"per event": 20.0}],
        }
        found = self.judged(rounds, "64 awaiters", "EventStore: at least 4 times the best")
        assert (found.met, found.against) == (False, "aiosqlite")

    def test_a_burst_is_judged_by_groups(self) -> None:
        rounds: dict[str, list[Figures | None]] = {
            "burst|20000|EventStore": [{"per event": 1.9}],
            "burst|60000|EventStore": [{"per event": 2.1}],
            "groups|1000|EventStore": [{"per event": 1.0}],
        }
        assert self.judged(rounds, "burst", "EventStore: 20,000 events").met
        assert self.judged(rounds, "burst", "EventStore: 60,000 events").met is False

    def test_idle_stores_are_judged_in_all(self) -> None:
        figures = {"open": 0.0021, "disk": 9e5, "threads": 5.0, "processor, percent": 0.1}
        rounds: dict[str, list[Figures | None]] = {"idle stores|200|EventStore": [figures]}
        assert self.judged(rounds, "idle stores", "2 ms to open").met is False
        for words in ("threads", "1 MB", "of a processor"):
            assert self.judged(rounds, "idle stores", words).met

    def test_a_hold_up_is_judged_in_milliseconds(self) -> None:
        rounds: dict[str, list[Figures | None]] = {
            "hold-up|100 positions|EventStore": [{"more than idle, p99.9": 0.0009}]
        }
        assert self.judged(rounds, "loop hold-up", "EventStore: p99.9").met

    def test_memory_is_judged_in_mebibytes(self) -> None:
        rounds: dict[str, list[Figures | None]] = {
            "memory|append 3|EventStore": [{"growth": 17.0 * 2**20}]
        }
        assert self.judged(rounds, "memory", "append 3").met is False


class TestReport:
    @pytest.mark.parametrize(
        ("value", "unit", "words"),
        [
            (0.000123456, "us", "123 µs"),
            (0.0000012345, "us", "1.23 µs"),
            (1.5e-7, "ns", "150 ns"),
            (123456.7, "/s", "123,457/s"),
            (2.5 * 2**20, "MB", "2.50 MiB"),
            (0.0, "ms", "0 ms"),
            (-0.0015, "ms", "-1.50 ms"),
        ],
    )
    def test_figures_have_three_digits_and_a_unit(
        self, value: float, unit: str, words: str
    ) -> None:
        assert shown(value, unit) == words

    @staticmethod
    def a_run() -> Run:
        figures = {"p50": 1e-4, "p99": 2e-4, "p99.9": 3e-4}
        found = Found(
            versions={"EventStore": "1.0", "sqlite3": "3.40"},
            left_out={"LMDB": "No module named 'lmdb'"},
            rounds={
                "one awaiter||EventStore": [figures, figures],
                "one awaiter||write + fdatasync": [{"p50": 5e-5, "p99": 6e-5, "p99.9": 7e-5}, None],
                "one awaiter||sqlite3": [None, None],
                "growth|replay, history 1,000|EventStore": [{"per event": 1e-6}],
            },
            failures={"one awaiter||sqlite3": "Traceback ...\nOSError: no space"},
        )
        return Run("quick", 12.5, "2026-01-01", {"cores": "2", "kernel": "Linux 6"}, found)

    def test_the_table_says_what_was_found(self) -> None:
        page = table(self.a_run())
        assert "| kernel | Linux 6 |" in page
        assert "EventStore 1.0, sqlite3 3.40" in page
        assert "|  | **EventStore** | 100 µs | 200 µs | 300 µs | 0% | 2.00 |" in page
        assert "2.00 (2.00 to 2.00) |  | **missed** |" in page

    def test_who_is_not_installed_is_named_as_left_out(self) -> None:
        assert "**Left out: LMDB**, because No module named 'lmdb'." in table(self.a_run())

    def test_what_failed_is_told(self) -> None:
        page = table(self.a_run())
        assert "|  | sqlite3 | failed | failed | failed |" in page
        assert "- one awaiter||sqlite3: OSError: no space" in page

    def test_figures_are_there_for_programs(self, tmp_path: Path) -> None:
        write(self.a_run(), tmp_path / "results")
        found = msgspec.json.decode((tmp_path / "results" / "results.json").read_bytes())
        assert found["run"]["machine"]["cores"] == "2"
        assert found["run"]["found"]["left_out"] == {"LMDB": "No module named 'lmdb'"}
        assert found["run"]["found"]["rounds"]["one awaiter||EventStore"][1]["p50"] == 1e-4
        assert {target["met"] for target in found["targets"]} == {False, None}

    def test_plots_are_drawn(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        write(self.a_run(), tmp_path)
        for name in ("commit.png", "growth.png"):
            assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


class TestContenders:
    def test_names_are_their_own(self) -> None:
        names = [contender.name for contender in CONTENDERS]
        assert len(set(names)) == len(names)

    def test_each_adapter_says_why_it_is_fair(self) -> None:
        modules = {contender.adapter.partition(":")[0] for contender in CONTENDERS}
        for module in modules - {"ours", "bare"}:
            assert "\nFair because:" in (PEERS / f"{module}.py").read_text(encoding="utf-8")

    def test_a_worker_whose_library_is_missing_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "lmdb", None)
        monkeypatch.delitem(sys.modules, "benchmarks.peers.lmdb", raising=False)
        answers = io.BytesIO()
        main("LMDB", io.BytesIO(), answers)
        told = msgspec.json.decode(answers.getvalue(), type=Answer)
        assert "lmdb" in told.missing

    def test_who_cannot_take_part_is_left_out_and_the_others_go_on(self, tmp_path: Path) -> None:
        nobody = Contender("nobody", "nothing:Nobody")
        with Measuring(tmp_path, [nobody, by_name("sqlite3")], lambda _: None) as measuring:
            assert [contender.name for contender in measuring.present] == ["sqlite3"]
            assert list(measuring.found.left_out) == ["nobody"]
            assert measuring.found.versions == {"sqlite3": sqlite3.sqlite_version}

    def test_sqlite_commits_are_durable(self, tmp_path: Path) -> None:
        connection = sqlite3.connect(tmp_path / "base")
        for pragma in PRAGMAS:
            connection.execute(pragma)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        connection.close()


class TestWorkload:
    def test_everybody_gets_the_same(self) -> None:
        assert payloads(10) == payloads(4) + payloads(6, first=5)

    def test_what_was_folded_is_checked(self) -> None:
        state = fold(EMPTY, events(payloads(103)))
        check_folded(state.trade_count, 103)
        with pytest.raises(RuntimeError, match="78 trades were folded from 102 events"):
            check_folded(state.trade_count, 102)

    def test_a_payload_of_a_size_is_a_trade(self) -> None:
        state = fold(EMPTY, events(payloads(8, size=100)))
        assert state.trade_count == trades_among(8, 100) == 8

    def test_a_state_of_a_size(self) -> None:
        assert len(fold(EMPTY, events(positions(50))).positions) == 50

    def test_the_peers_snapshots_hold_the_state(self) -> None:
        state = fold(EMPTY, events(payloads(40)))
        assert unpack_state(pack_state(state)) == state


class TestCells:
    @pytest.mark.parametrize("profile", ["tiny", "quick", "full"])
    @pytest.mark.parametrize("case", CASES)
    def test_each_is_measured_once_a_round(self, case: str, profile: Profile) -> None:
        cells = list(CASES[case].cells(profile, CONTENDERS))
        keys = [cell.key for cell in cells]
        assert keys
        assert len(set(keys)) == len(keys)

    @pytest.mark.parametrize("case", CASES)
    def test_workers_are_told_everything(self, case: str) -> None:
        for cell in CASES[case].cells("quick", CONTENDERS):
            order = Order("run", "folder", cell=cell)
            assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order

    def test_crashed_histories_are_never_opened_where_they_are(self) -> None:
        for case in CASES.values():
            for cell in case.cells("full", CONTENDERS):
                if cell.history is not None and cell.history.crash:
                    assert cell.copied or cell.options.get("of build")


INSTALLED = ("write + fdatasync", "EventLog", "EventStore", "sqlite3", "sqlite3 folding")


@pytest.mark.slow
class TestMeasuring:
    def test_every_case_yields_its_figures(self, tmp_path: Path) -> None:
        """Run with tiny counts, for the contenders that are always there."""
        present = [by_name(name) for name in INSTALLED]
        cells = [cell for case in CASES.values() for cell in case.cells("tiny", present)]
        with Measuring(tmp_path, present, lambda _: None) as measuring:
            measuring.prepare(cells)
            found = measuring.measure(cells, rounds=1, seed=1)
        assert found.failures == {}
        assert {key.partition("|")[0] for key in found.rounds} == set(CASES)
        for key, (figures,) in found.rounds.items():
            assert figures is not None, key
            assert set(CASES[key.partition("|")[0]].figures) <= set(figures), key
            assert all(map(math.isfinite, figures.values())), key

    def test_nothing_is_left_of_the_runs(self, tmp_path: Path) -> None:
        sqlite = by_name("sqlite3")
        cell = Cell("one awaiter", "", "sqlite3", {"count": 2})
        with Measuring(tmp_path, [sqlite], lambda _: None) as measuring:
            measuring.measure([cell], rounds=2, seed=1)
            assert list(tmp_path.iterdir()) == []
            assert len(measuring.found.rounds[cell.key]) == 2

    def test_a_case_that_fails_has_no_figure_and_is_told(self, tmp_path: Path) -> None:
        cells = [
            Cell("groups", "broken", "sqlite3", {}),
            Cell("groups", "10", "sqlite3", {"size": 10, "events": 10}),
        ]
        with Measuring(tmp_path, [by_name("sqlite3")], lambda _: None) as measuring:
            found = measuring.measure(cells, rounds=1, seed=1)
        assert found.rounds["groups|broken|sqlite3"] == [None]
        assert found.rounds["groups|10|sqlite3"] != [None]
        assert "KeyError" in found.failures["groups|broken|sqlite3"]

    def test_no_round_begins_that_would_be_over_too_late(self, tmp_path: Path) -> None:
        cell = Cell("one awaiter", "", "sqlite3", {"count": 2})
        with Measuring(tmp_path, [by_name("sqlite3")], lambda _: None) as measuring:
            found = measuring.measure([cell], rounds=5, seed=1, until=0.0)
        assert len(found.rounds[cell.key]) == 1

    def test_a_history_that_ends_in_a_crash_is_found_unclean(self, tmp_path: Path) -> None:
        history = History(50, group=10, tail=10, crash=True)
        cell = Cell("open after a crash", "", "EventStore", {"tail": 10}, history, copied=True)
        with Measuring(tmp_path, [by_name("EventStore")], lambda _: None) as measuring:
            measuring.prepare([cell])
            found = measuring.measure([cell], rounds=2, seed=1)
            (folder,) = tmp_path.iterdir()
            assert (folder / "store" / "writer.pid").exists()  # nobody tidied up
        assert found.failures == {}


class TestSyncs:
    TRACE = """\
7 openat(AT_FDCWD, "/a/data", O_RDWR|O_CREAT, 0600) = 3
7 openat(AT_FDCWD, "/a/data", O_RDWR|O_DSYNC|O_CLOEXEC) = 4
7 fdatasync(3) = 0
7 access("/mark-of-the-benchmarks-lone", F_OK) = -1 ENOENT (No such file or directory)
7 pwrite64(3, "x", 1, 0) = 1
8 fdatasync(3 <unfinished ...>
7 pwrite64(4, "x", 1, 0) = 1
8 <... fdatasync resumed>) = 0
7 access("/mark-of-the-benchmarks-", F_OK) = -1 ENOENT (No such file or directory)
7 fsync(3) = 0
7 openat(AT_FDCWD, "/a/other", O_RDWR) = 4
7 access("/mark-of-the-benchmarks-groups", F_OK) = -1 ENOENT (No such file or directory)
7 pwrite64(4, "x", 1, 0) = 1
7 msync(0x7f, 4096, MS_SYNC) = 0
"""

    def test_they_are_counted_by_phase_and_once(self) -> None:
        assert count(self.TRACE) == {
            "lone": {"fdatasync": 1, "write to O_DSYNC": 1},
            "groups": {"msync": 1},
        }


class TestFollowing:
    @pytest.mark.parametrize("way", ["sync", "async"])
    def test_every_event_has_a_delay(self, way: str, tmp_path: Path) -> None:
        found = asyncio.run(following.measure(way, tmp_path / "store", 5, 0.01))
        assert len(found.delays) == 5
        assert found.idle >= 0

    def test_round_trips_are_measured(self, tmp_path: Path) -> None:
        assert len(following.round_trips(tmp_path, 3)) == 3
