"""The package's names, and how its handlers are found."""

from __future__ import annotations

import importlib
from importlib.metadata import EntryPoint

import pytest

import handlers
from eventstore import HandlerRegistry, RegistrationError
from handlers import EngineState, full_state, record_trade, trading_registry, update_position

OPERATIONS = ("full_state", "record_trade", "update_position")


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


def test_installed_handlers_are_found() -> None:
    registry = trading_registry()
    assert set(OPERATIONS) <= set(registry.operations)
    assert registry.state_type is EngineState
    assert registry.initial() == EngineState()
    by_hand = HandlerRegistry(update_position, record_trade, full_state).fingerprint()
    assert by_hand.items() <= registry.fingerprint().items()


def test_a_project_that_is_not_installed_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])  # where installed distributions are looked for
    with pytest.raises(RegistrationError, match=r"full_state, record_trade, update_position.*pip"):
        trading_registry()
