"""A handler of logging that raises, or that calls the store, harms no store."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventstore import EventStore, StoreFailedError
from eventstore.operator_log import operator_log
from eventstore.testing import Fault, SimulatedDisk
from tests.support.bank import bank_registry, pay


class Calls(logging.Handler):
    """Calls a function for each message, as no handler of the standard library does."""

    def __init__(self) -> None:
        super().__init__()
        self.call: Callable[[], object] = lambda: 1 // 0
        self.about = ""  # calls for messages with this text alone
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if self.about in self.messages[-1]:
            self.call()


@pytest.fixture
def calls(caplog: pytest.LogCaptureFixture) -> Iterator[Calls]:
    handler, logger = Calls(), logging.getLogger("eventstore")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_what_a_handler_raises_is_shown(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    operator_log("eventstore.test").warning("a %s of %s", "message", "the store")
    assert calls.messages == ["a message of the store"]
    shown = capsys.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "a %s of %s" in shown


def test_a_record_tells_the_place_of_the_call(caplog: pytest.LogCaptureFixture) -> None:
    operator_log("eventstore.test").warning("here")
    assert caplog.records[-1].pathname == __file__
    assert caplog.records[-1].funcName == "test_a_record_tells_the_place_of_the_call"


@pytest.mark.asyncio
@pytest.mark.parametrize("real", [False, True], ids=["simulated disk", "disk"])
@pytest.mark.parametrize("does", ["raises", "calls the store"])
async def test_a_message_in_mid_commit(
    does: str, real: bool, tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    """The writer's thread tells of slow syncs. Calling the store from there is refused."""
    disk = None if real else SimulatedDisk()
    async with EventStore.open(tmp_path, bank_registry(), disk=disk, slow_sync=1e-7) as store:
        if does == "calls the store":
            calls.call, calls.about = lambda: store.submit(pay(100)), "fdatasync"
        for number in range(1, 4):
            assert (await store.append(pay())).seq == number
        assert (store.head_seq, store.state.balances["a"]) == (3, 3)
    assert any("fdatasync" in message for message in calls.messages)
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.asyncio
async def test_a_message_of_a_failed_commit(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loop tells of the failure while it fails those who wait."""
    disk = SimulatedDisk()
    store = await EventStore.open("", bank_registry(), disk=disk)
    disk.add_rule(lambda call: Fault(errno.EIO) if call.kind == "sync" else None)
    first, second = store.submit(pay()), store.submit(pay())
    for receipt in (first, second):
        with pytest.raises(StoreFailedError, match="EIO"):
            await receipt
    with contextlib.suppress(StoreFailedError):
        await store.close()
    assert any("not committed" in message for message in calls.messages)
    assert "Logging error" in capsys.readouterr().err


def test_the_end_of_the_program_goes_on(calls: Calls) -> None:
    calls.call = sys.exit
    with pytest.raises(SystemExit):
        operator_log("eventstore.test").error("the program ends")
