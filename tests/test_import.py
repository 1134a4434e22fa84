"""The modules that `import eventstore` loads, and the modules loaded later on demand."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = "click rich yaml difflib importlib.metadata hypothesis uvloop".split()
"""The command line, configuration files, misspelt keys, plugins, tests, another loop."""


@pytest.mark.parametrize("package", ["eventstore", "eventstore.testing", "eventstore.tools"])
def test_what_few_programs_need_is_not_loaded(package: str) -> None:
    code = f"import sys, {package}; print(*sorted(set({LATER!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
