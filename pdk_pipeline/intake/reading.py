"""A log, read and made ready to be stored: results in columns, their logs packed. Knows of no database.

What can be done to a log without knowing what is stored already is done here, so that it may be done elsewhere and
ahead of time (`reading_ahead`).
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import zstandard

from pdk_pipeline import formats
from pdk_pipeline.formats.stream import open_log
from pdk_pipeline.formats.text import readable
from pdk_pipeline.results import Result, Results, in_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo
    from pathlib import Path

    from pdk_pipeline.results import AsRead, Other, Reading

PART_BYTES = 8 << 20
"""A part is handed on at so many bytes of log: few statements, bounded memory."""

RESULT_BYTES = 800
"""What a result takes in memory beside its texts, about; a group of results, a warning, no more."""

BLOCK_BYTES = 256 << 10
"""Logs packed together before compression: large enough to compress well, small enough to unpack for one log."""

COMPRESSION_LEVEL = 1
"""Test logs come out no larger than at the usual 3, and in two thirds of the time: measured on real ones."""


class How(NamedTuple):
    """How a log is to be read."""

    format: str | None
    """None: recognised by content."""
    defaults: dict[str, str]
    """Fields for records that lack them."""
    zone: tzinfo | None
    """Of times that name none; None is this machine's."""
    record_limit: int
    """Bytes of the largest record."""


Place = tuple[int, int, int]
"""Where a log lies: which of the part's blocks it is in, and where in that, unpacked, it begins and how long it is, in
bytes. Plain: there are very many of them, and they go from process to process."""

Packed = Results[Place | None]
"""Results whose logs were packed; None: there is none."""


class Block(NamedTuple):
    """Logs of one run, packed together, so that `clean` can remove them together."""

    test_run: str
    data: bytes


class Ending(NamedTuple):
    """What is known of a log once it has been read to its end."""

    format: str
    sha256: str
    """Of the file as it lies there, compressed or not."""


class Part(NamedTuple):
    """The next part of a log: as much as is stored by one round of statements."""

    results: list[Packed]
    blocks: list[Block]
    others: list[Other]
    """What became no result, in the log's order."""
    letters: int
    """Of what is stored unpacked: names, attributes."""
    bytes_read: int
    """Of the file, so far."""
    size: int
    """Bytes of the file when it was opened."""
    ending: Ending | None
    """Of the last part, and only of that."""


def read(path: Path, how: How) -> Iterator[Part]:
    """The log at `path`, part by part, at least one. Raises UnreadableLog, UnknownFormat."""
    with open_log(path) as stream:
        format_ = formats.named(how.format) if how.format else formats.detect(stream.beginning())
        defaults = {name: readable(os.fsencode(value)) for name, value in how.defaults.items()}
        readings = format_.read(stream, defaults=defaults, zone=how.zone, record_limit=how.record_limit)
        gathered = _Gathered()
        for _ in gathered.fill(readings):
            yield gathered.part(stream.bytes_read, stream.size, None)
        sha256 = stream.finish()
        yield gathered.part(stream.bytes_read, stream.size, Ending(format_.NAME, sha256))


Group = tuple[str, str, tuple[str, str, str]]
"""Run, project and environment of results that stand together."""

Columns = tuple[list[Any], ...]
"""The columns of Results."""


class _Gathered:
    """The part that is being gathered."""

    def __init__(self) -> None:
        self.packer = Packer()
        self.groups: dict[Group, Columns] = {}
        self.others: list[Other] = []
        self.letters = 0
        self.bytes = 0  # of everything else, about

    def fill(self, readings: Iterable[Reading]) -> Iterator[None]:
        """Gather; yields whenever it is enough for a part, which must be taken then."""
        for reading in readings:
            if isinstance(reading, Results):
                self._add(reading)
            elif isinstance(reading, Result):
                self._add(in_columns(reading))
            else:
                self.others.append(reading)
                self.bytes += RESULT_BYTES + sum(len(text) for text in reading if isinstance(text, (str, bytes)))
            del reading  # its log may be large
            if self.bytes + self.letters >= PART_BYTES:
                yield

    def part(self, bytes_read: int, size: int, ending: Ending | None) -> Part:
        """Take what was gathered."""
        results = [Results(*group, *columns) for group, columns in self.groups.items()]
        part = Part(results, self.packer.finish(), self.others, self.letters, bytes_read, size, ending)
        self.groups, self.others, self.letters, self.bytes = {}, [], 0, 0
        return part

    def _add(self, results: AsRead) -> None:
        columns = self.groups.get(group := results[:3])
        if columns is None:
            columns = self.groups[group] = tuple([] for _ in results[3:])
            self.bytes += RESULT_BYTES
            self.letters += len(group[0]) + len(group[1]) + sum(map(len, group[2]))
        *plain, logs = results[3:]
        for column, more in zip(columns, (*plain, self.packer.add(results.test_run, logs)), strict=True):
            column.extend(more)
        self.bytes += RESULT_BYTES * len(logs) + sum(map(len, logs))
        # What is large in a hostile log may be any of these.
        for texts in (results.test_name, results.test_runner, results.location, results.tda, results.tra):
            self.letters += sum(map(len, filter(None, texts)))


class _Open:
    """Logs that will be compressed together, as block `number` of the part."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.logs: list[bytes | memoryview] = []
        self.bytes = 0


def pack(logs: Iterable[bytes | memoryview]) -> bytes:
    """Logs one after the other, as the data of a block. `database.unpack` undoes it."""
    data = b"".join(logs)
    return _compressor(window_bits=18 if len(data) < 2 * BLOCK_BYTES else 19).compress(data)


@functools.cache  # to make one takes as long as to read ten results
def _compressor(window_bits: int) -> zstandard.ZstdCompressor:
    # 19 bits are usual for this level. From there on zstd compares by branches, which no processor foresees in logs: it
    # takes a fifth longer, and a block comes out no smaller. What is larger than a block may repeat from farther off.
    parameters = zstandard.ZstdCompressionParameters.from_level(COMPRESSION_LEVEL, window_log=window_bits)
    return zstandard.ZstdCompressor(compression_params=parameters)


class Packer:
    """Packs the logs of a part, those of a run together."""

    def __init__(self) -> None:
        self.open: dict[str, _Open] = {}  # by run
        self.blocks: list[Block | None] = []  # None: still open

    def add(self, test_run: str, logs: Iterable[bytes | memoryview]) -> list[Place | None]:
        """Pack logs of a run. Returns where each lies."""
        places = list[Place | None]()
        block = self.open.get(test_run)
        for log in logs:
            length = len(log)
            if not length:
                places.append(None)
                continue
            if block is None:
                block = self.open[test_run] = _Open(len(self.blocks))
                self.blocks.append(None)
            places.append((block.number, block.bytes, length))
            block.logs.append(log)
            block.bytes += length
            if block.bytes >= BLOCK_BYTES:
                self._close(test_run)
                block = None
        return places

    def _close(self, test_run: str) -> None:
        block = self.open.pop(test_run)
        self.blocks[block.number] = Block(test_run, pack(block.logs))

    def finish(self) -> list[Block]:
        """The part's blocks; the next log is packed into the first block of the next part."""
        for test_run in list(self.open):
            self._close(test_run)
        blocks, self.blocks = self.blocks, []
        return [block for block in blocks if block is not None]
