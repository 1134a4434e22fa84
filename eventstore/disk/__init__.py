"""Files: the `Disk` protocol, and the real disk that a store uses."""

from eventstore.disk.base import Disk, File
from eventstore.disk.local import LocalDisk, LocalFile

__all__ = ["Disk", "File", "LocalDisk", "LocalFile"]
