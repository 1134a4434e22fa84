"""Helpers for the tests of programs that use eventstore, and of plugins.

* `SimulatedDisk` is a disk in memory. A test makes a chosen call fail, kills the process, cuts the
  power, and opens a store on each image that a power cut can leave. `Fault`, `Call`, `Adversary`
  and `SECTOR` belong to it. `SimulatedCrash` is raised where the simulated process dies.
* `run_in_virtual_time` runs a coroutine on an event loop whose timers fire at once. A test of an
  hour takes milliseconds, and a program that hangs raises `StalledError`.
* `check_handler` and `check_registry` check that handlers are pure, deterministic and total, and
  that their states last. `payloads` and `values` are the Hypothesis strategies behind the checks.
  The checks need the `testing` extra.
* `check_disks_agree` and `check_lock` compare two implementations of `eventstore.disk.Disk`.
"""

from eventstore.testing.disk_conformance import check_disks_agree, check_lock
from eventstore.testing.faults import Call, Fault, SimulatedCrash
from eventstore.testing.handler_checks import (
    HandlerCheckError,
    HandlerReport,
    check_handler,
    check_registry,
)
from eventstore.testing.power_cut import SECTOR, Adversary
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.simulated_machine import SimulatedFile
from eventstore.testing.strategies import payloads, values
from eventstore.testing.virtual_time import StalledError, VirtualTimeLoop, run_in_virtual_time

__all__ = [
    "SECTOR",
    "Adversary",
    "Call",
    "Fault",
    "HandlerCheckError",
    "HandlerReport",
    "SimulatedCrash",
    "SimulatedDisk",
    "SimulatedFile",
    "StalledError",
    "VirtualTimeLoop",
    "check_disks_agree",
    "check_handler",
    "check_lock",
    "check_registry",
    "payloads",
    "run_in_virtual_time",
    "values",
]
