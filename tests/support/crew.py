"""Members of a crew without processes. Parts and results are pickled, as between processes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from eventstore import HandlerRegistry
from eventstore.disk.local import LocalDisk
from eventstore.reading import fold_crew
from eventstore.reading.hash_seed_fold import find_source

__all__ = ["ThreadMember", "crew_of_threads"]


class ThreadMember:
    """A member that works in the thread that asks it.

    Attributes:
        parts: The parts that all members were asked for so far.
        lost: How many of the next parts fail, as those of a killed process do.
    """

    parts = 0
    lost = 0

    def __init__(self, setting: Any) -> None:
        self.stopped = False
        setting = pickle.loads(pickle.dumps(setting))
        self._registry: HandlerRegistry[Any] = HandlerRegistry(*map(find_source, setting.sources))
        self._disk = LocalDisk(setting.path, read_only=True)

    def ask(self, work: str, part: Any, advance: fold_crew.Advance) -> Any:
        """Do the work, and give the result as another process would."""
        ThreadMember.parts += 1
        if ThreadMember.lost > 0:
            ThreadMember.lost -= 1
            return fold_crew._LOST
        part = pickle.loads(pickle.dumps(part))
        try:
            result = fold_crew.perform(self._disk, self._registry, work, part, advance)
        except Exception:  # noqa: BLE001  it is raised again where the part came from
            return fold_crew._LOST
        return pickle.loads(pickle.dumps(result, protocol=5))

    def stop(self) -> None:
        """Take no more parts."""
        self.stopped = True

    def end(self) -> None:
        """Close the store's directory."""
        self._disk.close()


def crew_of_threads(monkeypatch: pytest.MonkeyPatch) -> type[ThreadMember]:
    """Let every crew have members without processes, for as long as `monkeypatch` lasts."""
    monkeypatch.setattr(fold_crew, "_Member", ThreadMember)
    monkeypatch.setattr(ThreadMember, "parts", 0)
    monkeypatch.setattr(ThreadMember, "lost", 0)
    return ThreadMember
