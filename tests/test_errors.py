"""The errors: one tree, every class public, every fact an attribute, `OSError` translated."""

from __future__ import annotations

import errno
import inspect
import pickle
import re
from typing import Any

import pytest

import eventstore
from eventstore import errors, os_errors
from eventstore.errors import (
    EventStoreError,
    ReadFailedError,
    StoreAccessError,
    StoreFailedError,
    StoreFullError,
)
from eventstore.lock_owner import LockOwner

CLASSES: list[type[EventStoreError]] = [getattr(errors, name) for name in errors.__all__]

FACTS: dict[str, Any] = {
    "key": "live_trading.persistence.backup_count",
    "operation": "pay_dividend",
    "plugin": "dividends",
    "distribution": "dividends 1.0",
    "field": "$.amount",
    "seq": 7,
    "path": "engine-state",
    "what": "backup",
    "owner": LockOwner(4711, host="bot-7f9c"),
    "pending": 9,
    "limit": 9,
    "errno": errno.EIO,
    "offset": 512,
    "expected_seq": 8,
    "waited": 5.0,
    "receipt": None,
    "expected": 8,
    "actual": 9,
    "requested": 1,
    "first_available": 100,
    "operations": ("pay_dividend",),
    "cursor": f"{'0a' * 16}.1.0a0a0a0a.7.9c1be07a",
    "store": "0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a",
    "last_shared": 5,
    "name": "risk",
    "last": 6,
    "ahead": True,
    "other_settings": True,
    "lag": 7,
    "max_lag": 6,
    "recorded": "0a" * 32,
    "current": "0b" * 32,
    "id": "k3f9-7QZ2M1-4372",
    "first": eventstore.Event(7, 1, None, "t-1"),
    "given": "pay_dividend",
    "differences": {"amount": (1, 2)},
    "duplicates": (0, 2),
    "servers": "nats://10.0.0.1:4222",
    "stream": "bot",
    "timeline": 2,
}


def facts(kind: type[EventStoreError]) -> dict[str, Any]:
    if kind is EventStoreError:
        return {}
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: FACTS[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_all_names_every_error_class_of_the_module() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException) and name[0] != "_"
    }
    assert set(errors.__all__) == defined


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_exported_by_the_package(kind: type[EventStoreError]) -> None:
    assert getattr(eventstore, kind.__name__) is kind
    assert kind.__name__ in eventstore.__all__


@pytest.mark.parametrize("kind", CLASSES)
def test_there_is_one_tree(kind: type[EventStoreError]) -> None:
    assert issubclass(kind, EventStoreError)
    assert not issubclass(kind, OSError)
    assert kind.__doc__


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Depth in the drawing is depth in the inheritance."""
    drawn = re.findall(r"^ {4}([│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    depth = {
        name: sum(base.__name__ in errors.__all__ for base in getattr(errors, name).__mro__) - 1
        for name in errors.__all__
    }
    assert {name: len(branches) // 4 for branches, name in drawn} == depth


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_carries_its_facts_as_attributes(kind: type[EventStoreError]) -> None:
    given = facts(kind)
    error = kind("what happened, where, and what to do next", **given)
    assert str(error) == "what happened, where, and what to do next"
    assert {name: getattr(error, name) for name in given} == given
    assert {name: vars(error)[name] for name in given} == given


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not EventStoreError])
def test_facts_are_named_not_positional(kind: type[EventStoreError]) -> None:
    with pytest.raises(TypeError):
        kind("message", "fact")


def test_no_space_is_what_a_full_disk_or_a_quota_says() -> None:
    assert {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} == os_errors.NO_SPACE
    assert os_errors.NO_SPACE < os_errors.SHORTAGE
    assert os_errors.SHORTAGE.isdisjoint(os_errors.NO_ACCESS)


@pytest.mark.parametrize("code", sorted(os_errors.SHORTAGE))
def test_no_space_for_a_write_is_a_refusal(code: int) -> None:
    error = os_errors.no_space_error(OSError(code, ""), "writing", "log/1.log")
    assert type(error) is StoreFullError
    assert (error.path, error.errno) == ("log/1.log", code)
    assert f"writing log/1.log ({errno.errorcode[code]})" in str(error)
    assert ("free some space" in str(error)) is (code in os_errors.NO_SPACE)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_no_descriptor_to_read_with_is_no_fault_of_the_device(code: int) -> None:
    error = os_errors.read_error(OSError(code, ""), "store.json")
    assert type(error) is ReadFailedError
    assert "ulimit -n" in str(error)
    assert "device" not in str(error)


@pytest.mark.parametrize("code", [errno.EIO, errno.EBADF, errno.EROFS, 4242, None])
def test_any_other_failed_write_leaves_the_outcome_unknown(code: int | None) -> None:
    cause = OSError() if code is None else OSError(code, "")
    error = os_errors.commit_failed_error(cause, "syncing", "log/1.log")
    assert type(error) is StoreFailedError
    assert (error.path, error.errno) == ("log/1.log", code)
    assert "syncing log/1.log" in str(error)
    assert "unknown" in str(error)
    assert "reopen" in str(error)


@pytest.mark.parametrize(
    "code", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENOTDIR]
)
def test_a_file_that_may_not_be_used_is_an_access_error(code: int) -> None:
    error = os_errors.read_error(OSError(code, ""), "store.json")
    assert type(error) is StoreAccessError
    assert (error.path, error.errno) == ("store.json", code)


@pytest.mark.parametrize("offset", [None, 0, 4096])
def test_a_file_that_cannot_be_read_says_where(offset: int | None) -> None:
    error = os_errors.read_error(OSError(errno.EIO, ""), "log/1.log", offset)
    assert type(error) is ReadFailedError
    assert (error.path, error.offset, error.errno) == ("log/1.log", offset, errno.EIO)
    assert ("offset" in str(error)) is (offset is not None)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling(kind: type[EventStoreError]) -> None:
    """Errors cross process boundaries: in process pools, and in distributed test runs."""
    error = kind("message", **facts(kind))
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "message"
    assert vars(copy) == vars(error)
