"""The state before the first event, as a registry makes it."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any, TypeVar

from eventstore.errors import RegistrationError
from eventstore.model.hidden_package import remedy_for
from eventstore.model.user_code import fold_context
from eventstore.model.value_types import copy_value

__all__ = ["make_initial"]

StateT = TypeVar("StateT")


def make_initial(initial: Callable[[], StateT] | None, state_type: Any) -> StateT:
    """Call `initial`, or `state_type` without arguments, and return a state that nobody else holds.

    Raises `RegistrationError` where there is neither, or making the state raises.
    """
    try:
        if initial is not None:
            return copy_value(fold_context().run(initial))
        if state_type is None:
            remedy = remedy_for(None, "register one, or install its plugin")
            raise RegistrationError(f"this registry has no handlers, so no state either; {remedy}")
        state: StateT = fold_context().run(typing.get_origin(state_type) or state_type)
        return state
    except RegistrationError:
        raise
    except Exception as error:  # a user's function may raise anything
        raise RegistrationError(
            f"the state before the first event cannot be made ({type(error).__name__}: "
            f"{error}): pass initial=, a function without arguments that returns the state"
        ) from error
