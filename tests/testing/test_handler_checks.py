"""The checks that plugin authors call find each broken rule, and nothing else."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st

from eventstore import Event, EventStore, HandlerRegistry, InvalidPayloadError, Operation, handler
from eventstore.testing import HandlerCheckError, check_handler, check_registry
from eventstore.testing.differences import difference, shared_part
from eventstore.testing.impure_calls import recording_impure_calls
from handlers import FullState, Settle, TradingError, trading_registry
from tests.support import bank
from tests.support.bank import Bank, InsufficientFundsError, deposit, withdraw
from tests.testing import careless
from tests.testing.careless import Book, Notes, Place, RefusedError, Write

ROOT = Path(__file__).resolve().parents[2]


def found_in(*handlers: Any, **options: Any) -> HandlerCheckError:
    options.setdefault("hash_seeds", ())
    with pytest.raises(HandlerCheckError) as caught:
        check_handler(*handlers, **options)
    return caught.value


class TestWhatIsRight:
    def test_the_trading_handlers_keep_every_rule(self) -> None:
        refuses = (InvalidPayloadError, TradingError)
        plain = st.dictionaries(st.sampled_from(["mode", "note"]), st.text(max_size=3), max_size=2)
        whole = st.builds(FullState, cash=st.integers(0, 10**6), rest=plain)
        settled = st.builds(
            Settle, symbol=st.just("A"), price=st.integers(1, 9), reference=st.text(min_size=1),
            final=st.just(True),
        )  # fmt: skip
        report = check_registry(
            trading_registry(),
            refuses=refuses,
            payloads={FullState: whole, Settle: settled},
            examples=300,
        )
        assert report.folded.keys() == {*trading_registry().operations}
        assert report.refused.keys() < report.folded.keys()
        assert report.hash_seeds == (1, 2)

    @pytest.mark.parametrize(
        "item", [careless.right, careless.right_notes, careless.draws_from_the_seed]
    )
    def test_one_handler_is_one_line(self, item: Any) -> None:
        assert sum(check_handler(item, hash_seeds=()).folded.values()) > 100

    def test_what_is_refused_on_purpose_is_counted(self) -> None:
        report = check_handler(deposit, withdraw, refuses=InsufficientFundsError, hash_seeds=(3,))
        assert report.folded.keys() == {"deposit", "withdraw"}
        assert report.refused.keys() == {"withdraw"}

    def test_modules_and_registries_are_taken_too(self) -> None:
        options: Any = {"refuses": InsufficientFundsError, "hash_seeds": ()}
        assert check_handler(bank, **options) == check_handler(bank.bank_registry(), **options)

    def test_a_sorted_set_is_in_order(self) -> None:
        check_handler(careless.sorts_the_set, hash_seeds=(1,))


PURE = {
    careless.changes_the_state: "it changed the old state: `$.by_topic` has 'AAPL' after only",
    careless.returns_the_state_changed: "it changed the old state: `$.lines` has 0 items before",
    careless.changes_the_payload: "it changed the event: `$.data.lines` has 0 items before and 1",
    careless.changes_the_metadata: "it changed the event: `$.metadata` has 'seen' after only",
    careless.keeps_the_payloads_list: "holds at `$.by_topic['AAPL']` the very object that the "
    "event holds at `$.lines`",
    careless.reads_the_clock: "it calls time.time_ns() at {file}",
    careless.reads_the_date: "it calls datetime.now() at {file}",
    careless.draws_a_number: "it calls random.getrandbits() at",
    careless.makes_an_identifier: "it calls posix.urandom() at",
    careless.asks_the_environment: "it calls os.environ at",
    careless.reads_a_file: "io.open() at {file}",
}

DETERMINISTIC = {
    careless.counts_its_calls: "folding the event again gives another state: `$.at` is",
}

ELSEWHERE = {
    careless.goes_by_the_order_of_a_set: "`$.symbols[",
    careless.goes_by_the_order_of_a_map: "`$.symbols[",
    careless.hashes_a_text: "`$.at` is",
    careless.goes_by_local_time: "`$.at` is",
}

LASTING = {
    careless.adds_without_bounds: "`$.total` is NaN",
    careless.exceeds_the_states_bounds: "cannot be read again: Expected `float`",
    careless.puts_a_whole_number_for_a_float: "`$.total` is 0 before and 0.0 after",
    careless.puts_tuples_into_plain_data: "is (0,) before and [0] after",
    careless.puts_what_cannot_be_carried: "a snapshot cannot carry {'AAPL': 0j}",
}

TOTAL = {
    careless.divides: "it raised ZeroDivisionError: integer division or modulo by zero",
    careless.forgets_to_return: "it returned None, no Book: does it lack a return?",
    careless.returns_something_else: "it returned immutables.Map({}), no Book",
}


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("check", "item", "says"),
        [
            *(("pure", item, says) for item, says in PURE.items()),
            *(("deterministic", item, says) for item, says in DETERMINISTIC.items()),
            *(("lasting", item, says) for item, says in LASTING.items()),
            *(("total", item, says) for item, says in TOTAL.items()),
        ],
        ids=lambda part: getattr(part, "__name__", ""),
    )
    def test_it_is_found_and_named(self, check: str, item: Any, says: str) -> None:
        error = found_in(item, examples=400)  # Hypothesis also draws from the modules it sees
        assert error.check == check
        assert error.operation in ("place", "write", "weigh", "basket")
        message = str(error)
        assert message.startswith(
            f"<handler tests.testing.careless.{item.__name__}> is not {check}:"
        )
        assert says.replace("{file}", careless.__file__) in message
        assert "event: Event(seq=" in message

    @pytest.mark.parametrize(
        ("item", "says"), ELSEWHERE.items(), ids=lambda part: getattr(part, "__name__", "")
    )
    def test_what_only_another_interpreter_shows_is_found(self, item: Any, says: str) -> None:
        found_by_others = found_in(item, hash_seeds=(1, 2), examples=30)
        assert found_by_others.check == "deterministic"
        assert "under another hash seed" in str(found_by_others)
        assert says in str(found_by_others)

    def test_a_refusal_that_depends_on_something_else_is_found(self) -> None:
        error = found_in(careless.refuses_now_and_then, refuses=PermissionError)
        assert error.check == "deterministic"
        assert "only some of the times" in str(error)

    def test_the_smallest_run_is_shown(self) -> None:
        message = str(found_in(careless.divides))
        assert "size=0" in message
        assert "seq=1" in message
        assert "state: Book(orders=immutables.Map({}), symbols=(), total=0.0, at=0)" in message

    def test_the_cause_of_a_failure_is_kept(self) -> None:
        assert isinstance(found_in(careless.divides).__cause__, ZeroDivisionError)

    def test_it_fails_the_same_way_every_time(self) -> None:
        assert str(found_in(careless.divides)) == str(found_in(careless.divides))

    def test_a_payload_whose_own_default_is_refused_is_found(self) -> None:
        error = found_in(legs)
        assert error.check == "lasting"
        assert "a payload that its type allows is refused" in str(error)


class TestRefusals:
    def test_they_have_to_be_named(self) -> None:
        error = found_in(careless.refuses_small_ones)
        assert "it raised RefusedError: 0" in str(error)
        assert "refuses=RefusedError" in str(error)
        check_handler(careless.refuses_small_ones, refuses=(RefusedError, KeyError), hash_seeds=())

    def test_a_handler_that_refuses_everything_was_not_checked(self) -> None:
        error = found_in(careless.refuses_all, refuses=RefusedError)
        assert "so nothing was checked" in str(error)

    def test_start_states_show_what_the_initial_one_does_not(self) -> None:
        check_handler(withdraw_all, hash_seeds=())
        rich = Bank(msgspec.convert({"a": 3}, dict))
        assert "start state" in str(found_in(withdraw_all, states=[rich]))
        assert "it raised ArithmeticError" in str(
            found_in(withdraw_all, states=[bank.bank_after(3)])
        )

    def test_payloads_of_your_own(self) -> None:
        large = st.builds(Place, symbol=st.just("A"), size=st.integers(500, 1000))
        for payloads in (large, {Place: large}):
            report = check_handler(careless.divides, payloads=payloads, hash_seeds=())
            assert report.folded["place"] > 0


class Legs(Operation):
    legs: Sequence[int] = ()  # comes back as a list


@handler
def legs(state: Book, event: Event[Legs]) -> Book:
    return state


@handler
def withdraw_all(state: Bank, event: Event[bank.Withdraw]) -> Bank:
    if state.balances:
        raise ArithmeticError
    return Bank(state.balances, event.seq)


class TestUpcasters:
    def test_old_payloads_are_led_on_and_folded(self) -> None:
        report = check_handler(careless.right, careless.right_upcaster, hash_seeds=(1,))
        assert report.folded.keys() == {"place"}

    @pytest.mark.parametrize(
        ("item", "check", "says"),
        [
            (careless.upcaster_that_raises, "total", "raised ValueError"),
            (careless.upcaster_that_leaves_the_types, "lasting", "field `$.symbol`"),
            (careless.upcaster_that_reads_the_clock, "pure", "time.time_ns()"),
            (careless.upcaster_that_changes_the_old, "pure", "changed the old payload"),
        ],
        ids=lambda part: getattr(part, "__name__", ""),
    )
    def test_they_owe_what_handlers_owe(self, item: Any, check: str, says: str) -> None:
        error = found_in(careless.right, item)
        assert (error.check, error.operation) == (check, "place_old")
        assert f"<upcaster tests.testing.careless.{item.__name__}> is not {check}" in str(error)
        assert says in str(error)


class TestOtherInterpreters:
    def test_a_handler_that_cannot_be_imported_says_so(self) -> None:
        @handler
        def local(state: Book, event: Event[Place]) -> Book:
            return state

        with pytest.raises(ValueError, match=r"local.*top of a module.*hash_seeds=\(\)"):
            check_handler(local)
        check_handler(local, hash_seeds=())

    def test_a_script_can_check_its_own_handlers(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "from eventstore import Event, Operation, handler\n"
            "from eventstore.testing import check_handler\n"
            "class Named(Operation):\n    names: tuple[str, ...]\n"
            "@handler\n"
            "def named(state: list[str], event: Event[Named]) -> list[str]:\n"
            "    return [*{*state, *event.data.names}]\n"
            "if __name__ == '__main__':\n    check_handler(named)\n"
        )
        run = subprocess.run(
            [sys.executable, str(script)],
            env={"PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 1
        assert (
            "<handler __main__.named> is not deterministic: under another hash seed" in run.stderr
        )


class TestWithoutHypothesis:
    def test_the_message_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "hypothesis", None)
        with pytest.raises(
            ModuleNotFoundError, match=r"pip install 'asyncio-eventstore\[testing\]'"
        ):
            check_handler(careless.right)

    def test_the_package_is_imported_without_it(self) -> None:
        code = "import sys; sys.modules['hypothesis'] = None; import eventstore.testing"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


class TestWatching:
    def test_a_profiler_that_was_there_is_put_back(self) -> None:
        def before(*_: Any) -> None:
            return None

        sys.setprofile(before)
        try:
            with recording_impure_calls([]):
                assert sys.getprofile() is not before
            assert sys.getprofile() is before
        finally:
            sys.setprofile(None)

    def test_only_what_lets_the_world_in_is_reported(self) -> None:
        seen: list[str] = []
        with recording_impure_calls(seen):
            sorted([2, 1])
            random.Random(1).random()
            time.gmtime(0)
        assert seen == []


class TestDifferences:
    @pytest.mark.parametrize(
        ("one", "other", "where"),
        [
            (1, 1.0, "`$` is 1 in one and 1.0 in the other"),
            (True, 1, "`$` is True"),
            (0.0, -0.0, "`$` is 0.0 in one and -0.0"),
            (float("nan"), float("nan"), "`$` is NaN"),
            ((1,), [1], "`$` is (1,)"),
            ([1], [1, 2], "`$` has 1 items in one and 2"),
            ({"a": 1}, {}, "`$` has 'a' in one only"),
            ({}, {"a": 1}, "`$` has 'a' in the other only"),
            ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, "`$['a'][0]['b']` is 1"),
            (Book(total=1.0), Book(total=2.0), "`$.total` is 1.0"),
            (careless.Hidden(1), careless.Hidden(2), "`$.total` is 1"),
            ({1, 2}, {1, 3}, "`$` is {1, 2}"),
        ],
    )
    def test_the_place_is_named(self, one: Any, other: Any, where: str) -> None:
        found = difference(one, other)
        assert found is not None
        assert found.startswith(where)
        assert difference(other, one) is not None

    @pytest.mark.parametrize(
        "value", [1, "a", None, 0.5, (1, [2]), {"a": {1}}, Book(), careless.Hidden(3), Notes(["a"])]
    )
    def test_equal_values_have_none(self, value: Any) -> None:
        assert difference(value, value) is None

    def test_what_is_shared_is_named_on_both_sides(self) -> None:
        lines = ["a"]
        event = Write(topic="t", lines=lines)
        assert shared_part(event, Notes(["a"], {"t": lines})) == ("$.lines", "$.by_topic['t']")
        assert shared_part(event, Notes(["a"], {"t": list(lines)})) is None


@pytest.mark.asyncio
async def test_what_the_check_finds_is_what_goes_wrong() -> None:
    """An infinity that nobody kept out makes a state that no snapshot brings back."""
    async with EventStore.in_memory(HandlerRegistry[Book](careless.adds_without_bounds)) as store:
        await store.append("weigh", {"weight": float("inf")})
        await store.append("weigh", {"weight": float("-inf")})
        assert math.isnan(store.state.total)
