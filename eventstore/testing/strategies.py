"""Hypothesis strategies for payloads, derived from their types.

Theory of operation
-------------------
`append` accepts every value within the annotations of a payload class, so a handler must cope with
every such value. The annotations may hold bounds, lengths and patterns of msgspec's `Meta`,
literals, enumerations, optional fields, unions, nested Structs and collections, dates and decimals.
msgspec says how it reads the annotations (`msgspec.inspect`), and each answer becomes a strategy
here. msgspec does not know persistent maps, and is shown marked dictionaries instead.

The log can carry every drawn value unchanged: integers have 64 bits, and NaN and lone surrogates
are left out. A few words are drawn often, so operations on the same symbol meet.

Hypothesis is optional, and imported when the first strategy is asked for.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import immutables
import msgspec
from msgspec import inspect as shapes

from eventstore.arguments import argument_error
from eventstore.model.conversion import freeze
from eventstore.model.operation import Operation
from eventstore.model.value_types import fields_of, plain_type

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["payloads", "values"]

PayloadT = TypeVar("PayloadT", bound=Operation)

WORDS = ("AAPL", "MSFT", "TSLA", "a", "b")
"""Texts for frequent draws, where the type allows them."""

EXTREMES = (0.0, -0.0, 1e-300, 0.1, -0.1, 1e16, -1e16, math.inf, -math.inf)
"""Numbers for frequent draws, where the type allows them."""

DECIMALS = tuple(
    decimal.Decimal(text)
    for text in "0 -0 1 -1 0.1 0.2 0.3 1.10 1E+3 1E-18 -1E-18 123456789.123456789012345678".split()
)
"""Decimals for frequent draws: sums that floats miss, and many digits."""

_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1
_MAP = "eventstore.persistent-map"


def hypothesis_strategies() -> Any:  # a module that may be missing has no type here
    """Import `hypothesis.strategies`.

    Raises `ModuleNotFoundError` with the name of the extra to install.
    """
    try:
        from hypothesis import strategies
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "these checks generate payloads with Hypothesis, which is not installed: "
            "pip install 'asyncio-eventstore[testing]'",
            name="hypothesis",
        ) from error
    return strategies


def payloads(payload_type: type[PayloadT]) -> SearchStrategy[PayloadT]:
    """Return a strategy for all payloads of a class that `append` accepts.

    A combination of fields that `__post_init__` refuses is drawn anew.

    Raises `TypeError` for a field that MessagePack cannot carry, `ConfigError` for anything but a
    payload class, and `ModuleNotFoundError` where Hypothesis is not installed.
    """
    given: Any = payload_type
    if not isinstance(given, type) or not issubclass(given, Operation):
        raise argument_error("payload_type", given, "expected a class derived from Operation")
    strategy: SearchStrategy[PayloadT] = _Deriving().of(payload_type)
    return strategy


def values(kind: Any) -> SearchStrategy[Any]:
    """Return a strategy for values of any type that a field of a payload or a state may have.

    Raises as `payloads` does.
    """
    strategy: SearchStrategy[Any] = _Deriving().of(kind)
    return strategy


class _Deriving:
    """One derivation. The classes met so far are remembered, so a type may contain itself."""

    def __init__(self) -> None:
        self.st = hypothesis_strategies()
        self._classes: dict[Any, Any] = {}

    def of(self, kind: Any) -> Any:
        """Return a strategy for a type as annotated."""
        return self._of(shapes.type_info(_mark_maps(kind)))

    def _of(self, info: Any) -> Any:
        if isinstance(info, shapes.Metadata):
            extra = info.extra or {}
            inner = self._of(info.type)
            return inner.map(extra[_MAP]) if _MAP in extra else inner
        made = _MAKERS.get(type(info))
        if made is None:
            kind = getattr(info, "cls", type(info).__name__)
            raise TypeError(f"no values can be generated for {kind}: pass a strategy of your own")
        return made(self, info)

    # ---- single values ---------------------------------------------------------------------

    def none(self, info: shapes.NoneType) -> Any:
        return self.st.none()

    def boolean(self, info: shapes.BoolType) -> Any:
        return self.st.booleans()

    def integer(self, info: shapes.IntType) -> Any:
        low = max((_MIN_INT, *_not_none(info.ge), *(bound + 1 for bound in _not_none(info.gt))))
        high = min((_MAX_INT, *_not_none(info.le), *(bound - 1 for bound in _not_none(info.lt))))
        step = info.multiple_of
        if step is None:
            return self.st.integers(low, high)
        return self.st.integers(-(-low // step), high // step).map(lambda count: count * step)

    def number(self, info: shapes.FloatType) -> Any:
        low = None if info.ge is None and info.gt is None else max(_not_none(info.ge, info.gt))
        high = None if info.le is None and info.lt is None else min(_not_none(info.le, info.lt))
        drawn = self.st.floats(
            None if low is None else float(low),
            None if high is None else float(high),
            exclude_min=low is not None and low == info.gt,
            exclude_max=high is not None and high == info.lt,
            allow_nan=False,
        )
        step = info.multiple_of
        if step is None:
            fitting = list(filter(_accepts(Annotated[float, _bounds_of(info)]), EXTREMES))
            return self.st.one_of(drawn, self.st.sampled_from(fitting)) if fitting else drawn
        exact = self.st.integers(
            -1_000_000 if low is None else int(-(-low // step)),
            1_000_000 if high is None else int(high // step),
        ).map(lambda count: float(count * step))
        return exact.filter(_accepts(Annotated[float, _bounds_of(info)]))

    def text(self, info: shapes.StrType) -> Any:
        least, most = info.min_length or 0, info.max_length
        if info.pattern is not None:
            drawn = self.st.from_regex(info.pattern)
            return drawn.filter(_accepts(Annotated[str, _bounds_of(info)]))
        fitting = [
            word for word in WORDS if len(word) >= least and (most is None or len(word) <= most)
        ]
        drawn = self.st.text(min_size=least, max_size=most)
        return self.st.one_of(self.st.sampled_from(fitting), drawn) if fitting else drawn

    def binary(self, info: Any) -> Any:
        drawn = self.st.binary(min_size=info.min_length or 0, max_size=info.max_length)
        if isinstance(info, shapes.ByteArrayType):
            return drawn.map(bytearray)
        return drawn.map(memoryview) if isinstance(info, shapes.MemoryViewType) else drawn

    def moment(self, info: shapes.DateTimeType) -> Any:
        return self.st.datetimes(
            datetime.datetime(1700, 1, 1),
            datetime.datetime(2200, 1, 1),
            timezones=self._zones(info.tz),
            allow_imaginary=False,
        )

    def time(self, info: shapes.TimeType) -> Any:
        return self.st.times(timezones=self._zones(info.tz))

    def _zones(self, aware: bool | None) -> Any:
        none, utc = self.st.none(), self.st.just(datetime.UTC)
        hours = self.st.integers(-12, 14).map(
            lambda hour: datetime.timezone(datetime.timedelta(hours=hour))
        )
        zones = self.st.one_of(utc, hours)
        if aware is None:
            return self.st.one_of(none, zones)
        return zones if aware else none

    def date(self, info: shapes.DateType) -> Any:
        return self.st.dates()

    def duration(self, info: shapes.TimeDeltaType) -> Any:
        day = datetime.timedelta(days=36_500)
        return self.st.timedeltas(-day, day)

    def identifier(self, info: shapes.UUIDType) -> Any:
        return self.st.uuids()

    def decimal(self, info: shapes.DecimalType) -> Any:
        def drawn(places: int | None) -> Any:
            return self.st.decimals(
                -(10**15), 10**15, allow_nan=False, allow_infinity=False, places=places
            )

        return self.st.one_of(self.st.sampled_from(DECIMALS), drawn(2), drawn(18), drawn(None))

    def member(self, info: shapes.EnumType) -> Any:
        return self.st.sampled_from(sorted(info.cls, key=lambda one: str(one.name)))

    def literal(self, info: shapes.LiteralType) -> Any:
        return self.st.sampled_from(sorted(info.values, key=repr))

    def anything(self, info: shapes.AnyType) -> Any:
        """Return a strategy for plain data, unchanged by a round trip through the log."""
        numbers = self.st.floats(allow_nan=False)
        leaf = self.st.one_of(
            self.st.none(), self.st.booleans(), self.st.integers(_MIN_INT, _MAX_INT), numbers,
            self.st.sampled_from(WORDS), self.st.text(max_size=5),
        )  # fmt: skip
        return self.st.recursive(
            leaf,
            lambda inner: self.st.one_of(
                self.st.lists(inner, max_size=3),
                self.st.dictionaries(self.st.sampled_from(WORDS), inner, max_size=3),
            ),
            max_leaves=5,
        )

    # ---- values made of others -------------------------------------------------------------

    def union(self, info: shapes.UnionType) -> Any:
        return self.st.one_of([self._of(part) for part in info.types])

    def collection(self, info: Any) -> Any:
        items = self._of(info.item_type)
        sizes = {"min_size": info.min_length or 0, "max_size": info.max_length}
        if isinstance(info, shapes.SetType):
            return self.st.sets(items, **sizes)
        if isinstance(info, shapes.FrozenSetType):
            return self.st.frozensets(items, **sizes)
        drawn = self.st.lists(items, **sizes)
        return drawn.map(tuple) if isinstance(info, shapes.VarTupleType) else drawn

    def fixed_tuple(self, info: shapes.TupleType) -> Any:
        return self.st.tuples(*[self._of(part) for part in info.item_types])

    def dictionary(self, info: shapes.DictType) -> Any:
        keys = info.key_type
        return self.st.dictionaries(
            self.st.sampled_from(WORDS) if isinstance(keys, shapes.AnyType) else self._of(keys),
            self._of(info.value_type),
            min_size=info.min_length or 0,
            max_size=info.max_length,
        )

    def with_fields(self, info: Any) -> Any:
        """Return a strategy for a Struct, dataclass, named tuple or typed dictionary."""
        kind = info.cls
        if kind not in self._classes:
            self._classes[kind] = self.st.deferred(lambda: self._with_fields_of(info))
        return self._classes[kind]

    def _with_fields_of(self, info: Any) -> Any:
        annotated = fields_of(info.cls) or {}
        generic = bool(typing.get_args(info.cls))
        always: dict[str, Any] = {}
        sometimes: dict[str, Any] = {}
        initialised = {field.name for field in info.fields}
        for field in info.fields:
            shown = annotated.get(field.name)
            made = self._of(field.type) if shown is None or generic else self.of(shown)
            (always if field.required else sometimes)[field.name] = made
        if dataclasses.is_dataclass(info.cls):
            always = {name: made for name, made in always.items() if name in initialised}
        drawn = self.st.fixed_dictionaries(always, optional=sometimes)
        return drawn.map(_try_to_make(typing.get_origin(info.cls) or info.cls)).filter(_is_made)


_REFUSED: Any = object()


def _is_made(value: Any) -> bool:
    return value is not _REFUSED


def _try_to_make(kind: type) -> Callable[[dict[str, Any]], Any]:
    def make(fields: dict[str, Any]) -> Any:
        try:
            return kind(**fields)
        except (ValueError, TypeError):  # __post_init__ refuses this combination
            return _REFUSED

    return make


def _not_none(*bounds: Any) -> Iterator[Any]:
    return (bound for bound in bounds if bound is not None)


def _bounds_of(info: Any) -> msgspec.Meta:
    names = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
    found = {name: getattr(info, name, None) for name in names}
    return msgspec.Meta(**{name: bound for name, bound in found.items() if bound is not None})


def _accepts(kind: Any) -> Callable[[Any], bool]:
    """A test whether msgspec accepts a value: bounds alone do not tell where arithmetic rounds."""

    def accepted(value: Any) -> bool:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return False
        return True

    return accepted


def _mark_maps(kind: Any) -> Any:
    """A type with marked dictionaries in place of persistent maps, for `msgspec.inspect`."""
    if typing.get_origin(kind) is Annotated:
        return Annotated[(_mark_maps(kind.__origin__), *kind.__metadata__)]
    kind = plain_type(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is immutables.Map or origin is immutables.Map:
        keys, items = (_mark_maps(part) for part in arguments or (str, Any))
        mark = freeze if not arguments or arguments[1] is Any else immutables.Map
        return Annotated[dict[keys, items], msgspec.Meta(extra={_MAP: mark})]  # type: ignore[valid-type]  # a run-time type
    if origin is None or origin is typing.Literal or fields_of(origin) is not None:
        return kind
    shown = tuple(part if part is ... else _mark_maps(part) for part in arguments)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[shown]  # noqa: UP007  built at run time
    return origin[shown]


_MAKERS: dict[type, Callable[[_Deriving, Any], Any]] = {
    shapes.NoneType: _Deriving.none,
    shapes.BoolType: _Deriving.boolean,
    shapes.IntType: _Deriving.integer,
    shapes.FloatType: _Deriving.number,
    shapes.StrType: _Deriving.text,
    shapes.BytesType: _Deriving.binary,
    shapes.ByteArrayType: _Deriving.binary,
    shapes.MemoryViewType: _Deriving.binary,
    shapes.DateTimeType: _Deriving.moment,
    shapes.TimeType: _Deriving.time,
    shapes.DateType: _Deriving.date,
    shapes.TimeDeltaType: _Deriving.duration,
    shapes.UUIDType: _Deriving.identifier,
    shapes.DecimalType: _Deriving.decimal,
    shapes.EnumType: _Deriving.member,
    shapes.LiteralType: _Deriving.literal,
    shapes.AnyType: _Deriving.anything,
    shapes.UnionType: _Deriving.union,
    shapes.ListType: _Deriving.collection,
    shapes.VarTupleType: _Deriving.collection,
    shapes.SetType: _Deriving.collection,
    shapes.FrozenSetType: _Deriving.collection,
    shapes.TupleType: _Deriving.fixed_tuple,
    shapes.DictType: _Deriving.dictionary,
    shapes.StructType: _Deriving.with_fields,
    shapes.DataclassType: _Deriving.with_fields,
    shapes.NamedTupleType: _Deriving.with_fields,
    shapes.TypedDictType: _Deriving.with_fields,
}
