"""Files: the `Disk` protocol, and the real disk that a store uses."""

from eventstore.disk.base import Disk, File

try:
    from eventstore.disk.local import LocalDisk, LocalFile
except ModuleNotFoundError as _error:
    if _error.name != "fcntl":
        raise
    raise ImportError(
        "a store needs Linux or macOS: this system has no flock, and opens no files relative to a "
        "directory. On Windows, run the program in the Windows Subsystem for Linux"
    ) from _error

__all__ = ["Disk", "File", "LocalDisk", "LocalFile"]
