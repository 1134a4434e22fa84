"""Write the outputs into docs/operations.md: `python -m tests.project.runbook`."""

from __future__ import annotations

import contextlib
import re
import tempfile

from tests.project.runbook import calls, openings, replicas, troubles
from tests.project.runbook.situations import PAGE, SITUATIONS, output_of

MODULES = (calls, openings, replicas, troubles)  # each registers its situations

page = PAGE.read_text("utf-8")
for name in SITUATIONS:
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        said = output_of(name).replace("\\", "\\\\")
    block = re.compile(rf"(?<=<!-- said: {re.escape(name)} -->\n```\n).*?(?=```\n)", re.DOTALL)
    page = block.sub(f"{said}\n", page, count=1)
PAGE.write_text(page, "utf-8")
