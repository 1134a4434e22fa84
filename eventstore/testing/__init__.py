"""Helpers for the tests of programs around eventstore, and of plugins.

* `SimulatedDisk` is a disk in memory. A test makes a chosen call fail, kills the process, cuts the
  power, and opens a store on each possible image after a power cut. `Fault`, `Call`, `Adversary`
  and `SECTOR` belong to it. `SimulatedCrash` is raised where the simulated process dies.
* `run_in_virtual_time` runs a coroutine on an event loop with timers that fire at once. A test of
  an hour takes milliseconds, and a hanging program raises `StalledError`.
* `check_handler` and `check_registry` check that handlers are pure, deterministic and total, and
  that states last. `payloads` and `values` are the Hypothesis strategies behind the checks.
  The checks need the `testing` extra.
* `simulate` runs a trading bot against a simulated `Venue`, kills the process at any step, cuts the
  power, and holds the store against the venue's books. `eventstore.testing.simulation` has more.
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
from eventstore.testing.simulation import (
    Faults,
    SimulationError,
    SimulationReport,
    Venue,
    VenueClient,
    compare_bots,
    simulate,
)
from eventstore.testing.strategies import payloads, values
from eventstore.testing.virtual_time import StalledError, VirtualTimeLoop, run_in_virtual_time

__all__ = [
    "SECTOR",
    "Adversary",
    "Call",
    "Fault",
    "Faults",
    "HandlerCheckError",
    "HandlerReport",
    "SimulatedCrash",
    "SimulatedDisk",
    "SimulatedFile",
    "SimulationError",
    "SimulationReport",
    "StalledError",
    "Venue",
    "VenueClient",
    "VirtualTimeLoop",
    "check_disks_agree",
    "check_handler",
    "check_lock",
    "check_registry",
    "compare_bots",
    "payloads",
    "run_in_virtual_time",
    "simulate",
    "values",
]
