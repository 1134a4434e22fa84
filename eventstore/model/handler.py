"""Handlers and upcasters: the functions that plugin authors mark.

A *handler* is a pure function `(state, event) -> new state`, marked with `@handler`. An *upcaster*
turns an older payload of an operation into a newer one, and is marked with `@upcaster`. The
operation and the state type are read from the annotations at registration.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, Generic, TypeVar, overload

from eventstore.arguments import describe
from eventstore.error_base import REPAIR
from eventstore.errors import InvalidPayloadError, RegistrationError, ReplayError
from eventstore.model.operation import Event, Operation
from eventstore.model.user_code import fold_context

__all__ = ["Handler", "Registrable", "Upcaster", "handler", "upcaster"]

StateT = TypeVar("StateT")
PayloadT = TypeVar("PayloadT", bound=Operation)
OldT = TypeVar("OldT", bound=Operation)
NewT = TypeVar("NewT")
"""The result of an upcaster: an operation, several operations, or none."""


class Handler(Generic[StateT, PayloadT]):
    """A function marked with `@handler`. Calling the handler calls the function.

    `version` and `trusted` are those given to the mark, 1 and false by default.
    """

    def __init__(
        self,
        function: Callable[[StateT, Event[PayloadT]], StateT],
        version: int,
        trusted: bool = False,
    ) -> None:
        _check_function(function, "@handler")
        self.function = function
        self.version = version
        self.trusted = trusted
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, state: StateT, event: Event[PayloadT]) -> StateT:
        return self.function(state, event)

    def __repr__(self) -> str:
        version = "" if self.version == 1 else f" version {self.version}"
        return f"<handler {self.__module__}.{self.__name__}{version}>"

    def types(self) -> tuple[Any, type[Operation]]:
        """Return the state type and the payload type, read from the annotations.

        Raises `RegistrationError` for a coroutine or generator function, and for annotations that
        are missing or name other types.
        """
        if not _is_plain_function(self.function):
            raise RegistrationError(
                f"{self!r} must be a plain function that returns a state: it may not await or yield"
            )
        hints, parameters = _annotations(self.function, "handler", 2)
        state_type = hints.get(parameters[0])
        event_type = hints.get(parameters[1])
        if typing.get_origin(event_type) is not Event or state_type is None:
            raise RegistrationError(
                f"{self!r} must be annotated as (state: YourState, event: Event[YourOperation]) -> "
                f"YourState; found state: {state_type!r}, event: {event_type!r}"
            )
        payload_type = typing.get_args(event_type)[0]
        if not (isinstance(payload_type, type) and issubclass(payload_type, Operation)):
            raise RegistrationError(
                f"{self!r}: {payload_type!r} is no payload class; derive it from "
                "eventstore.Operation"
            )
        return state_type, payload_type


class Upcaster(Generic[OldT, NewT]):
    """A function marked with `@upcaster`. Calling the upcaster calls the function."""

    def __init__(self, function: Callable[[OldT], NewT]) -> None:
        _check_function(function, "@upcaster")
        self.function = function
        self.__doc__ = function.__doc__
        self.__name__: str = function.__name__
        self.__module__ = function.__module__

    def __call__(self, old: OldT) -> NewT:
        return self.function(old)

    def __repr__(self) -> str:
        return f"<upcaster {self.__module__}.{self.__name__}>"

    def old_type(self) -> type[Operation]:
        """Return the payload class that the upcaster takes, read from the annotations.

        Raises `RegistrationError` for annotations that are missing or name no payload class.
        """
        hints, parameters = _annotations(self.function, "upcaster", 1)
        old = hints.get(parameters[0])
        if not (isinstance(old, type) and issubclass(old, Operation)):
            raise RegistrationError(
                f"{self!r} must be annotated as (old: OldOperation) -> NewOperation; found {old!r}"
            )
        return old

    def new_types(self) -> frozenset[type[Operation]] | None:
        """Return the payload classes of the result, `None` where the annotation leaves them open.

        Annotations such as `New`, `tuple[One, Other]`, `list[One | Other]` and `New | None` name
        the classes. The annotation `Operation` leaves the classes open.

        Raises `RegistrationError` for a coroutine or generator function, and for an annotation
        that names no payload class.
        """
        if not _is_plain_function(self.function):
            raise RegistrationError(f"{self!r} must be a plain function: it may not await or yield")
        hints, _ = _annotations(self.function, "upcaster", 1)
        found = frozenset(_classes_in(hints.get("return")))
        if not all(isinstance(kind, type) and issubclass(kind, Operation) for kind in found):
            found = frozenset()
        if not found:
            raise RegistrationError(
                f"{self!r} must be annotated as (old: OldOperation) -> NewOperation, or a list or "
                f"tuple of operations; it returns {hints.get('return', 'nothing that it says')!r}"
            )
        return None if Operation in found else found

    def may_split(self) -> bool:
        """Whether the annotation lets one old operation become several."""
        hints, _ = _annotations(self.function, "upcaster", 1)
        return _holds_several(hints.get("return"))


Registrable = Handler[StateT, Any] | Upcaster[Any, Any] | ModuleType | Iterable[Any]
"""A handler, an upcaster, or a module or an iterable that holds some: what a registry takes."""


@overload
def handler(
    function: Callable[[StateT, Event[PayloadT]], StateT], /
) -> Handler[StateT, PayloadT]: ...
@overload
def handler(
    *, version: int = 1, trusted: bool = False
) -> Callable[[Callable[[StateT, Event[PayloadT]], StateT]], Handler[StateT, PayloadT]]: ...
def handler(function: Any = None, /, *, version: int = 1, trusted: bool = False) -> Any:
    """Mark a pure function `(state, event) -> new state` as the handler of an operation.

    The operation and the state type are read from the annotations at registration. Raise `version`
    (a positive integer) whenever the same events are to give another state than before. Snapshots
    made by another version are not used, and the state is folded again.

    With `trusted`, an append does not check by its type what the function returned. The check takes
    about as long as the fold of a trade. Trust a function once a test of yours has had
    `eventstore.testing.check_handler` try the function. Where such a function does return a state
    that its type refuses, the next snapshot raises `StateRefusedError`, and so does an opening that
    folds from the first event on, or an event of another handler. The log has every event, and
    opens once the function is mended.

    Raises `RegistrationError` for a version that is no positive integer, and a `trusted` that is no
    bool.

    >>> class Deposit(Operation):
    ...     amount: float
    >>> @handler
    ... def deposit(state: float, event: Event[Deposit]) -> float:
    ...     return state + event.data.amount
    >>> deposit(1.0, Event(1, 0, Deposit(amount=2.0)))
    3.0
    """
    if type(version) is not int or version < 1:
        raise RegistrationError(
            f"@handler: the version must be a positive integer, not {describe(version)}"
        )
    if type(trusted) is not bool:
        raise RegistrationError(f"@handler: trusted must be True or False, not {describe(trusted)}")
    if function is None:
        return lambda marked: Handler(marked, version, trusted)
    if not callable(function):
        raise RegistrationError(
            f"@handler marks a function, not {describe(function)}; for a version: "
            "@handler(version=2)"
        )
    return Handler(function, version, trusted)


def upcaster(function: Callable[[OldT], NewT]) -> Upcaster[OldT, NewT]:
    """Mark a function that turns an old payload into a newer one of the same operation.

    Raises `RegistrationError` for an object that is no function.
    """
    return Upcaster(function)


def _check_function(function: Any, mark: str) -> None:
    if isinstance(function, Handler | Upcaster):
        raise RegistrationError(f"{mark}: {function!r} has its mark already")
    if not callable(function) or isinstance(function, type) or not hasattr(function, "__name__"):
        raise RegistrationError(
            f"{mark} marks a function, written with def, not {describe(function)}"
        )


def checked_callable(initial: Any) -> None:
    """Raise `RegistrationError` for an `initial` that cannot be called. `None` stands for none."""
    if initial is not None and not callable(initial):
        raise RegistrationError(
            f"initial = {describe(initial)}: expected a function without arguments that returns "
            "the state before the first event"
        )


def _is_plain_function(function: Callable[..., Any]) -> bool:
    """Whether a call runs the whole body, as of no coroutine and no generator function."""
    return not (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )


def _classes_in(kind: Any) -> Iterator[Any]:
    """The classes in an annotation, also inside unions, lists and tuples."""
    arguments = typing.get_args(kind)
    if not arguments and kind not in (None, type(None), ...):
        yield kind
    for argument in arguments:
        yield from _classes_in(argument)


def _holds_several(kind: Any) -> bool:
    """Whether an annotation is a tuple, a list or any operation, or a union with one of these."""
    origin = typing.get_origin(kind) or kind
    if origin in (tuple, list, Operation):
        return True
    return origin in (typing.Union, types.UnionType) and any(
        map(_holds_several, typing.get_args(kind))
    )


def _annotations(
    function: Callable[..., Any], kind: str, count: int
) -> tuple[dict[str, Any], list[str]]:
    name = f"{kind} {function.__module__}.{getattr(function, '__qualname__', function)}"
    try:
        hints = typing.get_type_hints(function)
    except NameError:
        hints = _hints_in_closure(function, name)
    except (AttributeError, TypeError, SyntaxError) as error:
        raise RegistrationError(f"{name}: its annotations cannot be resolved ({error})") from error
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError) as error:
        raise RegistrationError(f"{name}: its arguments are unknown ({error})") from error
    parameters = list(signature.parameters)
    if len(parameters) != count:
        raise RegistrationError(f"{name} must take {count} argument(s), it takes {parameters}")
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if not kinds <= {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        raise RegistrationError(f"{name} must take its arguments by position: {signature}")
    return hints, parameters


def _hints_in_closure(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The annotations of an inner function, resolved with the classes of the outer function."""
    nonlocals = inspect.getclosurevars(function).nonlocals
    try:
        return typing.get_type_hints(function, localns=dict(nonlocals))
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise RegistrationError(
            f"{name}: its annotations cannot be resolved ({error}); import those names at run "
            "time, not only for type checking, and define them at the top of a module"
        ) from error


def fold_events(
    functions: Mapping[type[Any], Callable[[StateT, Event[Any]], StateT]],
    state: StateT,
    events: Iterable[Event[Any]],
) -> StateT:
    """Fold upcast events of the log by the handlers' functions, inside a `fold_context`.

    Raises `ReplayError`, naming event and operation, from the exception of a handler.
    """
    for event in events:
        try:
            folded = functions[type(event.data)](state, event)
        except Exception as error:  # a handler may raise anything
            raise replay_error(event, error) from error
        if folded is None and state is not None:
            raise replay_error(event, TypeError("it returned None instead of a state"))
        state = folded
    return state


def fold_each(
    functions: Mapping[type[Any], Callable[[StateT, Event[Any]], StateT]],
    state: StateT,
    events: Iterable[Event[Any]],
) -> Iterator[tuple[Event[Any], StateT]]:
    """Fold upcast events as `fold_events` does, and yield each event with the state after it.

    Each handler runs in a `fold_context`. The caller's code between two events does not.
    """
    run = fold_context().run
    for event in events:
        try:
            folded = run(functions[type(event.data)], state, event)
        except Exception as error:  # a handler may raise anything
            raise replay_error(event, error) from error
        if folded is None and state is not None:
            raise replay_error(event, TypeError("it returned None instead of a state"))
        state = folded
        yield event, state


def replay_error(event: Event[Any], error: Exception) -> ReplayError:
    """Make the error for an event of the log on which the handler raised `error`."""
    return ReplayError(
        f"the handler of {event.operation!r} raised {type(error).__name__} on event {event.seq}: "
        f"{error}. Nothing was written; install the plugin version that recorded it, correct the "
        f"handler, or {REPAIR}",
        seq=event.seq,
        operation=event.operation,
    )


STOPPED = "raised StopIteration: does it call next() without a default?"
NO_STATE = "returned None instead of a state: does it lack a return?"
"""The faults of a handler that `handler_fault_error` tells."""


def handler_fault_error(event: Event[Any], fault: str) -> InvalidPayloadError:
    """Make the error for an event that is being appended, and whose handler is at fault."""
    return InvalidPayloadError(
        f"the handler of {event.operation!r} {fault} Nothing was written",
        operation=event.operation,
    )
