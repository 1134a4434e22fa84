"""For the tests of those who build on the store: disks that crash, and checks.

* :class:`SimulatedDisk` is a disk in memory: it fails at the call you choose, crashes, and shows
  every image that a power cut could leave behind.
* :func:`check_handler` and :func:`check_registry` are a plugin author's one line: is the handler
  pure, deterministic, total, and does its state last? :func:`payloads` generates the payloads.
* :func:`check_disks_agree` and :func:`check_lock` hold any two implementations of
  :class:`~eventstore.disk.base.Disk` against each other.
"""

from eventstore.testing.disk_conformance import check_disks_agree, check_lock
from eventstore.testing.faults import Call, Fault, SimulatedCrash
from eventstore.testing.handler_checks import (
    HandlerCheckError,
    HandlerReport,
    check_handler,
    check_registry,
)
from eventstore.testing.machine import SimulatedFile
from eventstore.testing.power_cut import SECTOR, Adversary
from eventstore.testing.simulated_disk import SimulatedDisk
from eventstore.testing.strategies import payloads, values

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
    "check_disks_agree",
    "check_handler",
    "check_lock",
    "check_registry",
    "payloads",
    "values",
]
