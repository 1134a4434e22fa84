"""Readings of real clocks and real chance by a bot, found in one undisturbed run.

A simulation moves the simulated clock only. A bot with an eye on another clock, or with chance of
the operating system, behaves differently in each run. So an undisturbed run is watched as
handlers are watched (`impure_calls.py`), and every such call of the bot's own code is reported.
The module `random` is seeded in each run, and not reported.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import FrameType

import eventstore
from eventstore.testing.impure_calls import place_of_call, recording_impure_calls
from eventstore.testing.simulation.run import steps_of_a_life
from eventstore.testing.simulation.scenario import Scenario

__all__ = ["undisturbed"]

_OWN = str(Path(eventstore.__file__).parent)
_STANDARD = sysconfig.get_path("stdlib")
_CLOCKS = ("time.", "datetime.", "date.")
_CHANCE = ("posix.urandom", "_uuid.")


def undisturbed(scenario: Scenario) -> tuple[int, list[str]]:
    """Return the steps of a life without any fault, and the real readings of the bot there."""
    seen: list[str] = []
    with recording_impure_calls(seen, _describe):
        steps = steps_of_a_life(scenario)
    return steps, list(dict.fromkeys(seen))


def _describe(name: str, _: str, frame: FrameType) -> str | None:
    """Describe a real reading of the bot's code, `None` for any other call."""
    if name.startswith(_CLOCKS):
        if _is_library(frame):
            return None
        return f"{name} at {place_of_call(frame)} reads the real clock: use venue.clock"
    if name.startswith(_CHANCE):
        caller: FrameType | None = frame
        while caller is not None and _is_standard(caller):
            caller = caller.f_back
        if caller is None or _is_library(caller):
            return None
        return f"{name} at {place_of_call(caller)} draws real chance: use the module random"
    return None


def _is_standard(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(("<", _STANDARD)) and "-packages" not in name


def _is_library(frame: FrameType) -> bool:
    return _is_standard(frame) or frame.f_code.co_filename.startswith(_OWN)
