"""What a case is: cells to be measured, and how to measure one.

A *cell* is one case for one contender in one variant, with the sizes of the chosen profile. Its
measurement is a handful of figures, by name, in seconds, bytes or counts. Cells travel to the
workers as JSON, so they hold plain values only.

A *history* is what has to be in the folder before. It is made once for each adapter; a cell reads
it where it is, unless it says ``copied``, because it would change it.
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
    """Events on disk, and how they got there."""

    events: int
    group: int = 1000
    symbols: int = 20
    size: int = 0
    positions: int = 0
    """The history begins with so many positions, one event each, beyond ``events``."""

    tail: int | None = None
    """A snapshot was taken so many events before the end; ``None``: there is none."""

    crash: bool = False
    """The process that wrote it ended without closing anything."""

    segment_size: int | None = None
    """Of this store only: segments of so many bytes, and all but the last in the archive."""


class Cell(msgspec.Struct, frozen=True):
    """One measurement to be made in every round."""

    case: str
    variant: str
    contender: str
    options: Options
    history: History | None = None
    copied: bool = False
    fresh: bool = False
    """In a process of its own, rather than in the contender's."""

    once: bool = False
    """In the first round only: nothing about it changes from round to round."""

    @property
    def key(self) -> str:
        """The name under which its figures are kept."""
        return f"{self.case}|{self.variant}|{self.contender}"


class Task(msgspec.Struct, frozen=True):
    """What a worker needs to know: who, where, and how much."""

    adapter: type[Peer]
    folder: Path
    """For this measurement: an empty folder, or a copy of the history."""

    options: Options
    history: History | None = None

    def count(self, name: str) -> int:
        """An option that is a count."""
        return int(self.options[name])


class Case(abc.ABC):
    """A question."""

    name: ClassVar[str]
    title: ClassVar[str]
    headline: ClassVar[str]
    """The figure that ratios are made of."""

    figures: ClassVar[dict[str, str]]
    """The figures, and the unit in which each is shown: ``us``, ``ms``, ``s``, ``ns``, ``/s``,
    ``MB`` or ``B``."""

    reference: ClassVar[str] = "EventStore"
    """Whom ratios are to."""

    more_is_better: ClassVar[bool] = False

    @abc.abstractmethod
    def cells(self, profile: Profile, contenders: Sequence[Contender]) -> Iterator[Cell]:
        """The cells of a profile, for the contenders that are there."""

    @abc.abstractmethod
    async def run(self, task: Task) -> dict[str, float]:
        """Measure one cell."""

    @staticmethod
    def only(contenders: Sequence[Contender], names: Iterable[str]) -> list[Contender]:
        """Those of the contenders that are named."""
        wanted = set(names)
        return [contender for contender in contenders if contender.name in wanted]
