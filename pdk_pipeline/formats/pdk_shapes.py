"""The shapes of a PDK log's records: learned as they come, and records of a known shape taken many at once.

The records of a log mostly have the same shape: the same one-line fields in the same order. Once a shape is known, a
record of it is taken by two or three steps of the regular expression engine. What the rules of the fields ask is then
asked of whole columns (`pdk_columns`); when one value is odd, the records are left to be read one by one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from pdk_pipeline.formats.pdk_columns import IDENTITY, OddError, results

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from pdk_pipeline.results import AsRead

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

LOG_END = re.compile(rb"\n[^.]")
"""The last line end of a multi-line field, and what follows."""

_LOG_END_BYTES = 2
"""So much the tail of a shape finds when what follows the log is not of the shape."""

_VALUE = rb"=([^\n]*+)(?<![ \t\r\x0b\x0c])\n"

familiar: list[_Kind] = []
"""The shapes of the log before, the most frequent first: the next machine's log looks the same."""


class Shapes:
    """The shapes of a log's records, learned as they come."""

    def __init__(self, base: Mapping[str, str], zone: tzinfo | None) -> None:
        """`base`: what a record begins with. `zone`: of times that name none."""
        self.zone = zone
        self._known = [Shape(kind) for kind in familiar]  # the most frequent first
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
        self._known.append(Shape(kind))

    def read(self, data: bytes, position: int, stop: int, default_log: bytes) -> tuple[list[AsRead], int] | None:
        """The records of known shapes from `position` on, and where they end; None: read the next by itself."""
        if not self._known or position < self._odd_until:
            return None
        end = self._gather(data, position, stop, default_log)
        used = [shape for shape in self._known if shape.logs]
        if not used:
            return None
        try:
            read = results(used, self.base, self.zone)
        except OddError:
            self._odd_until = end
            self._left_to_leave -= 1
            if not self._left_to_leave:
                self._give_up()
            return None
        finally:
            self._known.sort(key=Shape.frequency, reverse=True)
            familiar[:] = [shape.kind for shape in self._known]
            for shape in used:
                shape.empty()
        return read, end

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
            if end - position > MOST_FIELDS_BYTES:
                break  # what is made of its like together would be very much
            log: bytes | memoryview = default_log
            if shape.has_log:
                tail = shape.tail(data, end - 1, stop)
                if tail is None:
                    break
                log_end, tail_end = tail.span()
                if not _LOG_END_BYTES < tail_end - log_end <= MOST_FIELDS_BYTES:
                    break
                values, log, end = values + tail.groups(), source[end : log_end + 1], tail_end
            shape.numbers.append(number)
            shape.values.append(values)
            shape.logs.append(log)
            position = end
        return position


def _names(lines: bytes) -> tuple[str, ...]:
    return tuple([line.partition(b"=")[0].decode() for line in lines.split(b"\n")[:-1]])


class Shape:
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
