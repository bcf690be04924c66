"""A log file as a stream of bytes: decompressed on the way, its sha256 taken as it passes."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import stat
import zlib
from typing import IO, TYPE_CHECKING, Protocol

import zstandard

from pdk_pipeline.errors import UnreadableLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK = 1 << 22
"""Bytes read at once: large enough that Python's part is small, small enough for memory."""

PIECE = 1 << 9
"""Compressed bytes unpacked at once: so few that even a bomb swells to no more than 16 MB before it is handed on."""


class _Decompressor(Protocol):
    """What zlib, lzma and zstandard have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


MOST_MEMORY = 128 << 20
"""Bytes that unpacking may need, twice what the strongest setting of xz or zstd does; a hostile file asks for more."""


def _zstd() -> _Decompressor:
    return zstandard.ZstdDecompressor(max_window_size=MOST_MEMORY).decompressobj()


_DECOMPRESSORS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"\x28\xb5\x2f\xfd": _zstd,
    **{
        bytes((first,)) + b"\x2a\x4d\x18": _zstd for first in range(0x50, 0x60)
    },  # frames to skip, as pzstd has in front
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_MEMORY),
}
"""By the first bytes of a file, never by its name."""


class Damaged(Exception):
    """The compressed file ends or breaks here; what came before is good."""


class LogStream:
    """The uncompressed bytes of a log; what was read of the file itself is counted and hashed."""

    def __init__(self, file: IO[bytes], size: int, path: Path | None = None) -> None:
        self._file = file
        self._path = path
        self._sha256 = hashlib.sha256()
        self._pieces = self._opened()
        self.size = size
        """Bytes of the file when it was opened, compressed or not."""
        self.bytes_read = 0
        """Bytes of the file that have passed so far."""

    def read(self) -> bytes:
        """The next piece, about CHUNK bytes; empty at the end. Raises Damaged."""
        return next(self._pieces, b"")

    def beginning(self) -> bytes:
        """The first piece, which the next `read` gives again; empty when not even that can be read."""
        first, damage = b"", None
        try:
            first = self.read()
        except Damaged as error:
            damage = error
        self._pieces = self._again(first, damage, self._pieces)
        return first

    def finish(self) -> str:
        """Read what a reader left over, so that the sum is of the whole file. Returns the sha256, in hex."""
        while self._read_file():
            pass
        return self._sha256.hexdigest()

    def _read_file(self) -> bytes:
        try:
            piece = self._file.read(CHUNK)
        except OSError as error:  # a disk or a file server that fails; it does not know of which file
            error.filename = self._path and os.fspath(self._path)
            raise
        self._sha256.update(piece)
        self.bytes_read += len(piece)
        return piece

    def _opened(self) -> Iterator[bytes]:
        first = self._read_file()
        fresh = next((make for magic, make in _DECOMPRESSORS.items() if first.startswith(magic)), None)
        yield from self._unpacked(fresh, first) if fresh else self._plain(first)

    @staticmethod
    def _again(first: bytes, damage: Damaged | None, rest: Iterator[bytes]) -> Iterator[bytes]:
        if first:
            yield first
        if damage:
            raise damage
        yield from rest

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            yield piece
            piece = self._read_file()

    def _unpacked(self, fresh: Callable[[], _Decompressor], packed: bytes) -> Iterator[bytes]:
        """What the compressed file holds, of all its members; every good byte comes before Damaged is raised."""
        decompressor = fresh()
        ready: list[bytes] = []
        damage = ""
        while packed and not damage:
            for start in range(0, len(packed), PIECE):
                piece = packed[start : start + PIECE]
                while piece.strip(b"\0") if decompressor.eof else piece:
                    if decompressor.eof:
                        decompressor = fresh()
                    try:
                        ready.append(decompressor.decompress(piece))
                    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError) as error:
                        damage = str(error)
                        break
                    piece = decompressor.unused_data if decompressor.eof else b""
                if sum(map(len, ready)) >= CHUNK:
                    yield b"".join(ready)
                    ready.clear()
                if damage:
                    break
            packed = self._read_file()
        if rest := b"".join(ready):  # an empty piece would be taken for the end
            yield rest
        if damage or not decompressor.eof:
            raise Damaged(f"the compressed file is damaged or cut off{f' ({damage})' if damage else ''}")


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[LogStream]:
    """The log at `path`, whether plain or in gzip, zstandard or xz.

    Raises UnreadableLog when it is not a regular file that we may read.
    """
    try:
        # O_NONBLOCK: a fifo among the logs must not hold up the queue for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnreadableLog(f"{path}: {error.strerror}") from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableLog(f"{path}: it is not a regular file")
        with os.fdopen(handle, "rb", buffering=0, closefd=False) as file:
            yield LogStream(file, about.st_size, path)
    finally:
        os.close(handle)
