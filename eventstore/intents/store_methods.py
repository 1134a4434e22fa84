"""The methods of an `EventStore` for intents."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any, TypeVar

from eventstore.intents.doubt import Doubt
from eventstore.intents.intending import Intending, IntentPath
from eventstore.intents.time_limits import LAG, Terms
from eventstore.model.operation import Operation, Payload

__all__ = ["IntentMethods"]

OperationT = TypeVar("OperationT", bound=Operation)


class IntentMethods:
    """Base of a store with intents."""

    __slots__ = ()

    def _intent_path(self) -> IntentPath:
        """Return the append path of the store."""
        raise NotImplementedError  # `EventStore` has the path

    def intend(
        self,
        operation: OperationT,
        *also: Payload,
        within: timedelta | None = None,
        lag: timedelta = LAG,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        expected_seq: int | None = None,
    ) -> AbstractAsyncContextManager[Doubt[OperationT]]:
        """Record an intent, and run the body of `async with` once the intent is durable.

        The class of `operation` says `intent=`. `also` are recorded in the same record. An empty
        client order id is filled in by the store. The body gets a `Doubt`, sends the order under
        `Doubt.id`, and settles the doubt. However the body ends, an unsettled intent stays open,
        and the body's exception passes through.

        `within` is the time for which the venue may still act on a request, from `Doubt.time` on.
        `lag` is the delay of the venue's queries: see `Doubt.decidable`. Both are recorded with the
        intent. The other arguments are those of `append`.

        "Durable" is stable storage here, whatever `Durability` says. A store without a log takes a
        snapshot first. If the snapshot fails, the intent is in doubt, and the body does not run.
        Cancelling while the intent is being written leaves an intent in doubt, or none, and the
        body does not run.

        Raises `IntentError` for the id of an open or settled intent, `DuplicateIntentError` for a
        known identity key, `ConfigError` for an operation without `intent=`, and the errors of
        `append`. Then there is no intent, and the body does
        not run.
        """
        terms = Terms.checked(within, lag)
        return Intending(
            self._intent_path(),
            (operation, *also),
            terms,
            key=key,
            metadata=metadata,
            expected_seq=expected_seq,
        )

    @property
    def in_doubt(self) -> tuple[Doubt[Any], ...]:
        """The open intents without anybody at work, oldest first.

        An intent is left out while its `intend` body runs in this process, and while its settlement
        is being written. `recovery.in_doubt` has the intents open at the opening.
        """
        return self._intent_path().intents.in_doubt(self._intent_path())
