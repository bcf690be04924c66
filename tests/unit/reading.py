"""What the tests of reading have in common."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from zoneinfo import ZoneInfo

from pdk_pipeline.formats import pdk
from pdk_pipeline.formats.stream import LogStream
from pdk_pipeline.results import Other, Rejection, Result, Skipped, Warned, singly

UTC = ZoneInfo("UTC")


class Pieces:
    """A source that gives its bytes in pieces of a size of our choice."""

    def __init__(self, data: bytes, size: int) -> None:
        self.pieces = iter([data[start : start + size] for start in range(0, len(data), size)])

    def read(self) -> bytes:
        return next(self.pieces, b"")


def read(
    log: bytes | str, *, piece: int = 1 << 22, limit: int = 64 << 20, defaults: Mapping[str, str] | None = None
) -> list[Result | Other]:
    """Everything that a reader makes of a log."""
    data = log.encode() if isinstance(log, str) else log
    return list(singly(pdk.read(Pieces(data, piece), defaults=defaults or {}, zone=UTC, record_limit=limit)))


def results(readings: list[Result | Other]) -> list[Result]:
    return [reading for reading in readings if isinstance(reading, Result)]


def rejections(readings: list[Result | Other]) -> list[Rejection]:
    return [reading for reading in readings if isinstance(reading, Rejection)]


def warnings(readings: list[Result | Other]) -> list[Warned]:
    return [reading for reading in readings if isinstance(reading, Warned)]


def skipped(readings: list[Result | Other]) -> list[Skipped]:
    return [reading for reading in readings if isinstance(reading, Skipped)]


def stream(data: bytes) -> LogStream:
    return LogStream(io.BytesIO(data), len(data))


def log_text(result: Result) -> str:
    from pdk_pipeline.formats.text import readable, undotted

    return readable(undotted(result.log))


def chunks(log: LogStream) -> Iterator[bytes]:
    while piece := log.read():
        yield piece
