"""Files: the protocol, the real disk, and every name in a store's directory."""

from eventstore.disk.local import Disk, File, LocalDisk

__all__ = ["Disk", "File", "LocalDisk"]
