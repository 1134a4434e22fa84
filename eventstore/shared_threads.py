"""Crews: the threads that all stores of a process share.

Theory of operation
-------------------
A store has work for a thread now and then: a commit, a reading, a snapshot. A thread for each store
would cost memory, and would wake up also in a store where nothing happens. So all stores of a
process share two crews, one for commits and one for all other calls.

*A lane* (`Lane`) holds the work of one owner in the order of `put`. The width of a lane is the
number of threads at work in the lane. A thread takes a turn of the lane, does all work that is
left, gives the turn back, and looks again. `put` adds the work, and calls the crew if a turn is
free. Without a free turn nobody needs a call, because the thread with the turn looks again.

*A crew* (`Crew`) has a queue of calls and members, the threads that take calls from the queue. A
member is added if nobody waits for calls. `put` looks for that, and so does each member after
taking a call. Two calls in a row therefore cannot both count on the one member that waits.

*A crew is bounded, and nobody waits behind a disk that hangs.* Up to `size` members are added at
once. With `size` members at work, the lookout (`_look_out`) becomes one more member if a call waits
and no member has taken a call for a twentieth of a second. Members without work for a second leave.

*No lock is held in `put`.* A signal handler and the collector can call a store at any instruction,
also in the middle of a `put`, and would wait for the lock for ever. Each step is therefore one
operation of the interpreter, and the order of steps makes up for the missing lock: add the work,
then look for a member. Members do the same in reverse order. A `put` that an exception of a signal
handler has cut off can be repeated.

*A loop that was closed* cannot call anybody. Members without work ask each owner once a second
(`Watched`). While there are owners, two members stay, because one of the two can hang.

*A forked child* has none of the threads. The crew of the child begins anew, and a lane of the
parent takes no work there.
"""

from __future__ import annotations

import atexit
import functools
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Executor, Future
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from eventstore.disk.after_fork import register_for_fork

__all__ = ["Crew", "CrewExecutor", "Lane", "Watched"]

_IDLE = 1.0  # seconds until a member with nothing to do asks the owners, and leaves
_PATIENCE = 0.05  # seconds that a call waits for members that take no call

T = TypeVar("T")
WorkT = TypeVar("WorkT")


class Watched(Protocol):
    """An owner of work who cannot always say that the work has ended."""

    def look(self) -> None:
        """End the work if the owner is gone."""


class Crew:
    """Threads with the name `name`, up to `size` of them, and more where these hang.

    `calls` and `waiting` are for `Lane.put`, which looks at them itself to save a call.
    """

    def __init__(self, name: str, size: int) -> None:
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.waiting: set[threading.Thread] = set()
        self._name = name
        self._size = size
        self._members: set[threading.Thread] = set()
        self._owners: set[Watched] = set()
        self._idle = _IDLE
        self._taken = 0  # calls: only whether the number changes is of interest
        self._looking_out = False
        register_for_fork(self)

    def __repr__(self) -> str:
        return f"<Crew {self._name!r}: {len(self._members)} threads>"

    def forked(self) -> None:  # pragma: no cover - no tracer follows a fork: TestFork does
        """Begin anew in a forked child."""
        self.calls = queue.SimpleQueue()
        self.waiting, self._members, self._owners = set(), set(), set()
        self._looking_out = False

    def join(self, owner: Watched) -> None:
        """Have the members look after `owner`, until `leave`."""
        self._owners.add(owner)

    def leave(self, owner: Watched) -> None:
        """Forget `owner`. The last one sends the members home, those at work after the call."""
        self._owners.discard(owner)
        if not self._owners:
            self._idle = 0.0
            for _ in self.waiting.copy():
                self.calls.put(_nothing)

    def grow(self) -> None:
        """Add a member for a call that waits, or have a lookout for one.

        Raises `RuntimeError` where the operating system gives no thread and there is no member.
        """
        try:
            if len(self._members) < self._size:
                self._start(self._work)
            elif not self._looking_out:
                self._looking_out = True
                self._start(self._look_out)
        except BaseException as error:  # no thread, or an exception of a signal handler
            self._looking_out = False
            if not self._members or not isinstance(error, RuntimeError):
                raise

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=self._name, daemon=True)
        try:
            if work == self._work:
                self._members.add(thread)  # counted before its first step
            thread.start()
        except BaseException:
            if thread.ident is None:
                self._members.discard(thread)
            raise

    def _work(self) -> None:
        """Take calls from the queue and make them, until there is nothing to do."""
        me, calls, waiting = threading.current_thread(), self.calls, self.waiting
        self._members.add(me)
        try:
            while True:
                waiting.add(me)
                try:
                    call = calls.get(timeout=_IDLE if self._owners else self._idle)
                except queue.Empty:
                    call = _nothing
                waiting.discard(me)
                if call is _nothing:
                    if self._may_leave():
                        return
                    continue
                self._taken += 1
                if not (waiting or calls.empty()):
                    self.grow()
                call()
                del call  # nothing is kept alive between two calls
        finally:
            self._members.discard(me)
            if not (waiting or calls.empty()):
                self.grow()

    def _may_leave(self) -> bool:
        """Ask the owners. Return whether a member that has stopped to wait may leave."""
        for owner in self._owners.copy():
            owner.look()
        if not self._owners:
            if self.waiting:  # this member may have taken the call that was to wake another one
                self.calls.put(_nothing)
            return True
        return len(self.waiting) >= min(2, len(self._owners)) and self.calls.empty()

    def _look_out(self) -> None:
        """Become a member once a call waits and no member takes a call."""
        while True:
            taken = self._taken
            time.sleep(_PATIENCE)
            if self.calls.empty():
                self._looking_out = False
                if self.calls.empty():
                    return
                self._looking_out = True  # `put` has seen the lookout a moment ago
            elif self._taken == taken:
                self._looking_out = False
                self._work()
                return


def _nothing() -> None:
    """The call that wakes a member."""


class Lane(Generic[WorkT]):
    """The work of one owner on the threads of a crew, at most `width` of them at a time.

    A subclass says how work is done. The lane makes no reference to itself, and so none to what a
    subclass holds.
    """

    def __init__(self, crew: Crew, width: int = 1) -> None:
        self._crew = crew
        self._calls = crew.calls
        self._left: deque[WorkT] = deque()
        self._turns: deque[None] = deque([None] * width)

    def do(self, work: WorkT) -> None:
        """Do one piece of work, on a thread of the crew."""
        raise NotImplementedError  # each kind of crew has one

    def put(self, work: WorkT) -> None:
        """Do `work` after the work put before.

        Raises `RuntimeError` where the operating system gives no thread and the crew has no member.
        """
        self._left.append(work)
        if self._turns:
            crew, calls = self._crew, self._calls
            if crew.calls is calls:  # else in a forked child: the work is the parent's
                calls.put(self._serve)
                if not crew.waiting:
                    crew.grow()

    def _serve(self) -> None:
        """Do what is left, if there is a turn left. Whoever gives a turn back looks again."""
        left, turns = self._left, self._turns
        while left:
            try:
                turns.pop()
            except IndexError:
                return
            try:
                while True:
                    try:
                        work = left.popleft()
                    except IndexError:
                        break
                    self.do(work)
                    del work
            except BaseException:
                turns.append(None)
                self._calls.put(self._serve)  # this thread ends, and another one goes on
                raise
            turns.append(None)


class _Call(NamedTuple):
    """A blocking call and its outcome."""

    call: Callable[[], Any]
    outcome: Future[Any]


class CrewExecutor(Lane[_Call], Executor):
    """The blocking calls of one owner, at most `width` at a time, on the threads of a crew.

    `unfinished` are the outcomes of the calls that have not ended, awaited or not. The threads end
    with the process, after the calls under way.
    """

    def __init__(self, crew: Crew, width: int) -> None:
        super().__init__(crew, width)
        self.unfinished: set[Future[Any]] = set()
        _living.add(self)

    def submit(self, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        outcome: Future[T] = Future()
        self.unfinished.add(outcome)
        outcome.add_done_callback(self.unfinished.discard)
        try:
            self.put(_Call(functools.partial(call, *args, **kwargs), outcome))
        except BaseException:
            outcome.cancel()
            raise
        return outcome

    def do(self, work: _Call) -> None:
        if work.outcome.set_running_or_notify_cancel():
            try:
                result = work.call()
            except BaseException as error:  # noqa: BLE001  the caller's, whatever it is
                work.outcome.set_exception(error)
            else:
                work.outcome.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls under way. The threads are the crew's."""
        if wait:
            futures.wait(self.unfinished.copy())


_living: weakref.WeakSet[CrewExecutor] = weakref.WeakSet()

os.register_at_fork(after_in_child=_living.clear)  # calls under way are the parent's


@atexit.register
def _finish_calls() -> None:
    """Let the calls under way end before the interpreter does."""
    for executor in list(_living):
        executor.shutdown()
