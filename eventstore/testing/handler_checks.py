"""Checks for handlers: one line in a plugin's tests.

Theory of operation
-------------------
A log is folded again and again, by other processes, years later, and must give the same state each
time. A handler therefore owes more than the right result. Most of its duties can be checked
without knowledge of its purpose. `check_handler` draws runs of payloads from the payload types
(`strategies.py`), folds each run from the start states, and checks four rules at every event:

* *total*: the handler returns a state of the right type, or raises an exception named in `refuses`.
* *pure*: the old state and the event stay unchanged. The new state and the event share no part that
  can change. The handler asks for no clock, no random number and no environment
  (`impure_calls.py`).
* *deterministic*: the same event gives the same state again. So does the state loaded from a
  snapshot, and so does another interpreter under another hash seed and time zone
  (`reading/hash_seed_fold.py`).
* *lasting*: payload and state come back from their bytes exactly, so the state after a restart is
  the state before.

Registered upcasters are checked on the way: old payloads are drawn too, and led to current ones.

Hypothesis draws the runs and shrinks a failing one. The choices are derived from the types alone,
so a check that fails once fails every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from eventstore.arguments import argument_error, checked_count
from eventstore.model.operation import Operation
from eventstore.model.registry import HandlerRegistry
from eventstore.reading.arguments import checked_registry
from eventstore.reading.hash_seed_fold import Source, source_of
from eventstore.testing.handler_rules import Append, HandlerCheckError, Refusals, RunCheck
from eventstore.testing.strategies import hypothesis_strategies
from eventstore.testing.strategies import payloads as payloads_of

__all__ = ["HandlerCheckError", "HandlerReport", "check_handler", "check_registry"]

_FIRST_TIME = (
    1_600_000_000_000_000_000  # nanoseconds: a moment of 2020, which no clock gives any more
)
_MOST_EVENTS = 6  # events in a run

Strategies = Mapping[type[Operation], Any]


class HandlerReport(NamedTuple):
    """The work of a check.

    `folded` and `refused` count the events by operation. `hash_seeds` are the seeds of the other
    interpreters.
    """

    folded: dict[str, int]
    refused: dict[str, int]
    hash_seeds: tuple[int, ...]


def check_handler(
    *handlers: Any,
    states: Iterable[Any] = (),
    payloads: Any = None,  # Hypothesis is optional, so its type is not named
    refuses: Refusals = (),
    initial: Callable[[], Any] | None = None,
    examples: int = 100,
    hash_seeds: Sequence[int] = (1, 2),
) -> HandlerReport:
    """Check one handler or several handlers of one state, with their upcasters.

    Args:
        handlers: The arguments of a `HandlerRegistry`, or one registry.
        states: Start states, besides the initial one.
        payloads: A Hypothesis strategy, or a mapping of payload class to strategy, for payload
            types that allow more than makes sense. The default draws from the types.
        refuses: The exceptions that the handlers raise on purpose.
        initial: Makes the initial state.
        examples: The number of runs of events to fold.
        hash_seeds: The hash seeds of the other interpreters. `()` starts none, which handlers
            without an importable name need.

    Returns:
        The events folded and refused, by operation, and the hash seeds.

    Raises:
        HandlerCheckError: A rule is broken. The error, an `AssertionError`, shows the smallest run.
        ValueError: A handler cannot be imported by another interpreter, or no payload can be drawn.
        ConfigError: An argument is of a wrong type.
        RegistrationError: The handlers do not fit together.
        ModuleNotFoundError: Hypothesis is not installed.

    >>> from eventstore import Event, Operation, handler
    >>> class Deposit(Operation):
    ...     cents: int
    >>> @handler
    ... def deposit(state: dict[str, int], event: Event[Deposit]) -> dict[str, int]:
    ...     state["cents"] = state.get("cents", 0) + event.data.cents
    ...     return state
    >>> check_handler(deposit, hash_seeds=())
    Traceback (most recent call last):
    eventstore.testing.handler_rules.HandlerCheckError: <handler ...deposit> is not pure: it changed
    ...
    """
    if len(handlers) == 1 and isinstance(handlers[0], HandlerRegistry):
        registry = handlers[0]
    else:
        registry = HandlerRegistry(*handlers, initial=initial)
    return check_registry(
        registry,
        states=states,
        payloads=payloads,
        refuses=refuses,
        examples=examples,
        hash_seeds=hash_seeds,
    )


def check_registry(
    registry: HandlerRegistry[Any],
    *,
    states: Iterable[Any] = (),
    payloads: Any = None,  # Hypothesis is optional, so its type is not named
    refuses: Refusals = (),
    examples: int = 100,
    hash_seeds: Sequence[int] = (1, 2),
) -> HandlerReport:
    """Check all handlers of a registry together, in runs that mix their operations.

    Arguments, result and errors are those of `check_handler`.
    """
    checked_registry(registry)
    _check_settings(states, payloads, examples, hash_seeds)
    registry.fingerprint()  # raises where handlers, upcasters and state do not fit together
    check = RunCheck(registry, refuses)
    sources = _importable_sources(registry) if hash_seeds else []
    _explore(check, _runs_strategy(registry, payloads), [None, *states], examples)
    for operation in registry.operations:
        if not check.folded[operation]:
            raise HandlerCheckError(
                f"the handler of {operation!r} refused every payload that was tried "
                f"({check.refused[operation]}), so nothing was checked: give start states or "
                "payloads that it accepts",
                check="total",
                operation=operation,
            )
    for seed in hash_seeds:
        check.compare_elsewhere(sources, seed)
    return HandlerReport(dict(check.folded), dict(check.refused), tuple(hash_seeds))


def _check_settings(states: Any, payloads: Any, examples: Any, hash_seeds: Any) -> None:
    """Raise `ConfigError` for an argument of a wrong type."""
    if isinstance(states, str | bytes) or not isinstance(states, Iterable):
        raise argument_error("states", states, "expected several start states, such as [state]")
    strategy = callable(getattr(payloads, "example", None)) and not isinstance(payloads, type)
    if payloads is not None and not strategy and not isinstance(payloads, Mapping):
        raise argument_error("payloads", payloads, "expected a strategy, or one for each class")
    checked_count("examples", examples, "a number of runs")
    if not isinstance(hash_seeds, list | tuple | range) or not all(
        type(seed) is int and 0 <= seed < 1 << 32 for seed in hash_seeds
    ):
        raise argument_error("hash_seeds", hash_seeds, "expected whole numbers of 32 bits")


def _importable_sources(registry: HandlerRegistry[Any]) -> list[Source]:
    found = []
    for item in registry.items:
        source = source_of(item)
        if source is None:
            raise ValueError(
                f"{item!r} cannot be imported by another interpreter, which is how order that "
                "depends on hash seeds is found: define it at the top of a module, under the name "
                "of its function, or pass hash_seeds=() to go without that check"
            )
        found.append(source)
    return found


# ---- what is tried -------------------------------------------------------------------------


def _runs_strategy(registry: HandlerRegistry[Any], own: Any) -> Any:
    """A strategy for runs of appends, over all current and old payloads of a registry."""
    st = hypothesis_strategies()
    types = registry.payload_types
    strategies: Strategies
    if own is None:
        strategies = {}
    elif isinstance(own, Mapping):
        strategies = own
    else:
        strategies = dict.fromkeys(registry.functions, own)
    drawn = [strategies[kind] if kind in strategies else payloads_of(kind) for kind in types]
    metadata = st.just({"source": ["check"]})
    append = st.builds(
        Append,
        st.one_of(drawn),
        st.integers(_FIRST_TIME, _FIRST_TIME + 86_400_000_000_000),
        st.one_of(st.none(), st.sampled_from(("k-1", "k-2"))),
        st.one_of(st.none(), metadata),
    )
    return st.lists(append, min_size=1, max_size=_MOST_EVENTS)


def _explore(check: RunCheck, runs: Any, states: list[Any], examples: int) -> None:
    """Fold up to `examples` runs. Raises the error of the smallest run that fails."""
    from hypothesis import HealthCheck, Phase, Verbosity, given, settings
    from hypothesis.errors import Unsatisfiable

    st = hypothesis_strategies()
    failure: HandlerCheckError | None = None

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(st.integers(0, len(states) - 1), runs)
    def explore(start: int, run: list[Append]) -> None:
        nonlocal failure
        try:
            check.run(states[start], run)
        except HandlerCheckError as error:
            failure = error
            raise

    try:
        explore()
    except Unsatisfiable as error:
        raise ValueError(
            "no payload could be generated that its class accepts: pass payloads= with a strategy"
        ) from error
    except Exception:  # Hypothesis wraps a failed check, which is raised below
        if failure is None:
            raise
    if failure is not None:
        raise HandlerCheckError(
            str(failure), check=failure.check, operation=failure.operation
        ) from failure.__cause__
