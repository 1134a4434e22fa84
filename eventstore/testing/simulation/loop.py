"""The event loop of a simulated process: virtual time, threads in turn, and no real world.

Theory of operation
-------------------
`SimulationLoop` is the loop of `virtual_time.py` with three changes.

* `run_in_executor`, and so `asyncio.to_thread`, makes the call on the loop's own thread, in a turn
  of its own. The order of calls is then the same in every run.
* What would reach the real world raises `NotSimulatedError` with the name of the thing: sockets,
  subprocesses, pipes, file descriptors, real threads, and calls from such threads. A bot may
  swallow the error, so `refused` keeps each one.
* Signal handlers are accepted, and never called.

`real_world_refused` does the same for code around the loop: blocking sockets, subprocesses and
threads are refused, and `time.sleep` moves the virtual time. The functions are as before for every
other thread, and outside of a simulation.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn, TypeVarTuple, Unpack

from eventstore.testing.simulation.process import track_task
from eventstore.testing.virtual_time import VirtualTimeLoop

__all__ = ["NotSimulatedError", "SimulationLoop", "real_world_refused"]

Ts = TypeVarTuple("Ts")

_MOST_TURNS = 1000
"""Turns of the loop at one instant. More are a bot that waits by `asyncio.sleep(0)`."""


class NotSimulatedError(AssertionError):
    """A bot reached for the real world inside of a simulation."""


class SimulationLoop(VirtualTimeLoop):
    """A virtual loop for a bot, its venue and the network between them."""

    def __init__(self, patience: float) -> None:
        super().__init__(patience, _MOST_TURNS)
        self.refused: list[str] = []
        self._thread = threading.get_ident()
        self.set_task_factory(track_task)  # type: ignore[arg-type]  # typeshed: tasks only of 3.12

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise `NotSimulatedError`, and remember the use."""
        message = f"{what} is the real world, and no simulation has one: {instead}"
        self.refused.append(message)
        raise NotSimulatedError(message)

    def run_in_executor(  # type: ignore[override]  # typeshed: a coroutine, in fact a future
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done: asyncio.Future[Any] = self.create_future()

        def call() -> None:
            if done.done():
                return
            try:
                result = func(*args)
            except StopIteration as error:
                done.set_exception(RuntimeError(f"{func} raised StopIteration: {error}"))
            except BaseException as error:  # a future takes what a thread would take
                if isinstance(error, KeyboardInterrupt):
                    raise
                done.set_exception(error)
            else:
                done.set_result(result)

        self.call_soon(call)
        return done

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        if threading.get_ident() != self._thread:
            name = threading.current_thread().name
            self.refuse(f"a call from the thread {name!r}", _IN_TURN)
        return self.call_soon(callback, *args, context=context)

    def add_signal_handler(
        self, sig: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts
    ) -> None:
        """Accept a handler, and never call it: no signal reaches a simulated process."""

    def remove_signal_handler(self, sig: int) -> bool:
        return False


def _refusing(name: str, what: str) -> Callable[..., NoReturn]:
    def method(self: SimulationLoop, *args: Any, **kwargs: Any) -> NoReturn:
        told = [str(arg) for arg in (*args, *kwargs.values()) if isinstance(arg, (str, int))]
        self.refuse(f"{what} ({', '.join([name, *told])})", _INSTEAD)

    method.__name__ = name
    return method


_INSTEAD = "give the bot an interface for it, as the venue's client is one"
for _name, _what in {
    "create_connection": "a socket",
    "create_server": "a listening socket",
    "create_datagram_endpoint": "a socket",
    "create_unix_connection": "a socket",
    "create_unix_server": "a listening socket",
    "sock_connect": "a socket",
    "sock_accept": "a socket",
    "sock_recv": "a socket",
    "sock_sendall": "a socket",
    "getaddrinfo": "name resolution",
    "getnameinfo": "name resolution",
    "add_reader": "a file descriptor",
    "add_writer": "a file descriptor",
    "connect_read_pipe": "a pipe",
    "connect_write_pipe": "a pipe",
    "subprocess_exec": "a subprocess",
    "subprocess_shell": "a subprocess",
}.items():
    setattr(SimulationLoop, _name, _refusing(_name, _what))


_IN_TURN = "use asyncio.to_thread, which is run in turn"
_GUARDED: tuple[tuple[Any, tuple[str, ...], str, str], ...] = (
    (socket.socket, ("connect", "connect_ex", "bind", "sendto"), "a socket", _INSTEAD),
    (socket, ("getaddrinfo",), "name resolution", _INSTEAD),
    (subprocess.Popen, ("__init__",), "a subprocess", _INSTEAD),
    (os, ("system", "fork", "posix_spawn", "posix_spawnp"), "a subprocess", _INSTEAD),
    (BaseProcess, ("start",), "a subprocess", _INSTEAD),
    (threading.Thread, ("start",), "a thread", _IN_TURN),
)
"""Blocking ways to the real world: an owner, names, a description, and the alternative."""


def running_simulation() -> SimulationLoop | None:
    """Return the simulation that this code runs in, if any."""
    with contextlib.suppress(RuntimeError):
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimulationLoop):
            return loop
    return None


@contextlib.contextmanager
def real_world_refused() -> Iterator[None]:
    """Refuse sockets, subprocesses and threads in simulations, and let `time.sleep` pass there."""
    real_sleep = time.sleep

    def sleep(seconds: float) -> None:
        loop = running_simulation()
        if loop is None:
            real_sleep(seconds)
        else:
            loop.pass_time(seconds)

    def guarded(owner: Any, name: str, what: str, instead: str) -> Callable[..., Any]:
        real = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            loop = running_simulation()
            if loop is not None:
                told = [str(arg) for arg in args if isinstance(arg, (str, int, tuple, list))]
                told += [arg.name for arg in args if isinstance(arg, threading.Thread)]
                loop.refuse(f"{what} ({', '.join([name, *told])})", instead)
            return real(*args, **kwargs)

        return call

    patches: list[tuple[Any, str, Any]] = [(time, "sleep", sleep)]
    for owner, names, what, instead in _GUARDED:
        for name in names:
            if hasattr(owner, name):
                patches.append((owner, name, guarded(owner, name, what, instead)))
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in patches]
    for owner, name, patched in patches:
        setattr(owner, name, patched)
    try:
        yield
    finally:
        for owner, name, original in before:
            if original is None:
                delattr(owner, name)
            else:
                setattr(owner, name, original)
