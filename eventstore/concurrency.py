"""What ``open`` returns: something to await, or to enter with ``async with``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Opening"]


class _Closable(Protocol):
    async def close(self) -> None: ...


OpenedT = TypeVar("OpenedT", bound=_Closable)


class Opening(Generic[OpenedT]):
    """``await`` it for an open store that you close, or ``async with`` it and it is closed for you.

    Leaving the block closes the store also when the body raised; the body's exception then wins
    over one from closing, which becomes its ``__context__`` no further than the log.
    """

    def __init__(self, opens: Callable[[], Awaitable[OpenedT]]) -> None:
        self._opens = opens
        self._opened: OpenedT | None = None

    def __await__(self) -> Generator[Any, None, OpenedT]:
        return self._opens().__await__()

    async def __aenter__(self) -> OpenedT:
        self._opened = await self._opens()
        return self._opened

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        try:
            await opened.close()
        except Exception:  # whatever closing raised: see below
            # What the body raised says more; what close raised was logged when it happened.
            if error is None:
                raise
