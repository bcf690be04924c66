"""Many records of a PDK log at once, column by column.

The records of a log mostly have the same shape: the same one-line fields in the same order. Once a shape is known, a
record of it is taken by two or three steps of the regular expression engine, and what the rules of the fields
(`fields.interpret`) ask is asked of whole columns. Here is only what needs no word to anybody: when one value of a
column is odd, the records are left to be read one by one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from json.encoder import encode_basestring as _quoted
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pdk_pipeline.formats.fields import ATTENTION, NOT_A_TEST, attention, clean_name
from pdk_pipeline.formats.text import readable
from pdk_pipeline.formats.times import parse_times
from pdk_pipeline.results import STATUSES, AsRead, Results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
        return (results, end) if results else None

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
                log_end = LOG_END.search(data, end - 1, stop)
                tail = shape.tail(data, log_end.start(), stop) if log_end else None
                if log_end is None or tail is None:
                    break
                values, log, end = values + tail.groups(), source[end : log_end.start() + 1], tail.end()
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
        self.head = _matching(rb"\n*+", before, rb"log:\n" if has_log else rb"END\n")
        """Matches up to where the log begins, or the whole of a record without one."""
        self.tail = _matching(rb"\n\n++", after, rb"END\n")
        """Matches from the last line end of the log on."""
        self.kind = kind
        self.has_log = has_log
        self.numbers: list[int] = []
        """Which of the records that are gathered are of this shape."""
        self.values: list[tuple[bytes, ...]] = []
        self.logs: list[bytes | memoryview] = []
        self._places = {name: place for place, name in enumerate(before + after)}
        self._name = "test_name" if "test_name" in self._places else "name"
        self._base: Mapping[str, str] | None = None  # that the attributes are made for
        self._attributes: tuple[_Attributes, _Attributes]
        self.is_one_group = self._places.keys().isdisjoint(IDENTITY)
        """Whether all records are of one run, project and environment."""

    def frequency(self) -> int:
        """How many records are gathered."""
        return len(self.logs)

    def empty(self) -> None:
        """Ready for others."""
        self.numbers, self.values, self.logs = [], [], []

    def columns(self, base: Mapping[str, str], zone: tzinfo | None) -> list[Column]:
        """What was gathered: run, project and environment as one, then the columns of Results. Raises _OddError."""
        if self._base is not base:
            self._base = base
            self._attributes = _Attributes("tda_", self._places, base), _Attributes("tra_", self._places, base)
        text = readable(b"\n".join(chain.from_iterable(zip(*self.values, strict=True))))
        texts, count = text.split("\n"), len(self.logs)
        places = self._places

        def given(name: str) -> Column:
            place = places.get(name)
            return [base[name]] * count if place is None else texts[place * count : (place + 1) * count]

        def given_or_none(name: str) -> Column:
            return [value or None for value in given(name)]

        names, status = list(map(clean_name, given(self._name))), given("status")
        if not all(names) or not STATUSES.issuperset(status) or NOT_A_TEST in text:
            raise _OddError
        if self.is_one_group:
            identity: Column = [_identity(*(base[name] for name in IDENTITY))] * count
        else:
            identity = list(map(_identity, *map(given, IDENTITY)))
        times = _times([*given("start_time"), *given("end_time")], zone)
        return [
            identity,
            names,
            status,
            _attention(given("attn"), status),
            times[:count],
            times[count:],
            given_or_none("test_runner"),
            given_or_none("location"),
            *(attributes.as_json(texts, count) for attributes in self._attributes),
            self.logs,
        ]


class _Attributes:
    """The attributes with one prefix, as JSON."""

    def __init__(self, prefix: str, places: Mapping[str, int], base: Mapping[str, str]) -> None:
        length = len(prefix)
        said = {name: _quoted(value).replace("%", "%%") for name, value in base.items() if name.startswith(prefix)}
        said |= {name: "%s" for name in places if name.startswith(prefix)}
        self._places = [places[name] for name in said if name in places]
        pairs = [f"{_quoted(name[length:]).replace('%', '%%')}:{value}" for name, value in said.items()]
        self._template = "{" + ",".join(pairs) + "}" if pairs else None

    def as_json(self, texts: list[str], count: int) -> list[str | None]:
        """Of each record. `texts`: the columns of all fields, one after the other."""
        if self._template is None:
            return [None] * count
        if not self._places:
            return [self._template % ()] * count
        quoted = [map(_quoted, texts[place * count : (place + 1) * count]) for place in self._places]
        return list(map(self._template.__mod__, zip(*quoted, strict=True)))


@lru_cache(maxsize=64)  # the next log's records have the same shapes
def _matching(before: bytes, names: tuple[str, ...], after: bytes) -> Callable[..., re.Match[bytes] | None]:
    return re.compile(before + b"".join(re.escape(name.encode()) + _VALUE for name in names) + after).match


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


def _times(texts: Column, zone: tzinfo | None) -> Column:
    times = parse_times(texts, zone)
    if None in times and any(text and time is None for text, time in zip(texts, times, strict=True)):
        raise _OddError
    return times


def _results(shapes: list[_Shape], base: Mapping[str, str], zone: tzinfo | None) -> list[AsRead]:
    """What shapes have gathered, in the log's order. Raises _OddError."""
    if not shapes:
        return []
    columns = shapes[0].columns(base, zone)
    if len(shapes) > 1:
        numbers = list(chain.from_iterable(shape.numbers for shape in shapes))
        in_order = itemgetter(*sorted(range(len(numbers)), key=numbers.__getitem__))
        parts = zip(columns, *(shape.columns(base, zone) for shape in shapes[1:]), strict=True)
        columns = [in_order(list(chain.from_iterable(column))) for column in parts]
    identity, *rest = columns
    if all(shape.is_one_group for shape in shapes):
        return [Results(*identity[0], *rest)]
    groups: dict[Any, list[tuple[Any, ...]]] = {}
    for one, *row in zip(identity, *rest, strict=True):
        groups.setdefault(one, []).append(tuple(row))
    return [Results(*one, *zip(*rows, strict=True)) for one, rows in groups.items()]
