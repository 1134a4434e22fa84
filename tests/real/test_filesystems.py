"""Power cuts and failing devices, beneath ext4 and xfs in images on loop devices.

A writer is stopped at a random instant, so that nothing is acknowledged between the cut and our
knowledge of the cut. Then the file system is shut down as by a power cut. Bytes that are not on the
device stay off the device. After a new mount the store is held against the writer's reports.

`EVENTSTORE_CYCLES=100` cuts the power of each a hundred times. The default is 10.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from random import Random

import pytest

from eventstore import Durability, EventStore, EventStoreError, SimulatedClock, StoreConfig
from tests.real.children import Parent
from tests.real.conftest import Start
from tests.real.lives import Witness, busy_config, live, payload
from tests.real.mounts import MIB, Mounts, make_image, needs, run
from tests.torture.ledger import ledger_registry

pytestmark = pytest.mark.filesystem

CYCLES = int(os.environ.get("EVENTSTORE_CYCLES", "10"))
SIZES = {"ext4": 32 * MIB, "xfs": 320 * MIB}  # xfs is not made smaller
GOING_DOWN = 0x8004587D  # the ioctl behind `xfs_io -x -c shutdown`, the same for both
LOG_FLUSH, NO_LOG_FLUSH = 1, 2


def cut_power(mounted: Path, flag: int) -> None:
    """Shut a file system down at once, with or without writing the journal from memory first."""
    folder = os.open(mounted, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, GOING_DOWN, struct.pack("I", flag))
    finally:
        os.close(folder)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
async def test_whatever_was_acknowledged_survives_a_power_cut(
    kind: str, tmp_path: Path, mounts: Mounts, start: Start
) -> None:
    needs(f"that no acknowledged event is lost when the power of {kind} is cut", f"mkfs.{kind}")
    random = Random(f"power cuts of {kind}")
    image, at = tmp_path / "image", tmp_path / "mounted"
    make_image(image, kind, SIZES[kind])
    device = mounts.loop(image)
    witness = Witness(at / "store", 0, busy_config(0))
    for cycle in range(CYCLES):
        if cycle % 10 == 0:  # another store, to keep the history short
            config = busy_config(cycle, Durability.COMMIT)
            witness = Witness(at / f"store-{cycle}", cycle, config)
        mounts.mount(at, "-t", kind, device)
        child = start(live, str(witness.path), witness.seed, witness.time, witness.config)
        longer = 1 if witness.acknowledged >= 3 * (cycle % 10) else 8  # on a slow disk
        witness.hear(child, random.uniform(0.02, 0.08) * longer, once_open=random.random() < 0.8)
        child.stop()
        cut_power(at, random.choice((NO_LOG_FLUSH, NO_LOG_FLUSH, LOG_FLUSH)))
        child.kill()
        witness.hear(child)
        mounts.unmount(at)
        mounts.mount(at, "-t", kind, device)
        await witness.examine(tmp_path / "copy", power_cut=True)
        mounts.unmount(at)
    assert witness.acknowledged > 20
    assert any(not report.clean for report in witness.reports)


async def fill(parent: Parent, path: str, config: StoreConfig) -> None:
    """Append until the store refuses. Report the acknowledged events, and the end."""
    store = await EventStore.open(path, ledger_registry(), config, clock=SimulatedClock())
    parent.report("opened", store.seq)
    while True:
        seq = store.seq + 1
        parent.report("submits", seq, 1)
        try:
            await store.append(payload(0, seq), key=f"{seq}+1")
        except EventStoreError as error:
            parent.report("ends", type(error).__name__)
            break
        parent.report("durable", seq)
    failed = store.stats().failed
    for _ in range(10):  # the store stays failed
        try:
            await store.append(payload(0, store.seq + 1))
        except EventStoreError as error:
            parent.report("ends", type(error).__name__)
        else:
            parent.report("ends", "appended after it had failed")
    parent.report("failed" if failed else "well")
    parent.order()


@pytest.mark.asyncio
async def test_a_device_that_fails_beneath_is_never_acknowledged(
    tmp_path: Path, mounts: Mounts, start: Start
) -> None:
    promise = "that no event is acknowledged when the device fails beneath the file system"
    needs(promise, "mkfs.ext4", "e2fsck")
    beneath = mounts.tmpfs(tmp_path / "beneath", 80 * MIB)
    image, at = beneath / "image", tmp_path / "mounted"
    make_image(image, "ext4", 64 * MIB)
    device = mounts.loop(image)
    mounts.mount(at, "-t", "ext4", device)
    config = StoreConfig(segment_size=256 * 1024, wal_max_entries=None, auto_save_interval=None)
    witness = Witness(at / "store", 0, config)
    child = start(fill, str(witness.path), config)
    for _ in range(300):  # the writer is well under way ...
        witness.take(*child.report())
    os.sync()
    used = image.stat().st_blocks * 512
    run("mount", "-o", f"remount,size={used + MIB}", beneath)  # ... when no more is to be had
    ends = []
    while (report := child.report())[0] not in ("failed", "well"):
        if report[0] == "ends":
            ends.append(report[1])
        else:
            witness.take(*report)
    assert report == ("failed",)
    assert set(ends) == {"StoreFailedError"}
    assert witness.acknowledged > 100
    child.kill()
    mounts.unmount(at)
    run("mount", "-o", f"remount,size={80 * MIB}", beneath)
    run("e2fsck", "-f", "-y", device, succeeds=(0, 1))
    mounts.mount(at, "-t", "ext4", device)
    recovery = await witness.examine(tmp_path / "copy")
    assert recovery.rewritten is not None
    async with EventStore.open(witness.path, ledger_registry(), config) as store:
        await store.append(payload(0, store.seq + 1))
