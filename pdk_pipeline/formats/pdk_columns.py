"""Many records of a PDK log as columns: what the rules of the fields ask of one record is asked of all of them at once.

Here is only what needs no word to anybody, with the same outcome as `fields.interpret`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain, islice
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

_PREFIXES = ("tda_", "tra_")

_FIELDS = (*IDENTITY, "test_name", "status", "attn", "start_time", "end_time", "test_runner", "location")
"""What is asked of records, attributes aside."""


class OddError(Exception):
    """A column holds what somebody must be told of, or what only `fields.interpret` understands."""


def results(shapes: list[Shape], base: Mapping[str, str], zone: tzinfo | None) -> list[AsRead]:
    """What shapes have gathered, in the log's order. Raises OddError."""
    fields = _Fields(shapes, base)
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
        *fields.attributes(),
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


class _Fields:
    """The one-line fields of gathered records as columns: shape by shape, and of each shape in the log's order."""

    def __init__(self, shapes: list[Shape], base: Mapping[str, str]) -> None:
        self._shapes = shapes
        self._base = base
        self._count = sum(len(shape.logs) for shape in shapes)
        self._given = {name for shape in shapes for name in shape.places}.intersection(_FIELDS)
        said = tuple([item for item in base.items() if item[0].startswith(_PREFIXES)])
        self._attributes = [[_attributes(prefix, shape.names, said) for shape in shapes] for prefix in _PREFIXES]
        by_shape = [list(zip(*shape.values, strict=True)) for shape in shapes]
        text = _together(
            (b"",) * len(shape.logs) if (place := shape.places.get(name)) is None else values[place]
            for name in self._given
            for shape, values in zip(shapes, by_shape, strict=True)
        )
        texts = iter(text.split("\n"))
        self._columns = {name: list(islice(texts, self._count)) for name in self._given}
        self.may_name_no_test = NOT_A_TEST in text
        """Whether one of them may be by rule not a test."""
        values_of_attributes = _together(
            values[place]
            for attributes in self._attributes
            for one, values in zip(attributes, by_shape, strict=True)
            for place in one.places
        )
        self._quoted = iter(_quoted_lines(values_of_attributes))

    def column(self, name: str) -> list[str]:
        """Of each record the field."""
        by_default = self._base[name]
        column = self._columns.get(name)
        if column is None:
            return [by_default] * self._count
        if by_default:
            end = 0
            for shape in self._shapes:
                begin, end = end, end + len(shape.logs)
                if name not in shape.places:
                    column[begin:end] = [by_default] * (end - begin)
        return column

    def attributes(self) -> Iterator[Column]:
        """Of each record the attributes, as JSON; a column for each prefix. To be asked once."""
        for attributes in self._attributes:
            column: list[str | None] = []
            for one, shape in zip(attributes, self._shapes, strict=True):
                column += one.as_json(self._quoted, len(shape.logs))
            yield column


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
    """`names`: a record's fields. `said`: the attributes that it begins with."""
    places = {name: place for place, name in enumerate(names) if name.startswith(prefix)}
    values = {name: value for name, value in said if name.startswith(prefix)} | dict.fromkeys(places)
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
