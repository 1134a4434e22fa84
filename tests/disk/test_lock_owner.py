"""Who has a store's lock: alive, stopped, dead, in another namespace, or this process."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from eventstore.disk.local import LocalDisk
from eventstore.disk.owner_note import read_owner
from eventstore.disk.processes import standing_of, this_process
from eventstore.errors import StoreLockedError
from eventstore.lock_owner import LockOwner, Standing, refusal_text

HOLD = """
import sys
from eventstore.disk.local import LocalDisk
disk = LocalDisk(sys.argv[1], create=True)
disk.lock()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock of `tmp_path / "store"`."""
    program = [sys.executable, "-c", HOLD, str(tmp_path / "store")]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def owner_of(path: Path) -> LockOwner:
    disk = LocalDisk(path, read_only=True)
    try:
        owner = read_owner(disk)
    finally:
        disk.close()
    assert owner is not None
    return owner


def refused(path: Path) -> StoreLockedError:
    disk = LocalDisk(path)
    with pytest.raises(StoreLockedError) as raised:
        disk.lock()
    disk.close()
    return raised.value


class TestStanding:
    def test_running_and_stopped_and_ended(
        self, holder: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        path = tmp_path / "store"
        owner = owner_of(path)
        assert owner.pid == holder.pid
        assert owner.command.startswith(sys.executable)
        assert owner.host == os.uname().nodename
        assert owner.since is not None
        assert standing_of(owner) is Standing.RUNNING
        error = refused(path)
        assert error.owner == owner
        assert error.pid == holder.pid
        assert f"in use by process {holder.pid} (" in str(error)
        assert "running, since 2" in str(error)
        assert "stop it" in str(error)

        holder.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        assert standing_of(owner) is Standing.STOPPED
        assert "STOPPED (state T)" in str(refused(path))

        holder.kill()
        holder.wait()
        assert standing_of(owner) is Standing.ENDED
        assert owner_of(path) == owner, "a killed process leaves the note"

    def test_this_process(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path)
        disk.lock()
        assert standing_of(owner_of(tmp_path)) is Standing.THIS_PROCESS
        error = refused(tmp_path)
        assert f"in use by this process ({os.getpid()}): a store of it is still open" in str(error)
        assert "stop it" not in str(error)
        disk.close()

    def test_another_namespace_is_never_to_be_stopped(self, tmp_path: Path) -> None:
        disk = LocalDisk(tmp_path)
        disk.lock()
        forged = msgspec.structs.replace(
            this_process(), pid=1, namespace="pid:[1]", host="bot-7f9c", command="python bot.py"
        )
        (tmp_path / "writer.pid").write_bytes(forged.encode())
        assert standing_of(owner_of(tmp_path)) is Standing.ELSEWHERE
        message = str(refused(tmp_path))
        assert "a process of another PID namespace, which calls itself 1, host bot-7f9c" in message
        assert "look there, or `fuser -v" in message
        assert "stop it" not in message
        disk.close()

    @pytest.mark.parametrize("change", [{"boot": "an earlier one"}, {"started": 1}])
    def test_a_number_used_again_is_another_process(self, change: dict[str, object]) -> None:
        owner = msgspec.structs.replace(this_process(), pid=os.getppid(), **change)
        assert standing_of(owner) is Standing.ENDED

    def test_a_number_alone_names_nobody(self) -> None:
        owner = LockOwner(pid=1)
        assert standing_of(owner) is Standing.UNKNOWN
        message = refusal_text("store", owner, standing_of(owner))
        assert "which may not be the one" in message
        assert "stop it" not in message


class TestNote:
    def test_it_comes_back(self) -> None:
        owner = msgspec.structs.replace(this_process(), command="python bot.py")
        assert LockOwner.decode(owner.encode()) == owner

    def test_a_command_with_lines_stays_one_fact(self) -> None:
        owner = LockOwner(pid=5, command="python -c 'a\nhost elsewhere\nb'", host="here")
        again = LockOwner.decode(owner.encode())
        assert again is not None
        assert again.host == "here"
        assert again.command == "python -c 'a host elsewhere b'"

    @pytest.mark.parametrize("note", [b"", b"\n", b"x", b"\xff\xfe", b"-1", "²".encode()])
    def test_what_is_no_note(self, note: bytes) -> None:
        assert LockOwner.decode(note) is None

    def test_facts_that_are_no_facts_are_not_known(self) -> None:
        owner = LockOwner.decode(b"5\nstarted soon\nsince \nnonsense\n\n")
        assert owner == LockOwner(pid=5)
        far = LockOwner(pid=5, since=10**30)
        assert far.since_text == ""

    def test_the_error_can_be_pickled_with_the_owner(self) -> None:
        error = StoreLockedError("x", path="p", owner=this_process())
        again = pickle.loads(pickle.dumps(error))
        assert again.owner == error.owner
        assert again.pid == os.getpid()
