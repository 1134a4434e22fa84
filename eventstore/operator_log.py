"""What the operator reads: the loggers of the package, whose handlers cannot harm a store.

A handler of logging belongs to the program, and may raise. It may also call the store, which is
refused with an exception. A message comes from the middle of a commit, of a closing or of a
recovery, so such an exception would end the work that the message only tells of. The exception goes
to the standard error instead, as logging itself does with the exceptions of its own handlers.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

__all__ = ["OperatorLog", "operator_log"]

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

_OWN_FRAME = 1
"""The frame of `OperatorLog.log`, which is not the place that a record tells."""

_reporting = logging.NullHandler()


class OperatorLog(_Adapter):
    """A logger whose methods raise no `Exception`."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        try:
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + _OWN_FRAME
            super().log(level, msg, *args, **kwargs)
        except Exception:  # noqa: BLE001  a handler or a filter of the program may raise anything
            _reporting.handleError(logging.makeLogRecord({"msg": msg, "args": args}))


def operator_log(name: str) -> OperatorLog:
    """Return the logger `name`, as `logging.getLogger` does.

    >>> operator_log("eventstore.log").name
    'eventstore.log'
    """
    return OperatorLog(logging.getLogger(name))
