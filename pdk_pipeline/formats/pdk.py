"""The PDK log: a series of `name=value` records, read as a stream.

Three ways through a record, with the same outcome (a property test holds them together): `_plain` knows what test
runners write and takes whole fields in single steps of the regular expression engine; of records that look like those
before them `pdk_shapes` takes many at once; everything else goes line by line through `_careful`, which is the
format to the letter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pdk_pipeline.formats.fields import BLANK, Unfit, interpret
from pdk_pipeline.formats.pdk_shapes import LOG_END, Shapes
from pdk_pipeline.formats.pdk_writer import fields_as_text
from pdk_pipeline.formats.stream import Damaged
from pdk_pipeline.formats.text import dotted, readable, undotted
from pdk_pipeline.results import Reading, Rejection, Skipped, Warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import tzinfo

    from pdk_pipeline.formats import Source

NAME = "pdk"

_HELD_TO_COUNT = 8 << 20
"""Bytes that are held on to only for the sake of their lines, at the most."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Plain one-line fields: a lower-case name, no white space at either end of the line. Possessive is only what repeats a
# single character: with groups the first releases of Python 3.11 do not find what is there.
_PLAIN = rb"(?:[a-z_][a-z0-9_.-]*+=[^\n]*+(?<![ \t\r\x0b\x0c])\n)"
_HEAD = re.compile(rb"\n*+(" + _PLAIN + rb"{1,200})(?:(log:\n)|END\n)")
_TAIL = re.compile(rb"\n\n++(" + _PLAIN + rb"{0,200})END\n")
_END_LINE = re.compile(rb"^[ \t\r\x0b\x0c]*END[ \t\r\x0b\x0c]*$\n?", re.MULTILINE)
_STRETCH_END = re.compile(rb"^[ \t\r\x0b\x0c]*(?:END|SETDEFAULT)[ \t\r\x0b\x0c]*\n", re.MULTILINE)
_SECTION = re.compile(rb"^[ \t\r\x0b\x0c]*(?:START|SETDEFAULT)[ \t\r\x0b\x0c]*\n", re.MULTILINE)
_RESUMES = re.compile(rb"^[ \t\r\x0b\x0c]*(?:END|START)[ \t\r\x0b\x0c]*\n", re.MULTILINE)


def recognises(beginning: bytes) -> bool:  # noqa: ARG001
    """Always: what no other format claims is read as a PDK log, and what is none comes out as rejections."""
    return True


def read(source: Source, *, defaults: Mapping[str, str], zone: tzinfo | None, record_limit: int) -> Iterator[Reading]:
    """Everything that stands in the log (see `formats.Format.read`)."""
    return _Reader(defaults, zone, record_limit).read(source)


class _Reader:
    """What a reader knows between two records."""

    def __init__(self, fallbacks: Mapping[str, str], zone: tzinfo | None, record_limit: int) -> None:
        self.fallbacks = BLANK | dict(fallbacks)
        self.zone = zone
        self.record_limit = record_limit
        self.defaults: dict[str, str] = {}  # since START, by SETDEFAULT
        self.default_log = b""
        self.base = self.fallbacks  # the two together: what a record begins with
        self.shapes = Shapes(self.base, zone)
        self.data = b""  # what is held of the log …
        self.offset = 0  # … from this byte on …
        self.lines = _Lines()
        self.preamble = b""  # the defaults in force, as a log says them
        self.damage = ""  # why the source ended before the log did

    # The stream ---------------------------------------------------------------------------------------------

    def read(self, source: Source) -> Iterator[Reading]:
        piece = self._next_piece(source)
        while BYTE_ORDER_MARK.startswith(piece) and (more := self._next_piece(source)):
            piece += more
        if piece.startswith(BYTE_ORDER_MARK):
            self.offset += len(BYTE_ORDER_MARK)
            piece = piece[len(BYTE_ORDER_MARK) :]
        while piece:
            last_line = self.data.rfind(b"\n") + 1
            self.data = self.data + piece if self.data else piece
            yield from self._whole_records(last_line)
            if len(self.data) > self.record_limit:
                yield from self._sections()
            if len(self.data) > self.record_limit:
                yield from self._oversized(source)
            piece = self._next_piece(source)
        is_told = not self.damage
        for reading in self._careful(0, len(self.data), self.damage or "no END at the end of the file"):
            is_told = is_told or (isinstance(reading, Rejection) and reading.reason == self.damage)
            yield reading
        if not is_told:  # it was between two records
            end = len(self.data)
            yield Rejection(self._line_at(end), self.offset + end, self.damage, b"", self.preamble)

    def _next_piece(self, source: Source) -> bytes:
        if self.damage:
            return b""
        try:
            return source.read()
        except Damaged as error:
            self.damage = str(error)
            return b""

    def _whole_records(self, end_from: int = 0) -> Iterator[Reading]:
        """Everything up to the last END that is held. No line of a multi-line field can look like one.

        `end_from`: where the first line begins that can be an END.
        """
        stop = self.data.rfind(b"\nEND\n", max(end_from - 1, 0)) + 5
        if stop < 5:
            ends = (match for match in _END_LINE.finditer(self.data, end_from) if match[0].endswith(b"\n"))
            stop = max((match.end() for match in ends), default=0)
        position = 0
        while position < stop:
            quick = self._quick(position, stop)
            if quick is not None:
                readings, position = quick
                yield from readings
                del readings, quick  # their logs may be large
                continue
            # No further than needed: the record after the defaults may be plain again.
            stretch_end = _STRETCH_END.search(self.data, position, stop)
            after = stretch_end.end() if stretch_end else stop
            yield from self._careful(position, after, "")
            position = after
        self._forget(stop)

    def _forget(self, length: int) -> None:
        self.lines.forget(self.data, length)
        self.offset += length
        self.data = self.data[length:]
        self.shapes.moved()

    def _line_at(self, position: int) -> int:
        """The line that a position of the held data is on."""
        return self.lines.at(self.data, position)

    def _sections(self) -> Iterator[Reading]:
        """What stands before a record that is too large is none of it: empty lines, START, the defaults."""
        blank = len(self.data) - len(self.data.lstrip())
        self._forget(self.data.rfind(b"\n", 0, blank) + 1)
        # The first line may be one, whatever the limit.
        while ends := [
            match.end() for match in _SECTION.finditer(self.data, 0, max(self.record_limit, self.data.find(b"\n") + 1))
        ]:
            yield from self._careful(0, ends[-1], "")
            self._forget(ends[-1])

    def _oversized(self, source: Source) -> Iterator[Reading]:
        """A record too large to hold goes out in pieces, up to the END or START that ends it."""
        line, offset = self._line_at(0), self.offset
        reason = f"the record is larger than {self.record_limit >> 20} MB"
        is_in_line = False  # what is held begins in the middle of one
        while True:
            resumes = _RESUMES.search(self.data, self.data.find(b"\n") + 1 or len(self.data) if is_in_line else 0)
            if resumes:
                stop = resumes.end() if b"END" in resumes[0] else resumes.start()
                break
            # The last line stays: it may be the beginning of END or START.
            kept = self.data.rfind(b"\n") + 1 or len(self.data)
            yield Rejection(line, offset, reason, self.data[:kept], self.preamble, is_continued=True)
            is_in_line = not self.data.endswith(b"\n", 0, kept)
            self._forget(kept)
            piece = self._next_piece(source)
            if not piece:
                stop = len(self.data)
                break
            self.data += piece
        yield Rejection(line, offset, reason, self.data[:stop], self.preamble)
        self._forget(stop)
        yield from self._whole_records()

    # A record in its plain shape ------------------------------------------------------------------------------

    def _quick(self, position: int, stop: int) -> tuple[Sequence[Reading], int] | None:
        """The record at `position`, or more, and where they end; None when it is not of a plain shape."""
        return self.shapes.read(self.data, position, stop, self.default_log) or self._plain(position, stop)

    def _plain(self, position: int, stop: int) -> tuple[Sequence[Reading], int] | None:
        """The same of one record, whatever its fields are."""
        data = self.data
        head = _HEAD.match(data, position, stop)
        if head is None:
            return None
        if head[2] is None:
            text, rest, log, end = head[1], b"", self.default_log, head.end()
        else:
            log_start = head.end()
            log_end = LOG_END.search(data, log_start - 1, stop)
            tail = _TAIL.match(data, log_end.start(), stop) if log_end else None
            if log_end is None or tail is None:
                return None
            text, rest, log, end = head[1], tail[1], data[log_start : log_end.start() + 1], tail.end()
        fields = self.base.copy()
        for line in readable((text + rest)[:-1]).split("\n"):
            name, _, value = line.partition("=")
            fields[name] = value
        if "log" in fields:
            if head[2]:
                return None
            log = _one_line_log(fields.pop("log"))
        warnings: list[str] = []
        outcome = interpret(fields, log, self.zone, warnings)
        if warnings or isinstance(outcome, Unfit):
            return None
        self.shapes.learn(text, rest, has_log=head[2] is not None)
        return [outcome], end

    # A stretch to the letter ----------------------------------------------------------------------------------

    def _careful(self, position: int, stop: int, if_cut_off: str) -> Iterator[Reading]:
        """The lines from `position` to `stop`, which follow the end of a record or of the defaults.

        `if_cut_off` is the reason to tell when a record is not complete there.
        """
        record = _Record()
        while position < stop:
            newline = self.data.find(b"\n", position, stop)
            after = newline + 1 if newline >= 0 else stop
            line = self.data[position:after]
            word = line.strip()
            if record.takes_dotted(line, word):
                pass
            elif word == b"END":
                record.begin_at(position)
                yield from self._ended(record, after)
                record = _Record()
            elif word == b"SETDEFAULT":
                yield from self._defaults_set(record, after)
                record = _Record()
            elif word == b"START":
                if record.begin is not None:
                    yield Warned(self._line_at(record.begin), "an unfinished record was forgotten, START follows it")
                record = _Record()
                self.defaults, self.default_log, self.base, self.preamble = {}, b"", self.fallbacks, b""
                self.shapes.rebase(self.base)
            elif word and not word.startswith(b"#"):
                record.begin_at(position)
                problem = record.take(word)
                if problem and not record.problem:
                    record.fail(f"{problem} (line {self._line_at(position)})")
            position = after
        if record.begin is not None:
            yield self._rejection(record.begin, stop, if_cut_off)

    def _ended(self, record: _Record, after: int) -> Iterator[Reading]:
        assert record.begin is not None  # noqa: S101
        if record.problem or not record.has_fields:
            yield self._rejection(record.begin, after, record.problem or "END without a record before it")
            return
        warnings: list[str] = []
        log = self.default_log if record.log is None else record.log
        outcome = interpret(self.base | record.fields, log, self.zone, warnings)
        if not isinstance(outcome, Unfit):
            line = self._line_at(record.begin) if warnings else 0
            yield from (Warned(line, warning) for warning in warnings)
            yield outcome
        elif outcome.is_skipped:
            yield Skipped(self._line_at(record.begin), outcome.reason)
        else:
            yield self._rejection(record.begin, after, outcome.reason)

    def _defaults_set(self, record: _Record, after: int) -> Iterator[Reading]:
        if record.fields.keys() & {"test_name", "name"}:
            record.fail("test_name in SETDEFAULT")
        if record.problem and record.begin is not None:
            yield self._rejection(record.begin, after, record.problem)
        # What could be read of a bad block still holds, or it would take the good records that follow down with it.
        self.defaults |= {name: value for name, value in record.fields.items() if name not in {"test_name", "name"}}
        if record.log is not None:
            self.default_log = record.log
        self.base = self.fallbacks | self.defaults
        self.shapes.rebase(self.base)
        self.preamble = fields_as_text(self.defaults, self.default_log) + b"SETDEFAULT\n"

    def _rejection(self, begin: int, stop: int, reason: str) -> Rejection:
        return Rejection(self._line_at(begin), self.offset + begin, reason, self.data[begin:stop], self.preamble)


class _Lines:
    """Counts lines, and only when somebody asks: in most logs nothing is wrong, and nobody does."""

    def __init__(self) -> None:
        self.first = 1  # the line that the held data begins on, but for …
        self.let_go = (b"", 0, 0)  # … the lines of what was let go last, from where to where
        self.counted = (0, 1)  # a position of the held data and its line: counting goes on from there

    def at(self, data: bytes, position: int) -> int:
        """The line that a position of the held data is on."""
        self._settle()
        counted_to, line = self.counted if self.counted[0] <= position else (0, self.first)
        line += data.count(b"\n", counted_to, position)
        self.counted = position, line
        return line

    def forget(self, data: bytes, length: int) -> None:
        """The first `length` bytes of the held data are let go."""
        self._settle()
        position, self.first = self.counted if self.counted[0] <= length else (0, self.first)
        self.let_go = data, position, length
        if length > _HELD_TO_COUNT:
            self._settle()

    def _settle(self) -> None:
        data, begin, end = self.let_go
        if data:
            self.first += data.count(b"\n", begin, end)
            self.counted = 0, self.first
            self.let_go = b"", 0, 0


class _Record:
    """A record as far as it has been read."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.log: bytes | None = None
        self.begin: int | None = None
        self.problem = ""
        self.open_name: str | None = None
        self.open_lines: list[bytes] = []

    @property
    def has_fields(self) -> bool:
        return bool(self.fields) or self.log is not None

    def begin_at(self, position: int) -> None:
        if self.begin is None:
            self.begin = position

    def fail(self, problem: str) -> None:
        """The first thing that is wrong is the one to tell."""
        self.problem = self.problem or problem

    def takes_dotted(self, line: bytes, word: bytes) -> bool:
        """Take a line of the open multi-line field, or the blank one that closes it."""
        if self.open_name is None:
            return False
        if line.startswith(b"."):
            self.open_lines.append(line)
            return True
        name, lines = self.open_name, b"".join(self.open_lines)
        self.open_name, self.open_lines = None, []
        if not word:
            if name == "log":
                self.log = lines
            else:
                self.fields[name] = readable(undotted(lines))
            return True
        self.fail(f"a line without a dot in the multi-line field {name!r}")
        return False

    def take(self, word: bytes) -> str:
        """Take a line outside multi-line fields, stripped. Returns what is wrong with it, or nothing."""
        name, equals, value = word.partition(b"=")
        if equals:
            folded, text = _folded(name), readable(value)
            if folded == "log":
                self.log = _one_line_log(text)
            else:
                self.fields[folded] = text
            return ""
        name, colon, rest = word.partition(b":")
        if not colon:
            return "a line that is neither a field, nor END, START or SETDEFAULT"
        if rest:
            return f"text after the colon of the multi-line field {_folded(name)!r}"
        self.open_name = _folded(name)
        return ""


def _folded(name: bytes) -> str:
    return readable(name.strip()).lower()


def _one_line_log(text: str) -> bytes:
    return dotted(text.encode())
