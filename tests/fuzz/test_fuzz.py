"""Any bytes on the disk give a typed error or an answer, soon, and within reason.

`EVENTSTORE_EXAMPLES=20000` runs so many inputs of each kind, different ones every time. `python
-m tests.fuzz` goes on until stopped.
"""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import CorruptLogError
from tests.fuzz import limits
from tests.fuzz.__main__ import main
from tests.fuzz.forging import forged_archive, forged_segment, forged_snapshot
from tests.fuzz.fuzzing import FuzzError, as_text, check, fuzz, input_of, of_text
from tests.fuzz.limits import EndlessError, GreedyError, limited
from tests.fuzz.targets import TARGETS, Target
from tests.stateful.profile import examples
from tests.support.share import share

_ASKED = os.environ.get("EVENTSTORE_EXAMPLES")
_USUAL = {
    "header": 1000,
    "segment": 200,
    "events": 2000,
    "snapshot": 800,
    "manifest": 1000,
    "archive": 200,
    "names": 40,
    "config": 300,
    "store": 60,
}
"""Inputs of each target: one or two seconds each, and more for whole stores."""


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_are_taken(target: str) -> None:
    fuzz(target, int(_ASKED or share(_USUAL[target])), time.time_ns() if _ASKED else 0)


@pytest.mark.parametrize("target", ["header", "segment", "events", "snapshot", "manifest"])
def test_bytes_that_are_like_nothing_are_taken(target: str) -> None:
    @examples(60)
    @given(st.binary(max_size=2000))
    def taken(data: bytes) -> None:
        check(target, data, memory=False)

    taken()


@pytest.mark.parametrize("target", ["segment", "snapshot", "archive", "config"])
def test_bytes_with_a_proper_beginning_are_taken(target: str) -> None:
    """The bytes begin like a valid file, with right checksums as far as the lengths lead."""
    forge = {
        "segment": forged_segment,
        "snapshot": forged_snapshot,
        "archive": forged_archive,
    }.get(target, bytes)
    valid = input_of(target, 1, 0)

    @examples(40)
    @given(st.integers(0, len(valid)), st.binary(max_size=1000))
    def taken(length: int, data: bytes) -> None:
        check(target, forge(valid[:length] + data), memory=False)

    taken()


class TestTheFuzzer:
    """The fuzzer has to notice each of these faults."""

    @pytest.fixture
    def broken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def run(data: bytes) -> None:
            raise KeyError(len(data))

        monkeypatch.setitem(TARGETS, "header", Target(run))

    def test_errors_of_our_own_pass(self) -> None:
        with limited(0):
            raise CorruptLogError("damaged", path="log")

    @pytest.mark.parametrize("error", [KeyError, MemoryError, RecursionError, UnicodeError])
    def test_other_errors_do_not(self, error: type[Exception]) -> None:
        with pytest.raises(error), limited(0):
            raise error

    def test_memory_that_is_said_and_not_given(self) -> None:
        with pytest.raises(GreedyError, match="bytes were allocated for 100"), limited(100):
            bytearray(limits.CONSTANT + 101 * limits.MULTIPLE)
        with limited(100, memory=False):
            bytearray(limits.CONSTANT + 101 * limits.MULTIPLE)

    def test_a_loop_without_an_end(self) -> None:
        def endless() -> None:
            while True:
                abs(1)

        with pytest.raises(EndlessError, match="and no end, in"), limited(1):
            endless()

    def test_a_failure_says_how_to_run_it_again(
        self, broken: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(FuzzError) as raised:
            fuzz("header", 2, 5)
        text = as_text(input_of("header", 5, 0))
        assert f"python -m tests.fuzz header --input {text}" in str(raised.value)
        assert "python -m tests.fuzz header --seed 5 --first 0 --runs 1" in str(raised.value)
        assert main(["header", "--seed", "5", "--runs", "1"]) == 1
        assert "header: KeyError" in capsys.readouterr().err
        with pytest.raises(KeyError):
            main(["header", "--input", text])

    def test_an_input_is_decided_by_its_number(self) -> None:
        for target in TARGETS:
            first = [input_of(target, 1, number) for number in range(8)]
            assert first == [input_of(target, 1, number) for number in range(8)]
            assert len(set(first)) > 4
            assert [of_text(as_text(data)) for data in first] == first

    def test_it_runs_as_a_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["header", "manifest", "--runs", "60", "--seed", "3"]) == 0
        told = capsys.readouterr().out.splitlines()
        assert told[0] == "seed 3"
        assert told[-1].startswith("120 inputs, ")
