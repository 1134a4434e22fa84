"""The class arguments of operations against the types of the fields."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest

from eventstore import Event, HandlerRegistry, Operation, RegistrationError, handler

METACLASS: Any = type(Operation)


def registered(kind: Any, default: Any = msgspec.NODEFAULT, **traits: Any) -> None:
    """Register an operation with the one field `value`."""
    namespace = {"__annotations__": {"value": kind}, "value": default}
    if default is msgspec.NODEFAULT:
        del namespace["value"]
    made: Any = METACLASS("Made", (Operation,), namespace, **traits)

    def made_handler(state: int, event: Any) -> int:
        return state

    made_handler.__annotations__.update(state=int, event=Event[made], **{"return": int})
    HandlerRegistry[int](handler(made_handler), initial=int)


@pytest.mark.parametrize("argument", ["intent", "settles"])
@pytest.mark.parametrize("kind", [int, uuid.UUID, bytes, float | None, list[str]])
def test_an_order_id_is_a_text(argument: str, kind: Any) -> None:
    with pytest.raises(RegistrationError, match=rf"{argument}='value'.*annotate the field as str"):
        registered(kind, **{argument: "value"})


@pytest.mark.parametrize(
    "kind",
    [str, str | None, Annotated[str, msgspec.Meta(min_length=1)], Literal["a"], Any],
)
def test_fields_of_an_order_id(kind: Any) -> None:
    registered(kind, settles="value")
    registered(kind, intent="value")


@pytest.mark.parametrize("kind", [float, bool, bytes, dict[str, int], dt.timedelta, float | None])
def test_a_field_that_is_no_part_of_a_key(kind: Any) -> None:
    with pytest.raises(RegistrationError, match=r"key='value'.*no part of a key"):
        registered(kind, key="value")


@pytest.mark.parametrize(
    "kind",
    [str, int, Decimal, uuid.UUID, dt.datetime, dt.date, int | None, str | int, tuple[str, int],
     Annotated[int, msgspec.Meta(ge=0)]],
)  # fmt: skip
def test_fields_of_a_key(kind: Any) -> None:
    registered(kind, key="value")


def test_a_key_function_is_no_coroutine_function() -> None:
    async def made(payload: Any) -> str:
        return "a"

    with pytest.raises(RegistrationError, match="a plain function"):
        registered(str, key=made)
