"""The plots: bars for each question, lines for growth.

Colours tell the contenders apart: this store's bars are one colour, the bare limit another, peers a
third. Scales are logarithmic, because the contenders are far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.cases import CASES
from benchmarks.figures import Rounds, Summary, summary

__all__ = ["draw"]

mpl.use("Agg")

OURS, LIMIT, PEERS = "#1f6f8b", "#888888", "#d9a441"

Bar = tuple[str, Summary]


def draw(rounds: Rounds, output: Path) -> None:
    """Draw all measurements into `output`."""
    commits = [
        ("one awaiter||", "p50", 1e6, "one awaiter, p50, µs"),
        ("awaiters|64|", "per event", 1e6, "64 awaiters, µs per event"),
        ("awaiters|1000|", "per event", 1e6, "1000 awaiters, µs per event"),
        ("groups|1000|", "per event", 1e6, "groups of 1000, µs per event"),
    ]
    _panels(rounds, commits, output / "commit.png", "A durable append (shorter is better)")
    reading = [
        ("replay|", "decode", 1e9, "decoded, ns per event"),
        ("replay|", "fold", 1e9, "folded by the same handlers, ns per event"),
    ]
    _panels(rounds, reading, output / "replay.png", "Reading history (shorter is better)")
    others = [
        ("open after a crash|", "whole", 1e3, "open after a crash, ms"),
        ("hold-up|", "longest", 1e3, "longest hold-up of the loop, ms"),
        ("disk space|", "bytes", 1.0, "bytes on disk per event"),
        ("starting|import|", "seconds", 1e3, "import, ms"),
    ]
    _panels(rounds, others, output / "others.png", "Opening, holding up, space, importing")
    _growth(rounds, output / "growth.png")
    _sizes(rounds, output / "sizes.png")


def _panels(
    rounds: Rounds, panels: Sequence[tuple[str, str, float, str]], path: Path, title: str
) -> None:
    found = [
        (bars, label)
        for prefix, figure, scale, label in panels
        if (bars := _bars(rounds, prefix, figure, scale))
    ]
    if not found:
        return
    columns = 2 if len(found) > 1 else 1
    lines = -(-len(found) // columns)
    longest = max(len(bars) for bars, _ in found)
    drawing = Figure(figsize=(6.5 * columns, lines * (0.9 + 0.27 * longest)), layout="constrained")
    axes = drawing.subplots(lines, columns, squeeze=False)
    for place, (bars, label) in zip(axes.flat, found, strict=False):
        _horizontal(place, bars, label)
    for place in axes.flat[len(found) :]:
        place.set_visible(False)
    drawing.suptitle(title)
    drawing.savefig(path, dpi=110)


def _bars(rounds: Rounds, prefix: str, figure: str, scale: float) -> list[Bar]:
    bars = []
    for key, found in rounds.items():
        if not key.startswith(prefix):
            continue
        one = summary([figures[figure] * scale for figures in found if figures is not None])
        if one is not None:
            _, variant, contender = key.split("|")
            several = prefix.count("|") == 1
            bars.append((f"{contender}, {variant}" if several and variant else contender, one))
    return sorted(bars, key=lambda bar: -bar[1].median)


def _horizontal(place: Any, bars: Sequence[Bar], label: str) -> None:
    names = [name for name, _ in bars]
    most = max(one.median for _, one in bars)
    medians = [max(one.median, most / 1e4) for _, one in bars]  # a difference may be below zero
    errors = [
        [max(0.0, one.median - one.low) for _, one in bars],
        [max(0.0, one.high - one.median) for _, one in bars],
    ]
    colours = [
        OURS if name.startswith("Event") else LIMIT if name.startswith("write") else PEERS
        for name in names
    ]
    place.barh(names, medians, xerr=errors, color=colours, ecolor="#444444", height=0.7)
    place.set_xscale("log")
    place.set_xlabel(label)
    place.tick_params(labelsize=8)
    place.set_xlim(min(medians) / 2, most * 12)
    for number, (_, one) in enumerate(bars):
        place.annotate(
            f" {one.median:,.3g}" if one.median < 1000 else f" {one.median:,.0f}",
            (most * 2.5, number),
            va="center",
            fontsize=8,
        )


def _sizes(rounds: Rounds, path: Path) -> None:
    """Draw what each figure of the case `size` comes to, by the number of events."""
    case = CASES["size"]
    lines: dict[str, list[tuple[float, float]]] = {figure: [] for figure in case.figures}
    for key, found in rounds.items():
        name, size, _ = key.split("|")
        for figure in case.figures if name == case.name else ():
            one = summary([figures[figure] for figures in found if figures is not None])
            if one is not None:
                lines[figure].append((float(size.replace(",", "")), one.median))
    if not any(lines.values()):
        return
    drawing = Figure(figsize=(3.2 * len(lines), 3.0), layout="constrained")
    axes = drawing.subplots(1, len(lines), squeeze=False)[0]
    for place, (figure, points) in zip(axes, lines.items(), strict=True):
        scale, unit = (2.0**-20, "MiB") if case.figures[figure] == "MB" else (1e3, "ms")
        across, up = zip(*sorted(points), strict=True)
        place.plot(across, [value * scale for value in up], "o-", color=OURS)
        place.set_xscale("log")
        place.set_ylim(0, 1.1 * max(up) * scale)
        place.set_xlabel("events recorded before", fontsize=8)
        place.set_ylabel(f"{figure}, {unit}", fontsize=8)
        place.tick_params(labelsize=8)
    drawing.suptitle("Cost against the size of the history")
    drawing.savefig(path, dpi=110)


def _growth(rounds: Rounds, path: Path) -> None:
    lines: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for key, found in rounds.items():
        case, variant, contender = key.split("|")
        if case != CASES["growth"].name:
            continue
        one = summary([figures["per event"] for figures in found if figures is not None])
        if one is None:
            continue
        question, _, rest = variant.partition(", ")
        sweep, _, point = rest.partition(" ")
        points = lines.setdefault((question, sweep), {}).setdefault(contender, [])
        points.append((float(point.replace(",", "")), one.median * 1e6))
    if not lines:
        return
    questions = list(dict.fromkeys(question for question, _ in lines))
    sweeps = list(dict.fromkeys(sweep for _, sweep in lines))
    units = {
        "history": "events recorded before",
        "state": "positions in the state",
        "payload": "bytes added to the payload",
    }
    drawing = Figure(figsize=(4.2 * len(sweeps), 3.0 * len(questions)), layout="constrained")
    axes = drawing.subplots(len(questions), len(sweeps), squeeze=False)
    for row, question in enumerate(questions):
        for column, sweep in enumerate(sweeps):
            place = axes[row][column]
            for contender, points in lines.get((question, sweep), {}).items():
                across, up = zip(*sorted(points), strict=True)
                ours = contender.startswith("Event")
                place.plot(across, up, "o-", label=contender, color=OURS if ours else PEERS)
            place.set_xscale("symlog", linthresh=10)
            place.set_ylim(bottom=0)
            place.set_xlabel(units[sweep], fontsize=8)
            place.set_ylabel(f"{question}, µs per event", fontsize=8)
            place.tick_params(labelsize=8)
            place.legend(fontsize=7)
    drawing.suptitle("How it grows")
    drawing.savefig(path, dpi=110)
