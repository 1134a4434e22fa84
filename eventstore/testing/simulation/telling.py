"""A failed run as a time line in plain words, for a person in search of a mistake.

Theory of operation
-------------------
The story of a run has the deeds outside of the store: messages, deaths, faults. The history has the
store's events, each with the next state. An entry of the story knows the last durable event at the
moment, so both are merged exactly, also within one instant.

An event is told with the changed fields of the state, each before and after.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eventstore.history.compare import differences
from eventstore.model.intent_settled import IntentSettled
from eventstore.model.operation import Event
from eventstore.testing.simulation.checks import Finding
from eventstore.testing.simulation.run import Run
from eventstore.testing.simulation.world import EPOCH, Entry

__all__ = ["tell", "time_line"]

_WIDTH = 10
_SHOWN_LINES = 150
_SHOWN_CHANGES = 3
_ARROW = "   <- "
_SHOWN_FINDINGS = 8
_LONG = 60


def tell(run: Run) -> str:
    """Tell the findings and the time line of a run."""
    shown = [str(finding) for finding in run.findings[:_SHOWN_FINDINGS]]
    if len(run.findings) > _SHOWN_FINDINGS:
        shown.append(f"and {len(run.findings) - _SHOWN_FINDINGS} more")
    notes = [f"nobody looked at: {note}" for note in run.notes]
    return "\n".join([*shown, "", *_shortened(time_line(run)), *notes])


def _shortened(lines: list[str]) -> list[str]:
    """Leave out the lines behind the last mistake, then the first ones, if there are many."""
    if len(lines) <= _SHOWN_LINES:
        return lines
    marked = [number for number, line in enumerate(lines) if _ARROW in line]
    end = min(len(lines), marked[-1] + 5) if marked else len(lines)
    begin = max(0, end - _SHOWN_LINES)
    shown = lines[begin:end]
    if begin:
        shown.insert(0, f"... {begin} earlier lines")
    if end < len(lines):
        shown.append(f"... {len(lines) - end} later lines")
    return shown


def time_line(run: Run) -> list[str]:
    """Return a line for each deed: seconds, name, and deed."""
    lines = []
    for entry in _merged(run):
        line = f"{entry.time:8.3f}  {entry.who:{_WIDTH}}{entry.text}"
        found = [finding.kind for finding in run.findings if _is_shown_by(finding, entry)]
        lines.append(f"{line}{_ARROW}{', '.join(dict.fromkeys(found))}" if found else line)
    return lines


def _is_shown_by(finding: Finding, entry: Entry) -> bool:
    """Whether an entry of the time line is the place of a mistake."""
    if entry.who == "store":
        return finding.seq == entry.seq
    words = f"{entry.text},"
    return entry.who == "venue" and any(f"{part}," in words for part in finding.shown_by)


def _merged(run: Run) -> Iterator[Entry]:
    """Put the store's events between the entries of the story."""
    events = iter(()) if run.evidence is None else iter(_events(run.evidence))
    waiting = next(events, None)
    for entry in run.story:
        while waiting is not None and waiting.seq <= entry.seq:
            yield waiting
            waiting = next(events, None)
        yield entry
    while waiting is not None:
        yield waiting
        waiting = next(events, None)


def _events(evidence: Any) -> Iterator[Entry]:
    before = evidence.first
    for event, state in evidence.history:
        changed = _changes(before, state)
        told = f"event {event.seq}, {_operation(event)}{': ' if changed else ''}{changed}"
        yield Entry((event.time - EPOCH) / 1e9, event.seq, "store", told)
        before = state


def _operation(event: Event[Any]) -> str:
    data = event.data
    if isinstance(data, IntentSettled):
        return f"{event.operation} {data.id} {data.outcome}"
    for field in ("fill_id", "trade_id", "client_order_id", "decision"):
        if getattr(data, field, None):
            return f"{event.operation} {getattr(data, field)}"
    return str(event.operation)


def _changes(before: Any, after: Any) -> str:
    """Name the changed fields of a state, each with the values before and after."""
    if before is after:
        return ""
    found = [
        f"{change.path} {_short(change.one)} -> {_short(change.other)}"
        for change in differences(before, after)
    ]
    if len(found) > _SHOWN_CHANGES:
        found[_SHOWN_CHANGES:] = [f"and {len(found) - _SHOWN_CHANGES} more"]
    return ", ".join(found)


def _short(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}..."
