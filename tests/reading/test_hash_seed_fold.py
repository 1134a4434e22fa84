"""The same events folded here and in another interpreter: digests, refusals, and sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventstore import Event, EventStore, HandlerRegistry, handler
from eventstore.disk.local import LocalDisk
from eventstore.model.state_codec import StateCodec, state_digest
from eventstore.reading.hash_seed_fold import (
    Case,
    EventRange,
    OtherInterpreterError,
    Source,
    digests_at,
    fold_in_other_interpreter,
    source_of,
)
from tests.support.bank import Bank, Deposit, Withdraw, bank_after, bank_registry, deposit

ROOT = Path(__file__).resolve().parents[2]

REGISTRY = bank_registry()
CODEC = StateCodec[Bank](Bank)


def sources(registry: HandlerRegistry[Any] = REGISTRY) -> list[Source]:
    found = [source_of(item) for item in registry.items]
    return [source for source in found if source is not None]


def slices(state: Bank) -> list[bytes]:
    return list(CODEC.slices(state))


def encoded(*payloads: Any) -> list[bytes]:
    codec = REGISTRY.codec
    return [codec.encode(Event(seq, 0, payload)) for seq, payload in enumerate(payloads, 1)]


class TestSources:
    def test_a_handler_at_the_top_of_a_module_is_found_by_its_name(self) -> None:
        source = source_of(deposit)
        assert source is not None
        assert (source.module, source.name) == ("tests.support.bank", "deposit")
        assert source.file == str(ROOT / "tests/support/bank.py")

    def test_one_that_only_this_process_has_is_not(self) -> None:
        @handler
        def local(state: Bank, event: Event[Deposit]) -> Bank:
            return state

        assert source_of(local) is None


class TestInlineEvents:
    def test_the_digest_after_each_mark_is_the_one_here(self) -> None:
        start = bank_after(5)
        payloads = [Deposit(account="a", amount=amount) for amount in (1, 2, 3)]
        state, expected = start, {}
        for seq, payload in enumerate(payloads, 1):
            state = REGISTRY.fold(state, [Event(seq, 0, payload)])
            expected[seq] = state_digest(state)
        case = Case(slices(start), encoded(*payloads), [1, 3])
        (fold,) = fold_in_other_interpreter(sources(), [case], hash_seed=3)
        assert fold.digests == {1: expected[1], 3: expected[3]}
        assert fold.state is None

    def test_a_refusal_stands_in_place_of_the_digest_and_leaves_the_state(self) -> None:
        start = Bank()
        bodies = encoded(Withdraw(account="a", amount=1), Deposit(account="a", amount=2))
        case = Case(slices(start), bodies, [1, 2], wants_state=True)
        (fold,) = fold_in_other_interpreter(sources(), [case], hash_seed=1)
        assert fold.digests[1] == "!InsufficientFundsError"
        assert fold.state is not None
        state = CODEC.load(fold.state)
        assert dict(state.balances) == {"a": 2}
        assert fold.digests[2] == state_digest(state)

    def test_several_cases_are_folded_apart(self) -> None:
        cases = [
            Case(slices(bank_after(count)), encoded(Deposit(account="a", amount=1)), [1])
            for count in (1, 2, 1)
        ]
        first, second, third = fold_in_other_interpreter(sources(), cases, hash_seed=1)
        assert first == third != second


class TestRecordedEvents:
    @pytest.mark.asyncio
    async def test_a_range_of_a_store_gives_the_same_digests_here_and_there(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "store"
        states = {}
        async with EventStore.open(path, REGISTRY) as store:
            for amount in range(1, 8):
                await store.append(Deposit(account=f"a{amount % 2}", amount=amount))
                states[store.seq] = store.state
        events = EventRange(str(path), 3, 6)
        marks = [3, 5, 6]
        here = digests_at(
            LocalDisk(path, read_only=True), REGISTRY, slices(states[2]), events, marks
        )
        assert here == {mark: state_digest(states[mark]) for mark in marks}
        case = Case(slices(states[2]), events, marks)
        (there,) = fold_in_other_interpreter(sources(), [case], hash_seed=2)
        assert there.digests == here

    @pytest.mark.asyncio
    async def test_a_recorded_event_that_is_refused_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "store"
        async with EventStore.open(path, REGISTRY) as store:
            await store.append(Deposit(account="a", amount=1))
            await store.append(Withdraw(account="a", amount=1))
        case = Case(slices(Bank()), EventRange(str(path), 2, 2), [2])
        with pytest.raises(OtherInterpreterError, match="could not be run in another") as caught:
            fold_in_other_interpreter(sources(), [case], hash_seed=2)
        assert "ReplayError" in caught.value.reason
        assert "on event 2" in caught.value.reason


def test_a_handler_that_is_not_found_is_an_error() -> None:
    gone = Source("tests.support.bank", "gone", None)
    with pytest.raises(OtherInterpreterError) as caught:
        fold_in_other_interpreter([gone], [], hash_seed=0)
    assert caught.value.reason.startswith("AttributeError")


def test_seed_and_time_zone_are_those_that_were_asked_for(tmp_path: Path) -> None:
    module = tmp_path / "zoned.py"
    module.write_text(
        "import os\nfrom eventstore import Event, Operation, handler\n"
        "print('printed while imported')\n"
        "class Ask(Operation):\n    name: str\n"
        "@handler\n"
        "def ask(state: dict[str, str], event: Event[Ask]) -> dict[str, str]:\n"
        "    return {**state, event.data.name: os.environ[event.data.name]}\n"
    )
    body = b"\x95\x01\x00\x82\xa2op\xa3ask\xa4name\xa2TZ\xc0\xc0"
    seed = b"\x95\x02\x00\x82\xa2op\xa3ask\xa4name\xaePYTHONHASHSEED\xc0\xc0"
    codec = StateCodec[dict[str, str]](dict[str, str])
    case = Case(list(codec.slices({})), [body, seed], [], wants_state=True)
    (fold,) = fold_in_other_interpreter(
        [Source("zoned", "ask", str(module))], [case], hash_seed=7, time_zone="UTC+11"
    )
    assert fold.state is not None
    assert codec.load(fold.state) == {"TZ": "UTC+11", "PYTHONHASHSEED": "7"}


def test_a_script_that_folds_while_it_is_imported_does_not_start_interpreters_without_end(
    tmp_path: Path,
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from eventstore import Event, Operation, handler\n"
        "from eventstore.testing import check_handler\n"
        "class Named(Operation):\n    names: tuple[str, ...]\n"
        "@handler\n"
        "def named(state: list[str], event: Event[Named]) -> list[str]:\n"
        "    return [*state, *event.data.names]\n"
        "check_handler(named, examples=3)\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "behind `if __name__ == '__main__':`" in run.stderr
