"""A case: the cells to measure, and how to measure one.

A *cell* is one case for one contender in one variant, with the sizes of the chosen profile. The
measurement is a handful of figures, by name, in seconds, bytes or counts. Cells travel to the
workers as JSON, so cells hold plain values only.

A *history* is the contents of the folder before the measurement. Each history is made once for each
adapter. A cell reads the history in place, unless the cell says `copied` because of changes.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from benchmarks.contenders import Contender
from benchmarks.peers.base import Peer

__all__ = ["Case", "Cell", "History", "Profile", "Task"]

Profile = Literal["tiny", "quick", "full"]
Options = Mapping[str, int | float | str]


class History(msgspec.Struct, frozen=True):
    """Events on disk, and the way of writing them."""

    events: int
    group: int = 1000
    symbols: int = 20
    size: int = 0
    positions: int = 0
    """The history begins with so many positions, one event each, beyond `events`."""

    tail: int | None = None
    """Events after the last snapshot. `None`: no snapshot."""

    every: int = 100_000
    """Events between snapshots."""

    crash: bool = False
    """Whether the writing process ended without closing anything."""

    segment_size: int | None = None
    """Bytes of a segment, for this store only. All segments but the last are in the archive."""


class Cell(msgspec.Struct, frozen=True):
    """One measurement to be made in every round."""

    case: str
    variant: str
    contender: str
    options: Options
    history: History | None = None
    copied: bool = False
    fresh: bool = False
    """Whether the cell has a process of its own, rather than the contender's."""

    once: bool = False
    """Whether the cell runs in the first round only, because no round changes the outcome."""

    @property
    def key(self) -> str:
        """Name of the figures."""
        return f"{self.case}|{self.variant}|{self.contender}"


class Task(msgspec.Struct, frozen=True):
    """A worker's task: the contender, the folder, and the sizes."""

    adapter: type[Peer]
    folder: Path
    """Folder of this measurement: empty, or a copy of the history."""

    options: Options
    history: History | None = None

    def count(self, name: str) -> int:
        """Return an option that is a count."""
        return int(self.options[name])


class Case(abc.ABC):
    """A question."""

    name: ClassVar[str]
    title: ClassVar[str]
    headline: ClassVar[str]
    """Name of the figure for ratios."""

    figures: ClassVar[dict[str, str]]
    """Figures, and the unit in which each is shown: `us`, `ms`, `s`, `ns`, `/s`, `MB`
    or `B`.
    """

    reference: ClassVar[str] = "EventStore"
    """Name of the contender to which ratios are taken."""

    more_is_better: ClassVar[bool] = False

    @abc.abstractmethod
    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        """Return the cells of a profile, for the present contenders."""

    @abc.abstractmethod
    async def run(self, task: Task) -> dict[str, float]:
        """Measure one cell."""

    @staticmethod
    def only(contenders: Sequence[Contender], names: Iterable[str]) -> list[Contender]:
        """Return the contenders with the given names."""
        wanted = set(names)
        return [contender for contender in contenders if contender.name in wanted]
