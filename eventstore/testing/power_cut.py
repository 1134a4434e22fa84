"""The decisions of a power cut about everything that was not synced.

An `Adversary` decides for each thing in doubt: the version of a sector on the platter, the size of
a file, and whether a change of names took place. `RandomCut` draws every combination with some
probability. `extremes` yields the combinations that programs most often get wrong.

The decisions are independent of each other and of the order of the writes. So writes are reordered
freely. No adversary damages bytes outside a write: a tear mixes two versions of a sector, so bytes
equal in both versions stay unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple, Protocol

__all__ = ["SECTOR", "Adversary", "Extreme", "RandomCut", "Version", "extremes"]

SECTOR = 512


class Version(NamedTuple):
    """A sector after one write: the 512 bytes, the written range, and the number of the write.

    `write` counts the writes to the disk. Write 0 is the content of the platter before.
    """

    content: bytes
    start: int = 0
    end: int = SECTOR
    write: int = 0


class Adversary(Protocol):
    """Decisions of a power cut. In each sequence the first is the oldest, the last the newest."""

    def name(self) -> bool:
        """Whether the next pending change of names took place."""

    def size(self, sizes: Sequence[int]) -> int: ...
    def sector(self, versions: Sequence[Version]) -> bytes: ...
    def hint(self, contents: Sequence[bytes]) -> bytes:
        """Return what is left of a file that no sync covers. No bytes stand for no file."""


class RandomCut:
    """A cut that keeps, loses or tears each thing at random, with odds drawn once for the cut.

    Some cuts therefore keep nearly everything, and some lose nearly everything. Independent coin
    flips would almost never give either.
    """

    __slots__ = ("_keep", "_random", "_tear")

    def __init__(self, random: Random) -> None:
        self._random = random.random
        self._keep = (0.0, 0.1, 0.5, 0.5, 0.9, 1.0)[int(random.random() * 6)]
        self._tear = (0.0, 0.0, 0.1, 0.5)[int(random.random() * 4)]

    def name(self) -> bool:
        return self._random() < self._keep

    def size(self, sizes: Sequence[int]) -> int:
        if self._random() < self._keep:
            return sizes[-1]
        return sizes[int(self._random() * len(sizes))]

    def sector(self, versions: Sequence[Version]) -> bytes:
        random = self._random
        if random() < self._tear:
            return self._torn(versions)
        if random() < self._keep:
            return versions[-1].content
        return versions[int(random() * (len(versions) - 1))].content

    def hint(self, contents: Sequence[bytes]) -> bytes:
        random = self._random
        if random() < self._keep:
            return contents[-1]
        chosen = contents[int(random() * len(contents))]
        if chosen and random() < self._tear:
            middle = int(random() * len(chosen))
            return contents[-1][:middle] + chosen[middle:]
        return chosen

    def _torn(self, versions: Sequence[Version]) -> bytes:
        """Return a prefix, a suffix or a range of one write over an older version."""
        random = self._random
        upper = 1 + int(random() * (len(versions) - 1))
        old = versions[int(random() * upper)].content
        new, start, end, _ = versions[upper]
        first = start + int(random() * (end - start + 1))
        second = start + int(random() * (end - start + 1))
        shape = random()
        if shape < 0.4:
            return new[:first] + old[first:]
        if shape < 0.8:
            return old[:first] + new[first:]
        first, second = min(first, second), max(first, second)
        return old[:first] + new[first:second] + old[second:]


class Extreme:
    """A cut that decides by a fixed rule. `asked` counts the decisions, the latest included."""

    __slots__ = ("_names", "_sectors", "_sizes", "asked")

    def __init__(
        self,
        names: Callable[[int], bool],
        sizes: Callable[[int], bool],
        sectors: Callable[[int, Sequence[Version]], bytes],
    ) -> None:
        self.asked: int = 0
        self._names = names
        self._sizes = sizes
        self._sectors = sectors

    def name(self) -> bool:
        self.asked += 1
        return self._names(self.asked)

    def size(self, sizes: Sequence[int]) -> int:
        self.asked += 1
        return sizes[-1 if self._sizes(self.asked) else 0]

    def sector(self, versions: Sequence[Version]) -> bytes:
        self.asked += 1
        return self._sectors(self.asked, versions)

    def hint(self, contents: Sequence[bytes]) -> bytes:
        return contents[-1 if self._names(self.asked) else 0]


def extremes(last_write: int, doubts: int) -> Iterator[Extreme]:
    """Yield adversarial cuts, the most telling first, where `doubts` things are in doubt.

    1. All eight ways to keep or lose names, sizes and data altogether.
    2. With names and sizes kept: only the last write, all but the last write, the last write torn,
       and overwritten versions.
    3. For each thing in turn: everything kept but this thing, then, of the data, only this sector.
    """
    yield from (
        _same_for_all(*kept)
        for kept in (
            (False, False, False),
            (True, True, True),
            (True, True, False),
            (True, False, True),
            (False, True, True),
            (True, False, False),
            (False, True, False),
            (False, False, True),
        )
    )
    yield from map(_sectors_by, _patterns(last_write))
    for number in range(1, doubts + 1):
        yield _all_but(number)
        yield _only(number)


def _same_for_all(names: bool, sizes: bool, sectors: bool) -> Extreme:
    return Extreme(
        lambda _: names,
        lambda _: sizes,
        lambda _, versions: versions[-1 if sectors else 0].content,
    )


def _sectors_by(pattern: Callable[[Sequence[Version]], bytes]) -> Extreme:
    return Extreme(_keep_always, _keep_always, lambda _, versions: pattern(versions))


def _all_but(number: int) -> Extreme:
    return Extreme(
        lambda asked: asked != number,
        lambda asked: asked != number,
        lambda asked, versions: versions[0 if asked == number else -1].content,
    )


def _only(number: int) -> Extreme:
    return Extreme(
        _keep_always,
        _keep_always,
        lambda asked, versions: versions[-1 if asked == number else 0].content,
    )


def _keep_always(_: int) -> bool:
    return True


def _patterns(last_write: int) -> list[Callable[[Sequence[Version]], bytes]]:
    def split(versions: Sequence[Version]) -> tuple[bytes, bytes, int]:
        """Return the sector before the last write, after it, and the middle of the write."""
        new = versions[-1]
        if new.write != last_write:
            return new.content, new.content, SECTOR
        return versions[-2].content, new.content, (new.start + new.end) // 2

    def only_last(versions: Sequence[Version]) -> bytes:
        return versions[-1 if versions[-1].write == last_write else 0].content

    def all_but_last(versions: Sequence[Version]) -> bytes:
        return split(versions)[0]

    def head_of_last(versions: Sequence[Version]) -> bytes:
        old, new, middle = split(versions)
        return new[:middle] + old[middle:]

    def tail_of_last(versions: Sequence[Version]) -> bytes:
        old, new, middle = split(versions)
        return old[:middle] + new[middle:]

    def overwritten(versions: Sequence[Version]) -> bytes:
        return versions[1].content

    return [only_last, all_but_last, head_of_last, tail_of_last, overwritten]
