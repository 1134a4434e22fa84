"""`--registry module:name`: what a name may lead to, and what is said of anything else."""

from __future__ import annotations

import click
import pytest

from eventstore.command_line.registries import load_registry
from tests.support.bank import bank_registry


@pytest.mark.parametrize("name", ["tests.support.bank:bank_registry"])
def test_a_registry_or_a_function_that_makes_one(name: str) -> None:
    assert load_registry(name).same_as(bank_registry())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tests.support.bank:deposit", "is <handler tests.support.bank.deposit>: name a Handler"),
        ("tests.support.bank:Bank", "is Bank, and no HandlerRegistry"),
        ("tests.support.bank:nothing", "has no attribute 'nothing'"),
        ("tests.support.bank", "is not module:name"),
    ],
)
def test_anything_else_is_refused(name: str, said: str) -> None:
    with pytest.raises(click.BadParameter, match=said):
        load_registry(name)


def test_no_escape_of_a_name_reaches_the_terminal() -> None:
    for name in ("tests.support.bank:\x1b[31m", "\x1b[31m"):
        with pytest.raises(click.BadParameter) as refused:
            load_registry(name)
        assert "\x1b" not in refused.value.format_message()
