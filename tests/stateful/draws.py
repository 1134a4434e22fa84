"""Strategies of the machines: configurations, payloads, faults and images of a crash."""

from __future__ import annotations

import errno
from typing import Any

from hypothesis import strategies as st

from eventstore import Durability, StoreConfig
from eventstore.clock import EARLIEST, LATEST
from eventstore.testing.faults import Effect, Fault
from tests.stateful.faults import Failing
from tests.torture.ledger import Deposit, Transfer
from tests.torture.surroundings import CONTEXTS

__all__ = [
    "configs",
    "contexts",
    "durabilities",
    "failing",
    "groups",
    "images",
    "keys",
    "metadata",
    "moments",
    "values",
]

_DAY = 86_400 * 10**9

_EFFECTS: tuple[Effect, ...] = ("none", "partial")
_ALL_OR_NOTHING: tuple[Effect, ...] = ("none", "whole")
_ACCOUNTS = st.sampled_from(("cash", "fees", "AAPL"))
_AMOUNTS = st.sampled_from((0, 1, 999, 10**12))
_MEMOS = st.sampled_from(("", "ü", "\0", "x" * 40, "x" * 300, "x" * 900, "x" * 1800))

configs = st.builds(
    StoreConfig,
    durability=st.sampled_from((Durability.COMMIT, Durability.INTERVAL, Durability.NONE)),
    segment_size=st.sampled_from((4096, 4608, 8192)),
    wal_max_entries=st.sampled_from((None, 4, 9)),
    backup_count=st.sampled_from((2, 1, 3)),
    history=st.sampled_from(("archive", "keep", "discard")),
    max_pending=st.sampled_from((65_536, 6)),
    idle_seal=st.sampled_from((0.5, 1e6)),
    auto_save_interval=st.sampled_from((None, 3.0)),
)
"""Draw a configuration with small segments and few snapshots: little data does everything."""

contexts = st.sampled_from(CONTEXTS)
"""Draw a decimal context of the caller."""

moments = st.sampled_from((0, -1, EARLIEST + _DAY, LATEST - _DAY, 1_600_000_000 * 10**9))
"""Draw a time for the clock. At either end, a program has a day left."""

_payloads: st.SearchStrategy[Any] = st.one_of(
    st.builds(Deposit, number=st.just(0), account=_ACCOUNTS, amount=_AMOUNTS, memo=_MEMOS),
    st.builds(Transfer, number=st.just(0), source=_ACCOUNTS, target=_ACCOUNTS, amount=_AMOUNTS),
)
_long = st.builds(
    Deposit, number=st.just(0), account=_ACCOUNTS, amount=_AMOUNTS, memo=st.just("x" * 5000)
)

groups = st.one_of(
    st.lists(_payloads, min_size=1, max_size=1),
    st.lists(_payloads, min_size=1, max_size=5),
    st.lists(_long, min_size=1, max_size=1),
)
"""Draw the payloads of one append. The last group is longer than a small segment."""

keys = st.sampled_from((None, "order-1", "", "ключ"))
metadata = st.sampled_from((None, {}, {"venue": "XNAS", "legs": [1, 2.5, None, {"a": True}]}))

durabilities = st.sampled_from((None, None, Durability.NONE, *Durability))
"""Draw what a call asks for. Most ask for nothing."""

_FAULTS: tuple[tuple[str, Fault], ...] = (
    *(
        ("write", Fault(errno=code, effect=effect))
        for code in (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        for effect in _EFFECTS
    ),
    *(("write", Fault(short=count)) for count in (7, 60)),
    *(
        (kind, Fault(errno=errno.EIO, effect=effect))
        for kind in ("sync", "sync_folder")
        for effect in _ALL_OR_NOTHING
    ),
    *((kind, Fault(errno=errno.ENOSPC)) for kind in ("sync", "sync_folder", "create", "rename")),
    *((kind, Fault(errno=errno.EIO)) for kind in ("create", "rename", "remove", "truncate")),
    *((kind, Fault(errno=errno.EIO)) for kind in ("open", "read", "size", "list")),
    *((kind, Fault(errno=errno.EROFS)) for kind in ("create", "make_folder")),
)
_INTERRUPTED = tuple(
    (kind, Fault(errno=errno.EINTR)) for kind in ("write", "write", "sync", "sync_folder")
)

failing = st.one_of(
    st.builds(
        lambda found, after, forever: Failing(found[0], found[1], after, forever),
        st.sampled_from(_FAULTS),
        st.sampled_from((1, 1, 2, 3)),
        st.booleans(),
    ),
    st.builds(
        lambda found, after: Failing(found[0], found[1], after),
        st.sampled_from((*_INTERRUPTED, *_FAULTS)),
        st.sampled_from((1, 1, 2, 3)),
    ),
)
"""Draw calls that fail, once or for ever: the faults of the crash tests."""

images = st.one_of(
    st.just("kill"),
    st.integers(0, 20).map("extreme:{}".format),
    st.integers(0, 2**20).map("random:{}".format),
)
"""Draw the image of a crash: all written bytes, or the remains of a power cut."""

_plain: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
)
values = st.recursive(
    _plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)
)
"""Draw a value for a bare log: anything in MessagePack."""
