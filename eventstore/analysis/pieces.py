"""A history cut into pieces, for one process after the other or for several at the same time.

Theory of operation
-------------------
Decoding events and taking them apart is work of the interpreter, and the work of other processes
costs this one little. So a history is cut, and a crew (`reading/fold_crew.py`) works on the pieces.

The pieces do not depend on the number of processes. One process works on the same pieces, one after
the other. So whatever is made of them is the same for any number.

A piece is one or more files of the history, since a file is verified and read as a whole. A file of
very many events is cut further, so that memory is bounded. Such a piece is found without reading
the file through (`log/seek.py`). Where damage is passed over, all is one piece: a gap may go on
from file to file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

import msgspec

from eventstore.analysis.selected_history import SelectedHistory
from eventstore.disk.listing import Listing
from eventstore.disk.manifest import load_manifest
from eventstore.log.seek import SHORT
from eventstore.tools.selection import Selection

__all__ = ["Piece", "pieces_of"]

PlanT = TypeVar("PlanT")

LEAST = SHORT
"""Events of a piece that ends with a file, and the events of a piece of a large file."""
MOST = 4 * SHORT
"""Events of a file that is not cut."""


class Piece(NamedTuple, Generic[PlanT]):
    """Some events, and what is to be made of them. `wanted` has numbers for start and stop."""

    wanted: Selection
    plan: PlanT


def pieces_of(history: SelectedHistory, first: int, plan: PlanT) -> list[Piece[PlanT]]:
    """Cut the events from number `first` on."""
    whole = history.wanted
    if first > history.last:
        return []
    begins = [first] if whole.skip_damage else list(_begins(history, first))
    found: list[Piece[PlanT]] = []
    for begin, end in zip(begins, [*begins[1:], history.last + 1], strict=True):
        wanted = msgspec.structs.replace(whole, start=begin, stop=end)
        found.append(Piece(wanted, plan))
    return found


def _begins(history: SelectedHistory, first: int) -> Iterator[int]:
    """Yield the first event of each piece."""
    manifest, listing = load_manifest(history.disk), Listing.read(history.disk)
    files = [begin for begin, _, _ in manifest.archived]
    files += [begin for begin in listing.segments if begin >= manifest.log_start]
    begins = sorted(begin for begin in {first, *files} if first <= begin <= history.last)
    due = first  # the file from here on begins a piece
    for begin, end in itertools.pairwise([*begins, history.last + 1]):
        if end - begin > MOST:
            yield from range(begin, end, LEAST)
            due = end
        elif begin >= due:
            yield begin
            due = begin + LEAST
