"""The project's targets, and whether a run met them.

A target compares two measurements, or one with the best of several. The figure is the median of the
ratios within rounds. *Best* is judged the hard way: the peer with the worst ratio for us counts.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.cases.appending import LONG_BURSTS
from benchmarks.cases.reading import READERS
from benchmarks.figures import Rounds, Summary, ratio, summary

__all__ = ["Verdict", "verdicts"]


class Verdict(NamedTuple):
    """One target and its outcome."""

    case: str
    target: str
    figure: str
    met: bool | None
    """Whether the target was met, `None` without the needed measurements."""

    against: str = ""


class _Judge:
    """The rounds, and a few ways of comparing within rounds."""

    def __init__(self, rounds: Rounds) -> None:
        self._rounds = rounds
        self.found: list[Verdict] = []

    def variants(self, case: str, contender: str) -> list[str]:
        """Return the variants of a case in which a contender was measured."""
        parts = [key.split("|") for key in self._rounds]
        return [part[1] for part in parts if part[0] == case and part[2] == contender]

    def ratio(self, cell: str, other: str, figure: str, other_figure: str = "") -> Summary | None:
        return ratio(self._rounds, cell, other, figure, other_figure)

    def best(self, ours: str, peers: Sequence[str], figure: str) -> tuple[Summary, str] | None:
        """Return how many times as long the best of the peers takes, and the peer's name."""
        found = [
            (compared, peer.split("|")[2])
            for peer in peers
            if (compared := self.ratio(peer, ours, figure)) is not None
        ]
        return min(found, key=lambda pair: pair[0].median) if found else None

    def at_most(self, case: str, target: str, found: Summary | None, limit: float) -> None:
        """Judge a ratio that should be small."""
        met = None if found is None else found.median <= limit
        self._add(case, target, found, met)

    def at_least(
        self, case: str, target: str, found: tuple[Summary, str] | None, limit: float
    ) -> None:
        """Judge a ratio to the best of some peers that should be large."""
        if found is None:
            self._add(case, target, None, None)
        else:
            self._add(case, target, found[0], found[0].median >= limit, found[1])

    def _add(
        self, case: str, target: str, found: Summary | None, met: bool | None, against: str = ""
    ) -> None:
        figure = "not measured"
        if found is not None:
            figure = f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
        self.found.append(Verdict(case, target, figure, met, against))


def verdicts(rounds: Rounds) -> list[Verdict]:
    """Every target of the project, judged by one run."""
    judge = _Judge(rounds)
    _appending(judge)
    _grouping(judge)
    _bursting(judge)
    _replaying(judge)
    _opening(judge)
    _holding_up(judge, rounds)
    _slices(judge, rounds)
    _trading(judge)
    _keys(judge, rounds)
    _sizes(judge)
    _memory(judge, rounds)
    _finding(judge, rounds)
    _idling(judge, rounds)
    _refolding(judge)
    return judge.found


def _appending(judge: _Judge) -> None:
    one = "one awaiter||"
    for name, limit in (("EventStore", 1.6), ("EventStore (uvloop)", 1.3)):
        judge.at_most(
            "one awaiter, p50",
            f"{name}: at most {limit} times the bare limit",
            judge.ratio(one + name, one + "write + fdatasync", "p50"),
            limit,
        )
    for ours, peer in (
        ("EventStore", "aiosqlite"),
        ("EventStore (uvloop)", "aiosqlite (uvloop)"),
    ):
        judge.at_most(
            "one awaiter, p50",
            f"{ours}: at most half of {peer}",
            judge.ratio(one + ours, one + peer, "p50"),
            0.5,
        )
    many = "awaiters|64|"
    plain = ("aiosqlite", "py-event-sourcing", "eventsource-py", "Redis")
    for ours, peers in (
        ("EventStore", plain),
        ("EventStore (uvloop)", (*plain, "aiosqlite (uvloop)")),
    ):
        judge.at_least(
            "64 awaiters",
            f"{ours}: at least 4 times the best asyncio peer",
            judge.best(many + ours, [many + peer for peer in peers], "per event"),
            4.0,
        )

    for ours, peer, limit in (
        ("EventStore", "aiosqlite", 4.0),
        ("EventStore (uvloop)", "aiosqlite (uvloop)", 3.0),
    ):
        judge.at_least(
            "64 awaiters",
            f"{ours}: at least {limit:g} times {peer}",
            judge.best(many + ours, [many + peer], "per event"),
            limit,
        )


def _bursting(judge: _Judge) -> None:
    for ours in ("EventStore", "EventStore (uvloop)"):
        for events in LONG_BURSTS:
            judge.at_most(
                "burst",
                f"{ours}: {events:,} events, at most twice as long for each as groups of 1000",
                judge.ratio(f"burst|{events}|{ours}", f"groups|1000|{ours}", "per event"),
                2.0,
            )


def _idling(judge: _Judge, rounds: Rounds) -> None:
    for key, cells in rounds.items():
        case, stores, ours = key.split("|")
        if case != "idle stores":
            continue
        for figure, limit, scale, words in (
            ("threads", 10.0, 1.0, "at most 10 threads"),
            ("disk", 1.0, 1e-6, "at most 1 MB on the disk for each"),
            ("open", 2.0, 1e3, "at most 2 ms to open each"),
            ("processor, percent", 0.2, 1.0, "under 0.2 % of a processor"),
        ):
            found = [figures[figure] * scale for figures in cells if figures is not None]
            judge.at_most(
                "idle stores", f"{ours}, {stores} of them: {words}", summary(found), limit
            )


def _refolding(judge: _Judge) -> None:
    for variant in judge.variants("refolding", "EventStore"):
        cell = f"refolding|{variant}|EventStore"
        found = judge.ratio(cell, cell, "one process", "two processes")
        judge.at_least(
            "verify, folding again",
            f"{variant}: two processes at least 1.7 times as fast as one",
            None if found is None else (found, ""),
            1.7,
        )


def _grouping(judge: _Judge) -> None:
    group = "groups|1000|"
    judge.at_least(
        "groups of 1000",
        "EventLog: at least 1.3 times the best of LMDB, RocksDB and SQLite",
        judge.best(
            group + "EventLog",
            [group + peer for peer in ("LMDB", "RocksDB", "sqlite3", "APSW", "aiosqlite")],
            "per event",
        ),
        1.3,
    )
    for peer, limit, words in (
        ("eventsourcing", 10.0, "at least 10 times eventsourcing"),
        ("sqlite3 folding", 1.0, "not behind SQLite that folds the same"),
    ):
        judge.at_least(
            "groups of 1000",
            f"EventStore: {words}",
            judge.best(group + "EventStore", [group + peer], "per event"),
            limit,
        )


def _replaying(judge: _Judge) -> None:
    peers = [f"replay|one row each|{peer}" for peer in READERS]
    for variant, limit in (
        ("records of 1", 1.0),
        ("records of 64", 1.4),
        ("records of 1000", 1.4),
        ("archive", 1.4),
    ):
        words = "not behind any peer" if limit == 1.0 else "at least 1.4 times the best peer"
        ours = f"replay|{variant}|EventStore"
        judge.at_least(
            "replay, decode only", f"{variant}: {words}", judge.best(ours, peers, "decode"), limit
        )
    for variant in ("records of 1", "records of 8", "records of 64", "records of 1000", "archive"):
        ours = f"replay|{variant}|EventStore"
        judge.at_least(
            "replay with handlers",
            f"{variant}: ahead of every peer",
            judge.best(ours, peers, "fold"),
            1.0,
        )
    judge.at_least(
        "replay with handlers",
        "records of 64: 20 times eventsourcing",
        judge.best(
            "replay|records of 64|EventStore", ["replay|one row each|eventsourcing"], "fold"
        ),
        20.0,
    )


def _opening(judge: _Judge) -> None:
    for variant in judge.variants("open after a crash", "EventStore"):
        cell = f"open after a crash|{variant}|EventStore"
        judge.at_most(
            "open after a crash",
            f"{variant}: at most 1.5 times the tail read, decoded and folded",
            judge.ratio(cell, cell, "whole", "read, decoded and folded"),
            1.5,
        )


def _trading(judge: _Judge) -> None:
    for tape in judge.variants("trading fold", "EventStore"):
        cell = f"trading fold|{tape}|EventStore"
        judge.at_most(
            "trading fold",
            f"{tape}: exact at most 2.5 times the float fold of before",
            judge.ratio(cell, cell, "exact", "float"),
            2.5,
        )


def _slices(judge: _Judge, rounds: Rounds) -> None:
    for ours in ("EventStore", "EventStore (uvloop)"):
        for work in judge.variants("slices", ours):
            figures = [one for one in rounds[f"slices|{work}|{ours}"] if one is not None]
            judge.at_most(
                "loop hold-up",
                f"{ours}, {work}: p99 at most 1 ms more than idle",
                summary([one["more than idle, p99"] * 1000 for one in figures]),
                1.0,
            )


def _keys(judge: _Judge, rounds: Rounds) -> None:
    for variant in judge.variants("keys", "EventStore"):
        figures = [one for one in rounds[f"keys|{variant}|EventStore"] if one is not None]
        for figure, scale, limit, words in (
            ("unknown", 1e6, 5.0, "an unknown key found so in at most 5 µs"),
            ("resident", 1.0, 40.0, "at most 40 bytes a key in memory"),
        ):
            found = summary([one[figure] * scale for one in figures])
            judge.at_most("keys", f"{variant} keys: {words}", found, limit)


def _sizes(judge: _Judge) -> None:
    """Judge the growth from each size to the next, which is ten times as large."""
    sizes = judge.variants("size", "EventStore")
    for smaller, larger in itertools.pairwise(sizes):
        cells = [f"size|{size}|EventStore" for size in (larger, smaller)]
        for figure in ("open", "moment", "catch up"):
            judge.at_most(
                "growth",
                f"{figure}: from {smaller} to {larger} events at most 1.2 times as long",
                judge.ratio(cells[0], cells[1], figure),
                1.2,
            )


def _holding_up(judge: _Judge, rounds: Rounds) -> None:
    for ours in ("EventStore", "EventStore (uvloop)"):
        for variant in judge.variants("hold-up", ours):
            found = [
                figures["more than idle, p99.9"] * 1000
                for figures in rounds[f"hold-up|{variant}|{ours}"]
                if figures is not None
            ]
            judge.at_most(
                "loop hold-up",
                f"{ours}: p99.9 at most 1 ms more than idle",
                summary(found),
                1.0,
            )


def _memory(judge: _Judge, rounds: Rounds) -> None:
    for variant in judge.variants("memory", "EventStore"):
        for figures in rounds[f"memory|{variant}|EventStore"]:
            if figures is not None:
                grown = figures["growth"] / 2**20
                judge.at_most(
                    "memory",
                    f"{variant} events: flat (under 16 MiB from a fifth of it to all)",
                    Summary(grown, grown, grown, 1),
                    16.0,
                )


def _finding(judge: _Judge, rounds: Rounds) -> None:
    for case, figure, words, unit, limit in (
        ("one event", "segment, by path p50", "a segment's, by path: at most 100 us", 1e6, 100.0),
        ("one event", "archive, by path p50", "an archive's, by path: at most 500 us", 1e6, 500.0),
        ("moments", "p50", "at most 100 ms", 1e3, 100.0),
    ):
        for variant in judge.variants(case, "EventStore"):
            measured = rounds[f"{case}|{variant}|EventStore"]
            found = [one[figure] * unit for one in measured if one is not None]
            judge.at_most(f"{case}, p50", f"{variant}: {words}", summary(found), limit)
    for case, figure, other, words in (
        (
            "moments",
            "p50, five times the events",
            "p50",
            "five times the events: 1.2 times as long",
        ),
        ("following", "events", "read_events", "events: 1.2 times as long as read_events"),
        ("following", "subscribe", "events", "a subscription: 1.2 times as long as events"),
    ):
        for variant in judge.variants(case, "EventStore"):
            cell = f"{case}|{variant}|EventStore"
            found_ratio = judge.ratio(cell, cell, figure, other)
            judge.at_most(case, f"{variant}: {words} at most", found_ratio, 1.2)
