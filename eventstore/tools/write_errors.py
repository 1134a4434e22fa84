"""The error of a tool that could not write a new store or a backup."""

from __future__ import annotations

import errno
import os

from eventstore.error_base import EventStoreError
from eventstore.errors import (
    StoreAccessError,
    StoreFailedError,
    StoreFullError,
    StoreNotFoundError,
)
from eventstore.os_errors import NO_ACCESS, SHORTAGE, errno_name, shortage_words

__all__ = ["write_error"]


def write_error(error: OSError, path: str) -> EventStoreError:
    """Translate an `OSError` from writing at `path`. Nothing that was there before is lost."""
    code = error.errno
    if code in (errno.ENOENT, errno.ENOTDIR):
        folder = os.path.dirname(os.path.abspath(path))
        return StoreNotFoundError(
            f"{path} could not be written: {folder} is no directory, or went away: make it first, "
            "or choose another path",
            path=path,
        )
    text = f"{path} could not be written ({errno_name(error)}): nothing that was there is lost; "
    if code in SHORTAGE:
        remedy = shortage_words(error)[1]
        return StoreFullError(f"{text}{remedy}, and try again", path=path, errno=code)
    if code in NO_ACCESS:
        return StoreAccessError(f"{text}check owner and permissions", path=path, errno=code)
    return StoreFailedError(f"{text}check the device, and try again", path=path, errno=code)
