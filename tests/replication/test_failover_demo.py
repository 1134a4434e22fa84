"""The failover demonstration, on the beginning of the tape."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from eventstore.demo.tape_reader import shipped_tape
from tests.replication.failover_demo import main

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.slow
def test_the_primary_is_killed_and_the_ledger_is_exact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "tape.csv"
    with zstd.open(shipped_tape(), "rt") as whole, tape.open("w") as cut:
        cut.writelines(itertools.islice(whole, 2_000))
    assert main(tape) == 0
    said = capsys.readouterr().out
    assert "standby promoted" in said
    assert "NO " not in said
