"""Draw the picture of the rooms: `python docs/architecture.py` writes `docs/images/rooms.svg`.

The rooms and their order are read from the first import contract in `pyproject.toml`, so that the
picture shows the order that `lint-imports` enforces. The picture needs no font, script or style
from elsewhere, and follows the reader's choice of light or dark colours.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "rooms.svg"

DUTIES = {
    "replication": "the log on a cluster, and standbys that follow",
    "cli": "the command eventstore, and the message where its extra is missing",
    "command_line": "the commands: options, output, exit statuses",
    "analysis": "events as tables for analysts, and states over time",
    "tools": "the engines of the commands, such as verify",
    "repair": "a damaged store read over its damage, diagnosed and repaired",
    "demo": "a trading loop that is killed",
    "metrics": "stats() for other systems",
    "testing": "for users' tests: checks, disk, venue",
    "history": "built on open stores: branch a history, compare two",
    "store": "EventStore: operations become state",
    "event_log": "EventLog: values without a state",
    "open_store": "the parts of an open EventStore: append path, keys, reading, closing",
    "recovery": "examine, fold, repair: before a store serves anybody",
    "following": "the events of a store in any process, once durable",
    "key_recovery": "the identity keys of a store at an opening",
    "recovery_words": "the report of an opening, in words",
    "reading": "history by number or time, and following",
    "directory": "a store's directory: made, locked, cleared",
    "snapshot": "the state as of one number, in a file of its own",
    "intents": "what is recorded before an act outside, and settled after",
    "keys": "identity keys: the index of known keys, in memory and in runs on disk",
    "log": "a durable order of encoded events: commits, segments, archives, tails",
    "blocking_calls": "calls on threads beside the event loop",
    "detached_work": "work that nobody can cancel",
    "shared_threads": "the threads that all stores of a process share",
    "named_cursors": "places of consumers, kept beside the log",
    "model": "operations, handlers, states",
    "disk": "the only way to files",
    "config": "settings",
    "config_file": "settings from a file",
    "shutdown": "an orderly end on SIGTERM",
    "operator_log": "messages that no handler makes fail",
    "standing_warnings": "trouble told once, its end once",
    "key_config": "settings of identity keys",
    "replication_config": "settings of replication",
    "clock": "times",
    "timelines": "the unbroken histories of appends, and a cursor compared with them",
    "cursor": "a place in one history",
    "moment": "a number, a time or a cursor",
    "arguments": "refused arguments",
    "foreign_values": "scalars of numpy and pandas, and cures",
    "missing_await": "what is awaited or entered",
    "interrupted_import": "Ctrl-C before a command begins",
    "histogram": "counts by powers of two",
    "recovery_and_stats": "RecoveryReport and StoreStats",
    "os_errors": "OSError translated once",
    "errors": "every error in one tree",
    "live_errors": "errors of appends, cursors, intents, subscribers and tables",
    "replication_errors": "errors of replication",
    "lock_owner": "who has the lock of a store",
    "error_base": "the bases of all errors",
}
"""The duty of each room."""

UNSEEN = {"__main__"}
"""Modules of the contract that are no room."""

PATHS = {
    "append": (
        "A",
        "#2563eb",
        "store open_store shared_threads model log disk reading snapshot clock",
    ),
    "open": (
        "O",
        "#c2410c",
        "store missing_await blocking_calls config disk recovery directory snapshot log model "
        "recovery_and_stats",
    ),
    "replay": ("R", "#15803d", "reading moment snapshot log model disk"),
    "snapshot": ("S", "#7e22ce", "store snapshot log model disk clock"),
}
"""Letter, colour and rooms of each path that the page follows."""

WIDTH, HEIGHT, GAP, MARGIN = 900, 46, 8, 16
IN_A_ROW, CLOSE = 3, 3
"""Rooms beside each other at most, and the gap between two rows of one layer."""
CHARACTER = 6.6
"""The width of a character of a duty, on average."""

STYLE = """
  svg { font-family: system-ui, sans-serif; font-size: 13px; }
  .page { fill: #ffffff; } .room { fill: #f1f5f9; stroke: #94a3b8; }
  .outside { fill: none; stroke: #94a3b8; stroke-dasharray: 5 4; }
  .name { font-weight: 600; font-family: ui-monospace, monospace; } text { fill: #0f172a; }
  .duty { fill: #475569; } .mark { fill: #ffffff; font-size: 10px; font-weight: 700; }
  .arrow { stroke: #64748b; stroke-width: 1.5; } .head { fill: #64748b; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #1e2129; } .room { fill: #2b303b; stroke: #64748b; } text { fill: #e2e8f0; }
    .duty { fill: #b6c2d1; } .mark { fill: #ffffff; } .arrow { stroke: #94a3b8; }
    .head { fill: #94a3b8; } .outside { stroke: #64748b; }
  }
"""


def layers() -> list[list[str]]:
    """Return the rooms, top to bottom, as the import contract orders them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (rooms,) = [one["layers"] for one in contracts if one.get("containers") == ["eventstore"]]
    found = [[name.strip() for name in layer.split("|")] for layer in rooms]
    return [layer for layer in found if not UNSEEN.intersection(layer)]


def draw() -> str:
    """Return the picture as SVG."""
    inner = WIDTH - 2 * MARGIN - 44
    parts: list[str] = []
    y = MARGIN
    parts += _box("outside", "your program, handlers", _HANDLERS, MARGIN, y, inner, ())
    for layer in layers():
        y += HEIGHT + GAP
        for first in range(0, len(layer), IN_A_ROW):
            row = layer[first : first + IN_A_ROW]
            if first:
                y += HEIGHT + CLOSE
            width = (inner - GAP * (len(row) - 1)) / len(row)
            for place, room in enumerate(row):
                marks = [
                    (letter, colour)
                    for letter, colour, rooms in PATHS.values()
                    if room in rooms.split()
                ]
                parts += _box(
                    "room", room, DUTIES[room], MARGIN + place * (width + GAP), y, width, marks
                )
    y += HEIGHT + GAP
    parts += _box("outside", "a store's directory", _DIRECTORY, MARGIN, y, inner, ())
    right = WIDTH - MARGIN - 18
    parts += [
        f'<line class="arrow" x1="{right}" y1="{MARGIN}" x2="{right}" y2="{y + HEIGHT - 10}"/>',
        f'<path class="head" d="M{right - 6} {y + HEIGHT - 12} h12 l-6 12 z"/>',
        f'<text class="duty" transform="translate({right + 16} {MARGIN + 4}) rotate(90)">'
        "a room imports from the rooms below it, and from none beside it or above</text>",
    ]
    y += HEIGHT + 22
    x = float(MARGIN)
    for path, (letter, colour, _) in PATHS.items():
        parts += _mark(letter, colour, x + 8, y)
        parts.append(f'<text x="{x + 22}" y="{y + 4}">{path}</text>')
        x += 110
    parts.append(f'<text class="duty" x="{x}" y="{y + 4}">the paths that are followed below</text>')
    height = y + 22
    title = "The rooms of eventstore, from the command line down to errors"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


_HANDLERS = "they import public names only; no room imports them"
_DIRECTORY = "store.json, log/, snapshots/, archive/, quarantine/: reached through disk only"


def _box(
    kind: str,
    name: str,
    duty: str,
    x: float,
    y: float,
    width: float,
    marks: tuple[tuple[str, str], ...] | list[tuple[str, str]],
) -> list[str]:
    if len(duty) * CHARACTER > width - 10:
        raise ValueError(f"the duty of {name} is too long for its box: {duty!r}")
    place = f'x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{HEIGHT}"'
    parts = [
        f'<rect class="{kind}" {place} rx="6"/>',
        f'<text class="name" x="{x + 10:.0f}" y="{y + 19:.0f}">{escape(name)}</text>',
        f'<text class="duty" x="{x + 10:.0f}" y="{y + 37:.0f}">{escape(duty)}</text>',
    ]
    for number, (letter, colour) in enumerate(reversed(marks)):
        parts += _mark(letter, colour, x + width - 14 - 20 * number, y + 14)
    return parts


def _mark(letter: str, colour: str, x: float, y: float) -> list[str]:
    return [
        f'<circle cx="{x:.0f}" cy="{y:.0f}" r="8" fill="{colour}"/>',
        f'<text class="mark" x="{x:.0f}" y="{y + 3.5:.1f}" text-anchor="middle">{letter}</text>',
    ]


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
