"""The record of calls and the plan of faults: a fault is planned for a call.

Every call on a simulated disk passes through `FaultPlan.enter` before taking effect. The plan
records the call, asks the rules, and returns the `Fault` to act out, if any. All handles on one
simulated disk share one plan, so a number means the same call on every handle.

Calls are numbered from 1, in the order of the calls. A rule may count all calls, or only the calls
of one kind, of one name, or both. Kinds are the names of the methods: `lock create open list
make_folder rename remove sync_folder sync_path` and `close_disk` of a disk, `read write sync
truncate size close` of a file. `entropy`, `links` and `ensure_in_place` change nothing and are no
calls.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

__all__ = ["Call", "Effect", "Fault", "FaultPlan", "Rule", "SimulatedCrash"]

Effect = Literal["none", "partial", "whole"]
"""How much of a call takes place before the call fails. Only a write can be partial."""


class SimulatedCrash(BaseException):
    """The death of the simulated process, raised by the fatal call and by every later call.

    The class is not an `Exception`, so that an `except Exception` does not survive the death.
    """


class Call(NamedTuple):
    """One call on a disk or on a file of the disk.

    `name` is the name of the file or folder, `""` for the store's own directory. `args` are the
    other arguments: `(offset, length)` of `read` and `write`, `(size,)` of `truncate`, `(new,)` of
    `rename`.
    """

    kind: str
    name: str
    args: tuple[int | str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.kind, self.name or ".", *map(str, self.args)])


_new_call = tuple.__new__  # Call() takes longer, and a recovery makes many calls


@dataclass(frozen=True, slots=True)
class Fault:
    """The failure of one call.

    `errno` is raised as its `OSError` subclass, after as much of the call's effect as `effect`
    says. With `short`, a write stores at most `short` bytes and returns the count without an error.
    Other calls ignore `short`. With `crash`, the process dies.
    """

    errno: int = _errno.EIO
    effect: Effect = "none"
    short: int | None = None
    crash: bool = False

    def length(self, asked: int, random: Random) -> int:
        """Return how many of the `asked` bytes a write stores."""
        if self.short is not None:
            return min(self.short, asked)
        if self.effect == "partial":
            return random.randrange(1, asked) if asked > 1 else 0
        return asked if self.effect == "whole" else 0

    def error(self, name: str) -> BaseException:
        if self.crash:
            return SimulatedCrash()
        return OSError(self.errno, os.strerror(self.errno), name)


Rule = Callable[[Call], Fault | None]
"""A function that is asked at each call, and returns a `Fault` or `None`."""


class FaultPlan:
    """The calls made so far, and the rules for later calls."""

    __slots__ = ("_rules", "calls", "crashed")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.crashed: bool = False
        self._rules: list[Rule] = []

    def enter(self, kind: str, name: str, args: tuple[int | str, ...]) -> Fault | None:
        if self.crashed:
            raise SimulatedCrash
        call = _new_call(Call, (kind, name, args))
        self.calls.append(call)
        if not self._rules:
            return None
        answer: Fault | None = None
        for rule in self._rules:  # each rule sees each call, because rules count calls
            fault = rule(call)
            if fault is None or (fault.short is not None and kind != "write"):
                continue
            if answer is None or fault.crash:
                answer = fault
        if answer is not None and answer.crash:
            self.crashed = True
        return answer

    def add(self, rule: Rule) -> None:
        self._rules.append(rule)

    def clear(self) -> None:
        self._rules.clear()

    def at(
        self, number: int | None, kind: str | None, name: str | None, forever: bool, fault: Fault
    ) -> None:
        """Add a rule: `fault` at the matching call with `number`.

        With `forever` the rule also applies to every later matching call. Numbers count from the
        first call ever made. `None` is the next matching call.
        """

        def matches(call: Call) -> bool:
            return (kind is None or call.kind == kind) and (name is None or call.name == name)

        made = sum(map(matches, self.calls))
        wanted = made + 1 if number is None else number
        if wanted <= made and not forever:
            raise ValueError(f"call {wanted} has been made already: {made} so far")

        def rule(call: Call) -> Fault | None:
            nonlocal made
            if not matches(call):
                return None
            made += 1
            return fault if made == wanted or (forever and made > wanted) else None

        self.add(rule)
