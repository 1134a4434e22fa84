"""Any payload of the trading handlers, and of a class with every type, becomes the same row."""

from __future__ import annotations

import enum
import json
import os
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import immutables
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventstore import Event, HandlerRegistry, InexactValueError, IntentSettled, Operation
from eventstore.analysis.arrow_tables import ArrowRows
from eventstore.analysis.event_tables import Catalog
from eventstore.analysis.plain_values import json_text
from eventstore.analysis.shapes import Shape
from eventstore.model.codec import EventCodec
from eventstore.testing import payloads
from handlers import trading_registry
from tests.support.desk import NEW, Quote

pytestmark = pytest.mark.slow

QUICK = settings(
    max_examples=int(os.environ.get("EVENTSTORE_PAYLOADS", "8")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TRADING = trading_registry()
KINDS = [
    kind
    for kind in (*TRADING.functions, Quote)
    if kind is not IntentSettled  # its `intended` is any operation
]


def same(shape: Shape, cell: Any, value: Any) -> bool:
    """Whether a cell holds a value. Decimals were asked for as text."""
    if value is None:
        return cell is None
    if shape.kind == "decimal":
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return Decimal(cell) == number
    if shape.kind == "json":
        return bool(json.loads(cell) == json.loads(json_text(value)))
    if shape.kind == "list":
        items = sorted(value, key=json_text) if isinstance(value, frozenset) else list(value)
        part = shape.parts[0]
        return len(cell) == len(items) and all(
            same(part, one, item) for one, item in zip(cell, items, strict=True)
        )
    if shape.kind == "map":
        key, part = shape.parts
        pairs = list(value.items())
        if isinstance(value, immutables.Map):
            pairs.sort(key=lambda pair: json_text(pair[0]))
        return len(cell) == len(pairs) and all(
            same(key, one[0], other[0]) and same(part, one[1], other[1])
            for one, other in zip(cell, pairs, strict=True)
        )
    if shape.kind == "record":
        get = value.get if isinstance(value, Mapping) else lambda name: getattr(value, name)
        named = zip(shape.names, shape.parts, strict=True)
        return all(same(part, cell[name], get(name)) for name, part in named)
    if isinstance(value, enum.Enum):
        value = value.value
    return bool(cell == (str(value) if shape.kind == "tag" else value))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_row_holds_the_payload(kind: type[Operation]) -> None:
    registry: HandlerRegistry[Any] = NEW if kind is Quote else TRADING
    codec = EventCodec([kind])
    table = Catalog(registry, {}, {}).named(codec_name(kind))
    assert table is not None
    fields = list(table.columns)[3:]

    @QUICK
    @given(st.lists(payloads(kind), min_size=1, max_size=3))
    def check(drawn: list[Operation]) -> None:
        events = [
            codec.round_trip(Event(seq, 10 * seq + 1, data, None))[0]
            for seq, data in enumerate(drawn, 1)
        ]
        try:
            rows = ArrowRows(table, "string").encode([*map(list, table.values(events))]).to_pylist()
        except InexactValueError as error:
            value = getattr(drawn[error.seq - 1], error.field.removeprefix("payload_"))
            assert not isinstance(value, str | Decimal | bool | None)  # a large integer inside
            return
        for row, event in zip(rows, events, strict=True):
            assert (row["seq"], row["time"].value) == (event.seq, event.time)
            for column, attribute in zip(fields, kind.__struct_fields__, strict=True):
                value = getattr(event.data, attribute)
                assert same(table.columns[column], row[column], value), (column, value)

    check()


def codec_name(kind: type[Operation]) -> str:
    return str(kind.__struct_config__.tag).partition("@")[0]
