"""Many records of a PDK log as columns: what the rules of the fields ask of one record is asked of all of them at once.

Here is only what needs no word to anybody, with the same outcome as `fields.interpret`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, islice, repeat
from json.encoder import encode_basestring as _quoted
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline.formats.fields import ATTENTION, NOT_A_TEST, attention, clean_name
from pdk_pipeline.formats.text import readable
from pdk_pipeline.formats.times import parse_times
from pdk_pipeline.results import STATUSES, AsRead, Results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import tzinfo

    from pdk_pipeline.formats.pdk_shapes import Shape

    Column = Sequence[Any]

IDENTITY = ("test_run", "project", "host", "context", "custom")

_FIELDS = (*IDENTITY, "test_name", "status", "attn", "start_time", "end_time", "test_runner", "location")
"""What is asked of records, attributes aside."""


class OddError(Exception):
    """A column holds what somebody must be told of, or what only `fields.interpret` understands."""


def results(shapes: list[Shape], base: Mapping[str, str], zone: tzinfo | None) -> list[AsRead]:
    """What shapes have gathered, in the log's order. Raises OddError."""
    taken = [_Taken(shape, len(shape.logs), list(zip(*shape.values, strict=True))) for shape in shapes]
    fields = _Fields(taken, base)
    names, status = list(map(clean_name, fields.column("test_name"))), fields.column("status")
    if not all(names) or not STATUSES.issuperset(status) or fields.may_name_no_test:
        raise OddError
    count = len(names)
    times = _times([*fields.column("start_time"), *fields.column("end_time")], zone)
    columns: list[Column] = [
        names,
        status,
        _attention(fields.column("attn"), status),
        times[:count],
        times[count:],
        _or_none(fields.column("test_runner")),
        _or_none(fields.column("location")),
        *(_as_json(taken, prefix, base) for prefix in ("tda_", "tra_")),
        list(chain.from_iterable(shape.logs for shape in shapes)),
    ]
    are_alike = all(shape.names_no_identity for shape in shapes)
    if not are_alike:
        columns.append(list(map(_identity, *map(fields.column, IDENTITY))))
    if len(shapes) > 1:
        numbers = list(chain.from_iterable(shape.numbers for shape in shapes))
        in_order = itemgetter(*sorted(range(count), key=numbers.__getitem__))
        columns = list(map(in_order, columns))
    if are_alike:
        return [Results(*_identity(*(base[name] for name in IDENTITY)), *columns)]
    groups: dict[Any, list[tuple[Any, ...]]] = {}
    for *row, identity in zip(*columns, strict=True):
        groups.setdefault(identity, []).append(tuple(row))
    return [Results(*identity, *zip(*rows, strict=True)) for identity, rows in groups.items()]


class _Taken(NamedTuple):
    """The records that were taken of a shape."""

    shape: Shape
    records: int
    columns: list[tuple[bytes, ...]]
    """Of each field, in the shape's order, the values."""


# In what follows records stand shape by shape, and those of a shape in the log's order.


class _Fields:
    """The one-line fields of taken records, attributes aside, as columns."""

    def __init__(self, taken: list[_Taken], base: Mapping[str, str]) -> None:
        self._taken = taken
        self._base = base
        self._count = sum(one.records for one in taken)
        given = [name for name in _FIELDS if any(name in one.shape.places for one in taken)]
        text = _together(
            (b"",) * one.records if (place := one.shape.places.get(name)) is None else one.columns[place]
            for name in given
            for one in taken
        )
        texts = iter(text.split("\n"))
        self._given = {name: list(islice(texts, self._count)) for name in given}
        self.may_name_no_test = NOT_A_TEST in text
        """Whether one of them may be by rule not a test."""

    def column(self, name: str) -> list[str]:
        """Of each record the field."""
        by_default = self._base[name]
        given = self._given.get(name)
        if given is None:
            return [by_default] * self._count
        if not by_default:
            return given
        has_own = chain.from_iterable(repeat(name in one.shape.places, one.records) for one in self._taken)
        return [value if is_own else by_default for value, is_own in zip(given, has_own, strict=True)]


def _as_json(taken: list[_Taken], prefix: str, base: Mapping[str, str]) -> list[str | None]:
    """Of each record the attributes with a prefix, as JSON."""
    said = tuple([(name, value) for name, value in base.items() if name.startswith(prefix)])
    attributes = [_attributes(prefix, one.shape.names, said) for one in taken]
    both = list(zip(attributes, taken, strict=True))
    values = iter(_quoted_lines(_together(of.columns[place] for one, of in both for place in one.places)))
    column: list[str | None] = []
    for one, of in both:
        column += one.as_json(values, of.records)
    return column


def _together(columns: Iterable[Sequence[bytes]]) -> str:
    """The values of columns, a line each: they are decoded and cut together."""
    return readable(b"\n".join(chain.from_iterable(columns)))


def _quoted_lines(text: str) -> list[str]:
    """The lines of a text, each as it stands between the quotation marks of JSON."""
    if "\\" in text:
        return [_quoted(line)[1:-1] for line in text.split("\n")]
    return _quoted(text)[1:-1].split("\\n")


class _Attributes(NamedTuple):
    """How the attributes with one prefix become JSON."""

    places: list[int]
    """Of those that a record gives."""
    pieces: list[str]
    """What stands before each of their values, and after the last; that is empty when there are no attributes."""

    def as_json(self, values: Iterator[str], count: int) -> list[str] | list[None]:
        """The attributes of so many records. `values`: quoted, those of one attribute after those of the other."""
        *before, after = self.pieces
        if not before:
            return [after] * count if after else [None] * count
        width = 2 * len(before) + 1
        told = [after + "\n"] * (width * count)
        for number, piece in enumerate(before):
            told[2 * number :: width] = [piece] * count
            told[2 * number + 1 :: width] = islice(values, count)
        return "".join(told).split("\n")[:-1]


@lru_cache(maxsize=128)
def _attributes(prefix: str, names: tuple[str, ...], said: tuple[tuple[str, str], ...]) -> _Attributes:
    """`names`: a record's fields. `said`: the attributes with that prefix that it begins with."""
    places = {name: place for place, name in enumerate(names) if name.startswith(prefix)}
    values = dict(said) | dict.fromkeys(places)
    pieces, mark = [""], "{"
    for name, value in values.items():
        pieces[-1] += f"{mark}{_quoted(name.removeprefix(prefix))}:"
        mark = ","
        if value is None:
            pieces[-1] += '"'
            pieces.append('"')
        else:
            pieces[-1] += _quoted(value)
    pieces[-1] += "}" if values else ""
    return _Attributes([places[name] for name in values if name in places], pieces)


def _identity(run: str, project: str, host: str, context: str, custom: str) -> tuple[str, str, tuple[str, str, str]]:
    if not run or not project:
        raise OddError
    return run, project, (host or "unknown", context or "default", custom)


def _attention(column: Column, status: Column) -> Column:
    if not any(column):
        return list(map(attention, status))
    if not ATTENTION.issuperset(filter(None, column)):
        raise OddError
    return [attn or attention(one) for attn, one in zip(column, status, strict=True)]


def _or_none(column: Column) -> Column:
    return column if all(column) else [value or None for value in column]


def _times(texts: Column, zone: tzinfo | None) -> Column:
    times = parse_times(texts, zone)
    if None in times and any(text and time is None for text, time in zip(texts, times, strict=True)):
        raise OddError
    return times
