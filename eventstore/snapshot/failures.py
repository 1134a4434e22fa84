"""Failures of writing a snapshot or an archive, translated for the caller and for `stats()`."""

from __future__ import annotations

from eventstore.errors import EventStoreError, StoreFailedError, StoreFullError
from eventstore.log.base import Log
from eventstore.os_errors import (
    SHORTAGE,
    SyncFailedError,
    commit_failed_error,
    errno_name,
    shortage_words,
)

__all__ = ["Failures"]


class Failures:
    """Translates `OSError` of work beside the commits of `log`.

    `space_warning` tells the last lack of space. The owner takes the warning back.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.space_warning: str | None = None

    def translated(
        self, error: OSError, folder: str, work: str, purpose: str, effect: str
    ) -> EventStoreError:
        """Translate an `OSError` of `work` in `folder`.

        Only lack of space leaves the store open for writing, and `effect` says how. A failed sync,
        and a failure that nobody can explain, fail the store as everywhere.
        """
        path = f"{self._log.path}/{folder}"
        if not isinstance(error, SyncFailedError) and error.errno in SHORTAGE:
            lacking, remedy = shortage_words(error)
            reason = f"{lacking} {purpose} {path} ({errno_name(error)})"
            self.space_warning = f"{reason}: {effect}; {remedy}"
            return StoreFullError(self.space_warning, path=path, errno=error.errno)
        failure: StoreFailedError = commit_failed_error(error, f"{work} to", path)
        self._log.fail(failure)
        return failure
