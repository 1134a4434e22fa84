"""The package's names, and how its handlers are found."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint

import pytest

import handlers
from eventstore import HandlerRegistry, Operation, RegistrationError
from handlers import EngineState, trading_registry

OPERATIONS = (
    "adjust_cash",
    "bust_trade",
    "correct_trade",
    "define_instrument",
    "full_state",
    "mark",
    "order_closed",
    "order_sent",
    "order_updated",
    "record_trade",
    "settle",
    "split",
    "trade_fee",
    "update_position",
)


def test_every_operation_of_the_package_is_here() -> None:
    payloads = {
        value
        for value in vars(handlers).values()
        if isinstance(value, type) and issubclass(value, Operation)
    }
    assert {payload.__struct_config__.tag for payload in payloads} == set(OPERATIONS)
    assert {*OPERATIONS} < {*handlers.__all__}


def test_the_names_of_the_package_are_the_handlers() -> None:
    for name in OPERATIONS:
        module = importlib.import_module(f"handlers.{name}")
        assert getattr(handlers, name) is getattr(module, name)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_entry_point_may_name_the_function_or_its_module(name: str) -> None:
    function = EntryPoint(name, f"handlers.{name}:{name}", "eventstore.handlers").load()
    assert function is getattr(handlers, name)
    module = EntryPoint(name, f"handlers.{name}", "eventstore.handlers").load()
    assert HandlerRegistry(module).operations == (name,)


def test_installed_handlers_are_found(registry: HandlerRegistry[EngineState]) -> None:
    found = trading_registry()
    assert set(OPERATIONS) <= set(found.operations)
    assert found.state_type is EngineState
    assert found.initial() == EngineState()
    assert registry.fingerprint().items() <= found.fingerprint().items()


def test_a_project_that_is_not_installed_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])  # where installed distributions are looked for
    with pytest.raises(RegistrationError, match=rf"{', '.join(OPERATIONS)}.*pip"):
        trading_registry()
