"""Which types are read by msgspec alone, and which by code of a class."""

from __future__ import annotations

import dataclasses
import enum
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import msgspec
import pytest
from immutables import Map

from eventstore.model.own_code import runs_own_code
from eventstore.model.type_tree import type_tree
from handlers import EngineState


class Plain(msgspec.Struct):
    amounts: Map[str, Decimal] = Map()
    parts: list[Plain] = []
    whole: tuple[int, str] | None = None


class WithCode(msgspec.Struct):
    amount: int = 0

    def __post_init__(self) -> None:
        self.amount += 1


class WithFactory(msgspec.Struct):
    amount: int = msgspec.field(default_factory=lambda: 1)


class Place(NamedTuple):
    row: int


@dataclasses.dataclass
class Classic:
    amount: int


class Typed(TypedDict):
    amount: int


class Side(enum.Enum):
    BUY = "buy"


class Lenient(enum.Enum):
    BUY = "buy"

    @classmethod
    def _missing_(cls, value: object) -> Lenient:
        return cls.BUY


@pytest.mark.parametrize(
    "kind",
    [int, Any, Plain, Typed, Side, EngineState, dict[str, Plain], tuple[Plain, ...], Plain | None],
)
def test_msgspec_alone(kind: Any) -> None:
    assert not runs_own_code(type_tree(kind))


@pytest.mark.parametrize("kind", [WithCode, WithFactory, Place, Classic, Lenient])
def test_code_of_a_class_however_deep(kind: Any) -> None:
    assert runs_own_code(type_tree(kind))
    assert runs_own_code(type_tree(Map[str, tuple[int, kind | None]]))
