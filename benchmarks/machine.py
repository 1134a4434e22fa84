"""The machine of a run: every fact on which the figures depend."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from pathlib import Path

__all__ = ["describe", "sync_median"]


def describe(folder: Path) -> dict[str, str]:
    """Return processor, memory, kernel, file system and device under `folder`, interpreter."""
    device, mount, kind, options = _mount(folder)
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": f"{kind} ({options}) on {device}, mounted at {mount}",
        "device": _device(device),
        "Python": f"{platform.python_implementation()} {sys.version.split()[0]}",
        "load before the run": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "write + fdatasync, median": f"{sync_median(folder) * 1e6:.0f} µs",
    }


def sync_median(folder: Path, count: int = 300) -> float:
    """Return the median of a small write and `fdatasync` into a zero-filled file, in seconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    path = folder / "probe"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.pwrite(fd, bytes(1 << 20), 0)
        os.fsync(fd)
        times = []
        for number in range(count):
            began = time.perf_counter()
            os.pwrite(fd, b"x" * 120, number * 120)
            sync(fd)
            times.append(time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
    return statistics.median(times)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _mount(folder: Path) -> tuple[str, str, str, str]:
    """Return device, mount point, file system and options under `folder`."""
    best = ("", "", "unknown", "")
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return best
    here = f"{folder.resolve()}/"
    for line in lines:
        device, mount, kind, options, *_ = line.split()
        if here.startswith(mount.rstrip("/") + "/") and len(mount) >= len(best[1]):
            best = (device, mount, kind, options)
    return best


def _device(device: str) -> str:
    block = Path("/sys/class/block") / Path(device).name
    found = []
    for name, path in (
        ("model", "device/model"),
        ("rotational", "queue/rotational"),
        ("write cache", "queue/write_cache"),
        ("scheduler", "queue/scheduler"),
    ):
        try:
            found.append(f"{name}: {(block / path).read_text(encoding='utf-8').strip()}")
        except OSError:
            continue
    return ", ".join(found) or "unknown"
