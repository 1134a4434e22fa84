"""docs/operations.md is complete and true: every error, every warning, and what they really say."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from eventstore import errors
from tests.project.runbook import calls, openings, replicas, troubles
from tests.project.runbook.situations import PAGE, SITUATIONS, output_of, said_on

MODULES = (calls, openings, replicas, troubles)  # each registers its situations
ROOT = Path(__file__).resolve().parents[2]
TEXT = PAGE.read_text("utf-8")
WORDS = " ".join(TEXT.replace("`", "").split())

OPERATORS = {
    "CorruptLogError",
    "CorruptSnapshotError",
    "CorruptStoreError",
    "HistoryForkedError",
    "ReadFailedError",
    "StoreAccessError",
    "StoreExistsError",
    "StoreFailedError",
    "StoreFormatError",
    "StoreFullError",
    "StoreNotFoundError",
}
"""Errors about files, the device and the machine. Each of their messages is on the page."""


SHORTEST = 14
"""A text with less that is fixed is made elsewhere, and passed on."""


class Text(NamedTuple):
    """A text in the source. Three dots stand for each part that varies."""

    place: str
    text: str

    @property
    def longest(self) -> str:
        return max(self.text.replace("`", "").split("…"), key=len).strip(" .:")


def template(node: ast.expr) -> str:
    """Return the fixed parts of a text, with dots between."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sd.\w]*[sdf]", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return "…"


@functools.cache
def all_calls() -> tuple[tuple[str, ast.Call], ...]:
    """Return every call in the source of the product, with its place."""
    found = []
    for path in sorted((ROOT / "eventstore").glob("**/*.py")):
        name = path.relative_to(ROOT).as_posix()
        if "/testing/" not in name and "/demo/" not in name:
            calls = [one for one in ast.walk(ast.parse(path.read_text())) if type(one) is ast.Call]
            found += [(f"{name}:{call.lineno}", call) for call in calls]
    return tuple(found)


def messages() -> Iterator[Text]:
    """Yield the message of each error of an operator, where the source spells it."""
    for place, call in all_calls():
        if isinstance(call.func, ast.Name) and call.func.id in OPERATORS and call.args:
            text = template(call.args[0])
            if len(Text(place, text).longest) > len(
                "and open again"
            ):  # else a text that is made elsewhere
                yield Text(place, text)


def warnings() -> Iterator[Text]:
    """Yield each text of the log from WARNING on, each standing warning, each of Python's."""
    for place, call in all_calls():
        if not isinstance(call.func, ast.Attribute):
            continue
        owner, method = ast.unparse(call.func.value), call.func.attr
        if owner == "_logger" and method in {"warning", "error", "exception", "critical"}:
            text = template(call.args[0])
        elif owner.endswith("warnings") and method == "begin":
            text = template(call.args[1])
        elif (owner, method) == ("warnings", "warn"):
            text = template(call.args[0])
        else:
            continue
        if any(len(part) > 4 for part in text.split("…")):  # else a text that is made elsewhere
            yield Text(place, text)


def opening_warnings() -> Iterator[Text]:
    """Yield each warning in the report of an opening."""
    for path in ("recovery_words.py", "key_recovery.py", "intents/warning.py"):
        for node in ast.walk(ast.parse((ROOT / "eventstore" / path).read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr) and len(Text("", template(node)).longest) > SHORTEST:
                yield Text(path, template(node))


def test_every_error_has_a_section_with_real_output() -> None:
    headings = set(re.findall(r"^### (\w+Error)$", TEXT, re.MULTILINE))
    assert headings == set(errors.__all__)
    assert set(errors.__all__) <= set(said_on(TEXT))


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_an_output_is_what_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_of(name) == said_on(TEXT)[name], "to write it: python -m tests.project.runbook"


def test_nothing_is_quoted_that_no_situation_makes() -> None:
    assert set(said_on(TEXT)) == set(SITUATIONS)
    assert len(re.findall(r"<!-- said: ", TEXT)) == len(SITUATIONS)


def test_every_warning_is_on_the_page() -> None:
    found = [*warnings(), *opening_warnings()]
    assert len(found) > 20
    assert [one for one in found if one.longest not in WORDS] == []


def quoted() -> list[str]:
    """Return the quotations in the tables of messages."""
    section = TEXT.partition("## Every message\n")[2]
    rows = re.findall(r"^\| (`` .*? ``|`[^`]*`) \|", section, re.MULTILINE)
    return [row.strip("`").strip() for row in rows]


def test_every_message_for_the_operator_is_on_the_page() -> None:
    found, quotations = list(messages()), quoted()
    assert len(found) > 50
    assert [one for one in found if not any(part in one.text for part in quotations)] == []


def test_no_quotation_of_a_message_is_stale() -> None:
    source = [message.text for message in messages()]
    assert [part for part in quoted() if not any(part in text for text in source)] == []


def test_the_operators_errors_are_errors() -> None:
    for name in OPERATORS:
        assert inspect.isclass(getattr(errors, name))
