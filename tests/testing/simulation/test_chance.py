"""Draws by name: independent of the order, and limited to the kept faults."""

from __future__ import annotations

import pytest

from eventstore import ConfigError
from eventstore.testing.simulation import Faults
from eventstore.testing.simulation.chance import Chance


def test_a_draw_depends_on_seed_and_name_alone() -> None:
    chance = Chance(3)
    first = chance.fraction("a"), chance.fraction("b")
    assert (chance.fraction("b"), chance.fraction("a")) == first[::-1]
    assert Chance(4).fraction("a") != first[0]
    assert Chance(3).between(1.0, 2.0, "a") == round(1 + first[0], 6)


def test_draws_are_the_same_for_ever() -> None:
    drawn = [Chance(seed).below(1000, "step of death 1") for seed in range(5)]
    assert drawn == [435, 644, 495, 362, 313]


def test_draws_are_spread_evenly() -> None:
    chance = Chance(0)
    below = sum(chance.fraction(f"draw {number}") < 0.25 for number in range(4000))
    assert 900 < below < 1100


def test_faults_that_strike_are_listed() -> None:
    chance = Chance(0)
    assert [chance.strikes(name, rate) for name, rate in (("a", 1.0), ("b", 0.0))] == [True, False]
    assert chance.applied == ["a"]


def test_only_kept_faults_strike() -> None:
    chance = Chance(0, kept={"b"})
    assert not chance.strikes("a", 1.0)
    assert chance.strikes("b", 1.0)
    assert chance.applied == ["b"]


def test_a_fault_that_took_place_changes_no_later_draw() -> None:
    with_it, without = Chance(3), Chance(3, kept=())
    assert with_it.strikes("a", 1.0)
    assert not without.strikes("a", 1.0)
    assert with_it.fraction("b") == without.fraction("b")


def test_no_fault_strikes_once_all_is_calm() -> None:
    chance = Chance(0)
    chance.calm = True
    assert not chance.strikes("a", 1.0)


@pytest.mark.parametrize(
    "wrong", [{"lost": 1.5}, {"slow": -0.1}, {"deaths": (2, 1)}, {"deaths": (-1, 1)}, {"cut": -1}]
)
def test_rates_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Faults(**wrong)  # type: ignore[arg-type]  # wrong on purpose
