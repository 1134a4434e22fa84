"""`eventstore demo`: a trading loop that is killed again and again."""

from __future__ import annotations

from pathlib import Path

import click

from eventstore.command_line.command_declaration import command
from eventstore.command_line.exits import FINDINGS
from eventstore.command_line.output import Output
from eventstore.demo.report import Screen, show_result
from eventstore.demo.run import DemoOptions
from eventstore.demo.run import run as run_demo

__all__ = ["demo"]


@command(
    "demo",
    json=False,
    examples=[
        "eventstore demo",
        "eventstore demo --kills 20 --seed 7 --store /tmp/engine-state",
    ],
)
@click.option(
    "--tape",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another tape: CSV, or CSV in Zstandard or gzip.  [default: the one shipped]",
)
@click.option("--kills", type=click.IntRange(0, 1000), default=5, show_default=True)
@click.option("--seed", type=int, help="What the moments of the kills are drawn from.")
@click.option(
    "--store",
    type=click.Path(readable=False, file_okay=False, path_type=Path),
    help="The store's directory, which is kept.  [default: a temporary one]",
)
@click.option("--keep", is_flag=True, help="Keep a temporary store.")
def demo(
    out: Output,
    tape: Path | None,
    kills: int,
    seed: int | None,
    store: Path | None,
    keep: bool,
) -> None:
    """Kill a trading loop on real trades, again and again, and see that nothing is lost.

    Exits with status 1 if anything differs from an independent ledger.
    """
    given = {"tape": tape, "seed": seed, "store": store}
    chosen = {name: value for name, value in given.items() if value is not None}
    options = DemoOptions(kills=kills, keep=keep, **chosen)  # type: ignore[arg-type]  # mixed types
    if not out.terminal:
        out.console.width = 120
    with Screen(out.console) as screen:
        result = run_demo(options, screen)
    show_result(out.console, result)
    if not result.verification.passed:
        raise click.exceptions.Exit(FINDINGS)
