"""Many records of a PDK log at once, column by column.

The records of a log mostly have the same shape: the same one-line fields in the same order. Once a shape is known, a
record of it is taken by two or three steps of the regular expression engine, and what the rules of the fields
(`fields.interpret`) ask is asked of whole columns. Here is only what needs no word to anybody: when one value of a
column is odd, the records are left to be read one by one.
"""

from __future__ import annotations

import re
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
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import tzinfo

    Column = Sequence[Any]
    _Kind = tuple[tuple[str, ...], tuple[str, ...], bool]  # names before the log, after it, and whether there is one

MOST_AT_ONCE = 256
"""Records; so few that little is read twice when one of them is odd."""

MOST_SHAPES = 8
"""So many are known at once: those of passing, of failing, of disabled tests …"""

MOST_LEARNED = 50
"""So many shapes are learned from a log: each takes as long as to read a dozen records."""

MOST_ODD = 4
"""So many times are records left to be read one by one; then the log is none that this is for."""

MOST_FIELDS_BYTES = 4096
"""A record with more in its one-line fields, or with larger defaults, is of no shape."""

MOST_HELD_BYTES = 16 << 20
"""Of a log held at once so much may stay in memory until its part is stored."""

IDENTITY = ("test_run", "project", "host", "context", "custom")

LOG_END = re.compile(rb"\n[^.]")
"""The last line end of a multi-line field, and what follows."""

_LOG_END_BYTES = 2

_PREFIXES = ("tda_", "tra_")

_FIELDS = (*IDENTITY, "test_name", "status", "attn", "start_time", "end_time", "test_runner", "location")
"""What is asked of records, attributes aside."""

_VALUE = rb"=([^\n]*+)(?<![ \t\r\x0b\x0c])\n"


familiar: list[_Kind] = []
"""The shapes of the log before, the most frequent first: the next machine's log looks the same."""


class Shapes:
    """The shapes of a log's records, learned as they come."""

    def __init__(self, base: Mapping[str, str], zone: tzinfo | None) -> None:
        """`base`: what a record begins with. `zone`: of times that name none."""
        self.zone = zone
        self._known = [_Shape(kind) for kind in familiar]  # the most frequent first
        self._seen: set[_Kind] = set()
        self._left_to_learn = MOST_LEARNED
        self._left_to_leave = MOST_ODD
        self._odd_until = 0
        self.rebase(base)

    def rebase(self, base: Mapping[str, str]) -> None:
        """Records begin with something else from now on."""
        self.base = base
        if sum(map(len, base)) + sum(map(len, base.values())) >= MOST_FIELDS_BYTES:
            self._give_up()

    def _give_up(self) -> None:
        self._known, self._left_to_learn = [], 0

    def moved(self) -> None:
        """The bytes have other positions now."""
        self._odd_until = 0

    def learn(self, head: bytes, tail: bytes, *, has_log: bool) -> None:
        """A record was read by itself. The second of a shape makes it known.

        `head`, `tail`: its one-line fields before and after the log.
        """
        if not self._left_to_learn or len(head) + len(tail) > MOST_FIELDS_BYTES:
            return
        kind = _names(head), _names(tail), has_log
        if kind not in self._seen:
            if len(self._seen) < MOST_LEARNED:
                self._seen.add(kind)
            return
        names = kind[0] + kind[1]
        if any(shape.kind == kind for shape in self._known) or len(set(names)) < len(names) or "log" in names:
            return  # one of its records was odd, or it is no shape
        self._left_to_learn -= 1
        del self._known[MOST_SHAPES - 1 :]
        self._known.append(_Shape(kind))

    def read(self, data: bytes, position: int, stop: int, default_log: bytes) -> tuple[list[AsRead], int] | None:
        """The records of known shapes from `position` on, and where they end; None: read the next by itself."""
        if not self._known or position < self._odd_until:
            return None
        end = self._gather(data, position, stop, default_log)
        used = [shape for shape in self._known if shape.logs]
        if not used:
            return None
        try:
            results = _results(used, self.base, self.zone)
        except _OddError:
            self._odd_until = end
            self._left_to_leave -= 1
            if not self._left_to_leave:
                self._give_up()
            return None
        finally:
            self._known.sort(key=_Shape.frequency, reverse=True)
            familiar[:] = [shape.kind for shape in self._known]
            for shape in used:
                shape.empty()
        return results, end

    def _gather(self, data: bytes, position: int, stop: int, default_log: bytes) -> int:
        """Take records for as long as they are of a known shape. Returns where they end."""
        known = self._known
        # A log is not copied; but when a record is very large, what is held for it is not kept for a small one's sake.
        source = memoryview(data) if len(data) < MOST_HELD_BYTES else data
        for number in range(MOST_AT_ONCE):
            for shape in known:
                if head := shape.head(data, position, stop):
                    break
            else:
                break
            values, end = head.groups(), head.end()
            log: bytes | memoryview = default_log
            if shape.has_log:
                tail = shape.tail(data, end - 1, stop)
                if tail is None or (tail_end := tail.end()) == (log_end := tail.start()) + _LOG_END_BYTES:
                    break
                values, log, end = values + tail.groups(), source[end : log_end + 1], tail_end
            shape.numbers.append(number)
            shape.values.append(values)
            shape.logs.append(log)
            position = end
        return position


def _names(lines: bytes) -> tuple[str, ...]:
    return tuple([line.partition(b"=")[0].decode() for line in lines.split(b"\n")[:-1]])


class _OddError(Exception):
    """A column holds what somebody must be told of, or what only `fields.interpret` understands."""


class _Shape:
    """Records of one shape."""

    def __init__(self, kind: _Kind) -> None:
        before, after, has_log = kind
        self.head = _compiled(rb"\n*+", before, rb"log:\n" if has_log else rb"END\n").match
        """Matches up to where the log begins, or the whole of a record without one."""
        self.tail = _compiled(rb"\n[^.](?:(?<=\n)\n*+", after, rb"END\n|)").search
        """Finds the end of the log, as LOG_END does, and goes on to the end of the record if that is of this shape."""
        self.kind = kind
        self.has_log = has_log
        self.numbers: list[int] = []
        """Which of the records that are gathered are of this shape."""
        self.values: list[tuple[bytes, ...]] = []
        self.logs: list[bytes | memoryview] = []
        self.names = before + after
        self.places = {name: place for place, name in enumerate(self.names)}
        if "test_name" not in self.places and "name" in self.places:
            self.places["test_name"] = self.places["name"]
        self.names_no_identity = self.places.keys().isdisjoint(IDENTITY)
        """Whether all records have the run, project and environment that they begin with."""

    def frequency(self) -> int:
        """How many records are gathered."""
        return len(self.logs)

    def empty(self) -> None:
        """Ready for others."""
        self.numbers, self.values, self.logs = [], [], []


@lru_cache(maxsize=64)  # the next log's records have the same shapes
def _compiled(before: bytes, names: tuple[str, ...], after: bytes) -> re.Pattern[bytes]:
    return re.compile(before + b"".join(re.escape(name.encode()) + _VALUE for name in names) + after)


def _results(shapes: list[_Shape], base: Mapping[str, str], zone: tzinfo | None) -> list[AsRead]:
    """What shapes have gathered, in the log's order. Raises _OddError."""
    fields = _Fields(shapes, base)
    names, status = list(map(clean_name, fields.column("test_name"))), fields.column("status")
    if not all(names) or not STATUSES.issuperset(status) or fields.may_name_no_test:
        raise _OddError
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

    def __init__(self, shapes: list[_Shape], base: Mapping[str, str]) -> None:
        self._shapes = shapes
        self._base = base
        self._count = sum(len(shape.logs) for shape in shapes)
        self._given = {name for shape in shapes for name in shape.places}.intersection(_FIELDS)
        said = tuple([item for item in base.items() if item[0].startswith(_PREFIXES)])
        self._attributes = [[_attributes(prefix, shape.names, said) for shape in shapes] for prefix in _PREFIXES]
        text = readable(b"\n".join(chain.from_iterable(self._values())))
        self._texts = iter(text.split("\n"))
        self._columns = {name: list(islice(self._texts, self._count)) for name in self._given}
        self.may_name_no_test = NOT_A_TEST in text
        """Whether one of them may be by rule not a test."""

    def _values(self) -> Iterator[Sequence[bytes]]:
        """All that is asked of the records, to be decoded together: the fields, then the attributes of each shape."""
        by_shape = [list(zip(*shape.values, strict=True)) for shape in self._shapes]
        for name in self._given:
            for shape, values in zip(self._shapes, by_shape, strict=True):
                place = shape.places.get(name)
                yield (b"",) * len(shape.logs) if place is None else values[place]
        for attributes in self._attributes:
            for one, values in zip(attributes, by_shape, strict=True):
                yield from [values[place] for place in one.places]

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
                count = len(shape.logs)
                if one.template is None:
                    column += repeat(None, count)
                elif not one.places:
                    column += repeat(one.template % (), count)
                else:
                    quoted = [list(map(_quoted, islice(self._texts, count))) for _ in one.places]
                    column += map(one.template.__mod__, zip(*quoted, strict=True))
            yield column


class _Attributes(NamedTuple):
    """How the attributes with one prefix become JSON."""

    places: list[int]
    """Of those that a record gives."""
    template: str | None
    """With a %s for each; None: there are no attributes."""


@lru_cache(maxsize=128)
def _attributes(prefix: str, names: tuple[str, ...], said: tuple[tuple[str, str], ...]) -> _Attributes:
    """`names`: a record's fields. `said`: the attributes that it begins with."""
    places = {name: place for place, name in enumerate(names) if name.startswith(prefix)}
    values = {name: _quoted(value).replace("%", "%%") for name, value in said if name.startswith(prefix)}
    values |= dict.fromkeys(places, "%s")
    pairs = [f"{_quoted(name.removeprefix(prefix)).replace('%', '%%')}:{value}" for name, value in values.items()]
    return _Attributes([places[name] for name in values if name in places], f"{{{','.join(pairs)}}}" if pairs else None)


def _identity(run: str, project: str, host: str, context: str, custom: str) -> tuple[str, str, tuple[str, str, str]]:
    if not run or not project:
        raise _OddError
    return run, project, (host or "unknown", context or "default", custom)


def _attention(column: Column, status: Column) -> Column:
    if not any(column):
        return list(map(attention, status))
    if not ATTENTION.issuperset(filter(None, column)):
        raise _OddError
    return [attn or attention(one) for attn, one in zip(column, status, strict=True)]


def _or_none(column: Column) -> Column:
    return column if all(column) else [value or None for value in column]


def _times(texts: Column, zone: tzinfo | None) -> Column:
    times = parse_times(texts, zone)
    if None in times and any(text and time is None for text, time in zip(texts, times, strict=True)):
        raise _OddError
    return times
