"""The traits of an operation: taken from the class, inherited, and checked."""

from __future__ import annotations

from typing import Any

import pytest

from eventstore import Durability, Operation, RegistrationError
from eventstore.model.operation_traits import OperationTraits, TraitsByType, traits_of


class Plain(Operation):
    symbol: str


class Fill(Operation, key=("symbol", "fill"), settles="order", durability="interval"):
    symbol: str
    fill: str
    order: str


class UrgentFill(Fill, essential=True, durability=None):
    pass


def test_an_operation_without_traits_is_plain() -> None:
    assert traits_of(Plain) is None
    assert traits_of(int) is None


def test_the_class_keeps_its_traits_and_a_subclass_inherits_them() -> None:
    assert traits_of(Fill) == OperationTraits(
        key=("symbol", "fill"), settles="order", durability=Durability.INTERVAL
    )
    assert traits_of(UrgentFill) == OperationTraits(
        key=("symbol", "fill"), settles="order", essential=True
    )
    assert UrgentFill(symbol="a", fill="b", order="c").symbol == "a"


def test_a_registry_knows_which_classes_concern_the_commit_path() -> None:
    class Essential(Operation, essential=True):
        pass

    class Order(Operation, intent="order"):
        order: str

    by_type = TraitsByType()
    for kind in (Plain, Essential, Fill, UrgentFill, Order):
        by_type.add(kind)
    assert by_type.keys() == {Essential, Fill, UrgentFill, Order}
    assert by_type.keyed == {Fill, UrgentFill}
    assert by_type.leveled == {Fill, Order}, "an intent is on the disk before anybody acts on it"


def test_one_field_and_a_list_of_fields_are_keys_too() -> None:
    one = type("One", (Plain,), {}, key="symbol")
    several = type("Several", (Plain,), {}, key=["symbol"])
    assert traits_of(one) == traits_of(several) == OperationTraits(key=("symbol",))


def test_a_version_after_the_first_has_traits_of_its_own() -> None:
    class Second(Operation, tag="fill", version=2, key="fill"):
        fill: str

    assert traits_of(Second) == OperationTraits(key=("fill",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"key": "symbl"}, r"'symbl' is none of its fields \(known: symbol\)"),
        ({"key": ("symbol", "fill")}, "'fill' is none of its fields"),
        ({"key": 5}, "key=5 is not the name of a field, several, or a plain function"),
        ({"key": ()}, r"key=\(\) is not"),
        ({"key": ("symbol", 1)}, "is not the name of a field"),
        ({"settles": "order"}, "'order' is none of its fields"),
        ({"intent": 5}, "intent=5 is not the name of a field"),
        (
            {"durability": "always"},
            "='always' is not one of 'commit', 'interval', 'none'",
        ),
        ({"durability": 5}, "durability=5 is not one of"),
        ({"essential": 1}, "essential=1 is not True or False"),
        ({"on_conflict": "last"}, "on_conflict='last' is not 'refuse' or 'first'"),
    ],
)
def test_an_impossible_trait_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(RegistrationError, match=said) as caught:
        type("Wrong", (Plain,), {}, **arguments)
    assert "operation Wrong" in str(caught.value)
