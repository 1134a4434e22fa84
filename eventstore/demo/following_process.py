"""The second process of the demonstration: it follows the store while the first one is killed.

`python -m eventstore.demo.following_process STORE --until N` follows the store from the first
event, without the lock. The process folds every event with the same handlers as the trading
process, and knows nothing else about the run. Behind event `N`, the process tells the digest of its
state.

The process is started before the store exists, and is never killed.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from eventstore.demo.errors import DemoError
from eventstore.demo.messages import Failed, Followed, Message, decode, send
from eventstore.demo.registry import trading_registry
from eventstore.errors import EventStoreError, StoreNotFoundError
from eventstore.following import SyncFollower, follow_sync
from eventstore.model.registry import HandlerRegistry
from eventstore.model.state_codec import state_digest

__all__ = ["SecondProcess", "follow_store", "main"]

LONGEST_WAIT = 60.0
"""Seconds for a store to appear, and for the second process to end behind the first."""


class SecondProcess:
    """The running process, seen by the demonstration. Leaving the block ends the process."""

    def __init__(self, store: Path, until: int) -> None:
        module = ["-m", "eventstore.demo.following_process", str(store), "--until", str(until)]
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-P", *module], stdout=subprocess.PIPE, stderr=self._complaints
        )

    def outcome(self) -> Followed:
        """Wait until the process has followed the store to its end. Raises `DemoError`."""
        try:
            said, _ = self._process.communicate(timeout=LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            raise DemoError("the second process did not come to the end of the store") from None
        for message in map(decode, said.splitlines()):
            if isinstance(message, Followed):
                return message
            if isinstance(message, Failed):
                raise DemoError(f"the second process could not follow: {message.reason}")
        self._complaints.seek(0)
        complaint = self._complaints.read().decode(errors="replace").strip()
        raise DemoError(f"the second process ended by itself. {complaint[-2000:]}")

    def __enter__(self) -> SecondProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()


def follow_store(store: Path, until: int) -> Followed:
    """Follow a store that may not be there yet, up to event `until`.

    Raises `DemoError` where an event is missing or comes twice, and what following raises.
    """
    registry = trading_registry()
    state, last = registry.initial(), 0
    with _appearing(store, registry) as events:
        while last < until:
            event = next(events)
            if event.seq != last + 1:
                raise DemoError(f"event {event.seq} came after event {last}")
            last = event.seq
            state = registry.fold(state, [event])
        return Followed(last, state_digest(state))


def _appearing(store: Path, registry: HandlerRegistry[Any]) -> SyncFollower:
    """Begin to follow as soon as there is a store."""
    deadline = time.monotonic() + LONGEST_WAIT
    while time.monotonic() < deadline:
        with contextlib.suppress(StoreNotFoundError):
            return follow_sync(store, registry, after=0)
        time.sleep(0.01)
    raise DemoError(f"no store appeared at {store}")


def main(arguments: list[str] | None = None) -> int:
    """Run the second process. The outcome goes to standard output, as one message."""
    parser = argparse.ArgumentParser(prog="python -m eventstore.demo.following_process")
    parser.add_argument("store", type=Path)
    parser.add_argument("--until", type=int, required=True)
    chosen = parser.parse_args(arguments)
    outcome: Message
    try:
        outcome = follow_store(chosen.store, chosen.until)
    except EventStoreError as error:
        outcome = Failed(str(error))
    send(sys.stdout.fileno(), outcome)
    return int(isinstance(outcome, Failed))


if __name__ == "__main__":
    sys.exit(main())
