"""Reading ahead: the next file of a long history is loaded while this one's events are decoded.

Reading, decompressing and summing a file leaves the interpreter free, so on a second core a thread
does it beside the decoding, and months of archives are read at the speed of the decoder. One file
is read ahead, so memory stays flat: it is that of two segments instead of one.

Loading consists of a dozen calls that leave the interpreter free. Coming back from each, the thread
would wait for whoever decodes to be interrupted, five milliseconds later, and be late: so who
decodes lets it come forward after every chunk.

Nothing is taken for granted because it was read early. A file may have been moved or damaged in the
meantime or before: whatever loading it raised is raised when it is asked for, and only there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["ReadAhead"]

SourceT = TypeVar("SourceT", bound=Hashable)
LoadedT = TypeVar("LoadedT")


class ReadAhead(Generic[SourceT, LoadedT]):
    """Loads sources by a function: when they are asked for, or before, in a thread of its own.

    Without ``threads`` (a disk in memory) nothing is loaded before it is asked for.
    """

    def __init__(self, load: Callable[[SourceT], LoadedT], *, threads: bool) -> None:
        self._load = load
        self._threads = threads
        self._worker: ThreadPoolExecutor | None = None
        self._begun: tuple[SourceT, Future[LoadedT]] | None = None

    def begin(self, source: SourceT) -> None:
        """Start loading ``source``; if that was done already, let the thread come forward."""
        if not self._threads:
            return
        if self._begun is not None and self._begun[0] == source:
            if not self._begun[1].done():
                time.sleep(0)
            return
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="eventstore-read-ahead")
        self._begun = source, self._worker.submit(self._load, source)

    def take(self, source: SourceT) -> LoadedT:
        """What ``source`` was loaded as. Raises what loading it raised."""
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == source:
            return begun[1].result()
        return self._load(source)

    def close(self) -> None:
        """End the thread. It waits for a load that is under way: its disk may be closed next."""
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
