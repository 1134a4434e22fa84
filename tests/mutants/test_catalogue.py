"""The catalogue of the mutation gate fits the product. `make mutants` runs the sabotages."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from tests.mutants.catalogue import SABOTAGES
from tests.mutants.gate import ROOT


def test_every_sabotage_can_be_applied_and_taken_back(tmp_path: Path) -> None:
    for package in ("eventstore", "handlers"):
        shutil.copytree(ROOT / package, tmp_path / package)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.py")}
    for sabotage in SABOTAGES:
        with sabotage.applied(tmp_path):
            assert {path: path.read_bytes() for path in before} != before, sabotage.name
        assert {path: path.read_bytes() for path in before} == before, sabotage.name


def test_every_sabotage_has_a_name_of_its_own_and_somebody_to_notice_it() -> None:
    assert len({sabotage.name for sabotage in SABOTAGES}) == len(SABOTAGES) >= 24
    for sabotage in SABOTAGES:
        assert sabotage.caught_by, sabotage.name
        for selection in sabotage.caught_by:
            for argument in shlex.split(selection):
                assert not argument.startswith("tests/") or (ROOT / argument).exists(), argument
