"""Files: the protocol, the real disk, and every name in a store's directory."""

from eventstore.disk.base import Disk, File
from eventstore.disk.local import LocalDisk

__all__ = ["Disk", "File", "LocalDisk"]
