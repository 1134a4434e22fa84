"""The output of the demonstration: a line and a bar per life, and tables at the end.

Without a terminal there is no bar and no control code, so that a log of the output is readable.
Text is ASCII, whatever the terminal's encoding.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from eventstore.demo.run import DemoOptions, Life, Result, Tape
from eventstore.demo.strategy import DEFAULT_RULES
from eventstore.recovery_and_stats import StoreStats

__all__ = ["Screen", "show_result"]


class Screen:
    """A view of a run on a console. The progress bar exists only within its `with` block."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("events"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin(self, options: DemoOptions, tape: Tape, store: Path) -> None:
        self._bar.update(self._task, total=tape.events)
        self._say(
            f"[bold]{escape(tape.path.name)}[/]: {tape.prints:,} prints, of which the "
            f"strategy makes {tape.fills:,} fills: {tape.events:,} events to record"
        )
        self._say(f"store {escape(str(store))}, {options.kills} kills, seed {options.seed}\n")

    def recovered(self, life: Life) -> None:
        self._bar.update(
            self._task, description=f"life {life.number}, trading", completed=life.found
        )

    def advance(self, life: Life) -> None:
        self._bar.update(self._task, completed=life.acknowledged)

    def ended(self, life: Life) -> None:
        found = life.recovery
        if found is None:
            self._say(f"life {life.number}: [red]SIGKILL[/] while it was opening the store")
            return
        begin = "began a new store" if not found.seq else f"recovered {found.seq:,} events"
        if life.in_doubt:
            begin += f", {life.in_doubt} {_plural('order', life.in_doubt)} in doubt,"
        end = (
            f"[red]SIGKILL[/] after event {life.acknowledged or found.seq:,} was acknowledged"
            if life.killed
            else f"[green]end of the tape[/] at event {max(life.acknowledged, found.seq):,}"
        )
        self._say(f"life {life.number}: {begin} in {_seconds(found.seconds)}; {end}")

    def verifying(self) -> None:
        self._bar.update(self._task, description="comparing with the ledger")

    def _say(self, text: str) -> None:
        self._bar.console.print(text, highlight=False, soft_wrap=True)


def show_result(console: Console, result: Result) -> None:
    """Print the tables, the verdict, and commands to try next."""
    console.print()
    console.print(_lives(result))
    console.print(_summary(result))
    for check in result.verification.checks:
        mark = "[red]NO [/]" if check.wrong else "[green]yes[/]"
        console.print(f"{mark} {check.question}", highlight=False, soft_wrap=True)
        for difference in check.wrong:
            console.print(f"    {difference}", highlight=False, markup=False, soft_wrap=True)
    console.print()
    if result.verification.passed:
        kills = sum(life.killed for life in result.lives)
        often = "once" if kills == 1 else f"{kills} times"
        console.print(
            f"[green bold]Nothing lost, nothing doubled[/]: killed {often}, and both "
            "processes have the ledger's state, exactly.",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print(
            "[red bold]The store is not what it must be.[/] It is kept: "
            f"{escape(str(result.store))}",
            highlight=False,
            soft_wrap=True,
        )
    _next_steps(console, result)


def _lives(result: Result) -> Table:
    table = Table(title="The lives of the trading process", title_justify="left")
    for heading in (
        "life", "found", "recovery", "snapshot", "folded", "torn", "in doubt", "recorded",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    table.add_column("ended")
    for life in result.lives:
        found = life.recovery
        ended = "SIGKILL" if life.killed else "tape over"
        if found is None:
            table.add_row(str(life.number), *["-"] * 7, "in opening")
            continue
        table.add_row(
            str(life.number),
            f"{found.seq:,}",
            _seconds(found.seconds),
            f"at {found.snapshot_seq:,}" if found.snapshot else "none",
            f"{found.events_folded:,}",
            f"{found.torn_bytes:,} B" if found.torn_bytes else "-",
            f"{life.in_doubt}" if life.in_doubt else "-",
            f"{life.recorded:,}",
            ended,
        )
    return table


def _summary(result: Result) -> Table:
    lives = [life for life in result.lives if life.recovery is not None]
    stats = [life.stats for life in lives if life.stats is not None and life.stats.syncs]
    recoveries = [life.recovery.seconds for life in lives if life.recovery and life.found]
    trading = sum(life.trading for life in lives)
    recorded = sum(life.recorded for life in lives)
    table = Table(title="What it took", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("how much")
    commits = sum(one.commits for one in stats)
    covered = sum(one.events for one in stats)
    table.add_row("events in the store", f"{result.verification.events:,}")
    table.add_row("commits", f"{commits:,} for {covered:,} events (as each life last reported)")
    again = sum(one.told_again for one in lives)
    table.add_row("fills told again", f"{again:,}, none recorded twice (as last reported)")
    table.add_row("events per second", f"{recorded / trading:,.0f}" if trading else "-")
    table.add_row("fdatasync p50", _range(stats, "sync_p50"))
    table.add_row("fdatasync p99", _range(stats, "sync_p99"))
    table.add_row("snapshots", f"{sum(one.snapshots for one in stats):,}")
    table.add_row("segments archived", f"{sum(one.segments_archived for one in stats):,}")
    table.add_row(
        "recoveries",
        f"{len(recoveries)}, in {_seconds(min(recoveries))} to {_seconds(max(recoveries))}"
        if recoveries
        else "0",
    )
    followed = result.verification.followed
    table.add_row(
        "second process", f"followed {followed.seq:,} events to state {followed.digest[:12]}"
    )
    table.add_row("whole run", f"{result.seconds:.1f} s")
    ledger = result.verification.ledger
    profit = ledger.equity - Fraction(DEFAULT_RULES.capital)
    realized, unrealized = _money(ledger.realized_pnl), _money(ledger.unrealized_pnl)
    table.add_row("realised profit", f"{realized} before fees of {_money(ledger.fees)}")
    table.add_row("unrealised profit", f"{unrealized} at the last price")
    table.add_row(
        "the strategy " + ("made" if profit >= 0 else "lost"),
        f"{_money(abs(profit))} of {DEFAULT_RULES.capital:,}",
    )
    return table


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _money(exact: Fraction) -> str:
    """An amount of money for the reader. The comparison had every digit."""
    return f"{float(exact):,.2f}"


def _range(stats: list[StoreStats], name: str) -> str:
    values = [getattr(one, name) for one in stats]
    if not values:
        return "-"
    low, high = _seconds(min(values)), _seconds(max(values))
    return low if low == high else f"{low} to {high}"


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    if value < 1.0:
        return f"{value * 1e3:.1f} ms"
    return f"{value:.2f} s"


def _next_steps(console: Console, result: Result) -> None:
    where = str(result.store) if result.kept else "DIR"
    steps = [
        f"eventstore info {where}",
        f"eventstore events {where} --to 5",
        "docs/guarantees.md, docs/format.md, docs/writing-a-handler.md",
    ]
    if not result.kept:
        steps.insert(0, "eventstore demo --store DIR --kills 20    (and keep the store)")
    console.print("\nWhat to try next:", highlight=False)
    for step in steps:
        console.print(f"  {step}", highlight=False, markup=False, soft_wrap=True)
