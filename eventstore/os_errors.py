"""Errors of the operating system, translated into the errors of the library.

Every room that touches files translates an `OSError` once, at its edge, by a function of this
module. Three facts decide: the call that failed, the error's number, and the changes that the call
could have made by then. The original stays available as `__cause__`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from eventstore.errors import (
    EventStoreError,
    ReadFailedError,
    StoreAccessError,
    StoreFailedError,
    StoreFullError,
    StoreNotFoundError,
)

__all__ = [
    "NO_ACCESS",
    "NO_SPACE",
    "SHORTAGE",
    "GoneError",
    "SyncFailedError",
    "commit_failed_error",
    "errno_name",
    "never_synced_error",
    "no_space_error",
    "path_in_error",
    "read_error",
    "recovery_write_error",
    "shortage_words",
    "translating_read_errors",
    "translating_recovery_errors",
    "write_error",
]

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
SHORTAGE = NO_SPACE | {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Numbers of calls that failed for lack of space, file descriptors or memory, and may succeed
later. Such a call changed nothing, except a write or a sync."""
NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR})


class SyncFailedError(OSError):
    """A failed sync, of any errno. The bytes on stable storage are unknown from here on."""


class GoneError(OSError):
    """An open file or directory that somebody removed, moved, replaced or cut.

    No caller meets a `GoneError`. `reason` names the event, and the file's present place if the
    operating system tells the place.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.ESTALE, reason)
        self.reason = reason


def errno_name(error: OSError) -> str:
    """Return the symbolic name of the error's number, such as `ENOSPC`."""
    return "unknown error" if error.errno is None else errno.errorcode.get(error.errno, "error")


def shortage_words(cause: OSError) -> tuple[str, str]:
    """Name the lacking resource of an error of `SHORTAGE`, and the remedy."""
    if cause.errno in NO_SPACE:
        return "no space", "free some space"
    if cause.errno == errno.ENOMEM:
        return "no memory", "free some memory"
    return "no file descriptor", "close some files, or raise the limit (ulimit -n)"


def no_space_error(cause: OSError, doing: str, path: str) -> StoreFullError:
    """Return the error of a commit that was refused, and cut back, for an error of `SHORTAGE`."""
    lacking, remedy = shortage_words(cause)
    return StoreFullError(
        f"{lacking} while {doing} {path} ({errno_name(cause)}): the events were refused and are "
        f"not in the log; {remedy} and append again",
        path=path,
        errno=cause.errno,
    )


def commit_failed_error(cause: OSError, doing: str, path: str) -> StoreFailedError:
    """Return the error of a store whose last commit nobody can vouch for."""
    if isinstance(cause, GoneError | FileNotFoundError):
        reason = getattr(cause, "reason", "it was removed, or its folder was")
        return StoreFailedError(
            f"{path} is not what this store writes to any more: {reason}. Events of the last "
            "moments may be gone with it, and whether the events in flight are in the log is "
            "unknown. The store is read-only now: put back what was taken away, then open the "
            "store again",
            path=path,
            errno=cause.errno,
        )
    return StoreFailedError(
        f"{doing} {path} failed with {errno_name(cause)}; whether the events in flight are in the "
        "log is unknown. The store is read-only now: reopen it to find out and to go on",
        path=path,
        errno=cause.errno,
    )


def never_synced_error(failure: StoreFailedError, first: int, last: int) -> StoreFailedError:
    """Return the error of a closing that leaves acknowledged events without a sync."""
    lost = f"event {last} was" if first == last else f"events {first} to {last} were"
    error = StoreFailedError(
        f"{lost} acknowledged before a sync, and never synced: a power cut may take what was "
        f"acknowledged. {failure}",
        path=failure.path,
        errno=failure.errno,
    )
    error.__cause__ = failure.__cause__
    return error


def read_error(
    cause: OSError, path: str, offset: int | None = None, *, what: str | None = None
) -> EventStoreError:
    """Translate an `OSError` from a read or from opening a file.

    `offset` counts bytes from the start of the file `path`. `what` names a known obstacle.
    """
    code, name = cause.errno, errno_name(cause)
    where = path if offset is None else f"{path} at offset {offset}"
    if code in NO_ACCESS:
        if what is None and cause.strerror != os.strerror(code):
            what = cause.strerror  # in the words of `LocalDisk`
        reason = what or "check owner, permissions and symbolic links"
        return StoreAccessError(
            f"{where} may not be used ({name}): {reason}",
            path=path,
            errno=code,
        )
    remedy = shortage_words(cause)[1] if code in SHORTAGE else "check the device"
    return ReadFailedError(
        f"{where} cannot be read ({name}); nothing was changed: {remedy}, then retry",
        path=path,
        offset=offset,
        errno=code,
    )


@contextlib.contextmanager
def translating_read_errors(path: str) -> Iterator[None]:
    """Translate every `OSError` at the end of a read of the store at `path`."""
    try:
        yield
    except OSError as error:
        raise read_error(error, path_in_error(error, path)) from error


def path_in_error(error: OSError, path: str) -> str:
    """Return the path of the file that `error` names in the store at `path`, else `path`."""
    name = error.filename
    inside = isinstance(name, str) and not name.startswith("/")
    return f"{path}/{name}" if inside and name else path


_UNSYNCABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def recovery_write_error(error: OSError, path: str) -> EventStoreError:
    """Return the error of an opening that failed to write. A failed opening loses nothing."""
    if isinstance(error, SyncFailedError) and error.errno in _UNSYNCABLE:
        return StoreAccessError(
            f"{path} cannot be synced ({errno_name(error)}): a store needs a local file system "
            "that syncs files and directories, which some network and FUSE file systems do not",
            path=path,
            errno=error.errno,
        )
    text = f"recovery of {path} could not be finished ({errno_name(error)}): nothing is lost; "
    if error.errno in SHORTAGE:
        remedy = shortage_words(error)[1]
        return StoreFullError(f"{text}{remedy} and open again", path=path, errno=error.errno)
    if error.errno in NO_ACCESS:
        return StoreAccessError(
            text + "check permissions, or open the store read-only", path=path, errno=error.errno
        )
    return StoreFailedError(
        text + "check the device, then open again", path=path, errno=error.errno
    )


def write_error(error: OSError, path: str) -> EventStoreError:
    """Translate an `OSError` from writing a new store, a backup or a file.

    No older file is lost.
    """
    code = error.errno
    if code in (errno.ENOENT, errno.ENOTDIR):
        folder = path.rpartition("/")[0] or "."
        return StoreNotFoundError(
            f"{path} could not be written: {folder} is no directory, or went away: make it first, "
            "or choose another path",
            path=path,
            what="directory",
        )
    text = f"{path} could not be written ({errno_name(error)}): nothing that was there is lost; "
    if code in SHORTAGE:
        remedy = shortage_words(error)[1]
        return StoreFullError(f"{text}{remedy}, and try again", path=path, errno=code)
    if code in NO_ACCESS:
        return StoreAccessError(f"{text}check owner and permissions", path=path, errno=code)
    return StoreFailedError(f"{text}check the device, and try again", path=path, errno=code)


@contextlib.contextmanager
def translating_recovery_errors(path: str) -> Iterator[None]:
    """Translate every `OSError` of an opening that writes to the store at `path`."""
    try:
        yield
    except OSError as error:
        raise recovery_write_error(error, path_in_error(error, path)) from error
