"""A log file as a stream: plain or compressed, whole or damaged, and whatever else may lie among the logs."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from pdk_pipeline.errors import UnreadableLog
from pdk_pipeline.formats import pdk, stream
from pdk_pipeline.formats.stream import Damaged, LogStream, open_log
from pdk_pipeline.results import Rejection, Result, singly
from tests.conftest import log_of, record
from tests.machine import needs_permissions
from tests.unit.reading import stream as stream_of

TEXT = b"".join(b"test_name=t%d\nstatus=P\nEND\n" % number for number in range(5000))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)  # as the program zstd does


COMPRESS = {"gz": gzip.compress, "zst": zstd, "xz": lzma.compress}


@pytest.fixture(params=COMPRESS)
def compress(request):
    return COMPRESS[request.param]


def unpacked(data: bytes) -> tuple[bytes, str]:
    """What a reader gets, and the damage it is told of."""
    log = stream_of(data)
    pieces = []
    try:
        while piece := log.read():
            pieces.append(piece)
    except Damaged as damage:
        return b"".join(pieces), str(damage)
    return b"".join(pieces), ""


# Compressed -----------------------------------------------------------------------------------------------------


def test_a_plain_log_is_itself():
    assert unpacked(TEXT) == (TEXT, "")


def test_a_compressed_log_is_what_it_was(compress):
    assert unpacked(compress(TEXT)) == (TEXT, "")
    assert unpacked(compress(b"")) == (b"", "")


def test_several_compressed_logs_after_one_another_are_one(compress):
    """`cat a.gz b.gz`, or a machine that appends."""
    assert unpacked(compress(TEXT) + compress(b"") + compress(b"more")) == (TEXT + b"more", "")


def test_zeros_at_the_end_are_padding(compress):
    assert unpacked(compress(TEXT) + bytes(5000)) == (TEXT, "")
    assert unpacked(compress(TEXT) + bytes(512 - len(compress(TEXT)) % 512)) == (TEXT, "")


def test_frames_to_skip_may_stand_before_and_between():
    skipped = struct.pack("<II", 0x184D2A50, 4) + b"none"
    assert unpacked(skipped + zstd(TEXT) + skipped + zstd(b"more")) == (TEXT + b"more", "")


def test_a_log_cut_anywhere_gives_what_came_before_and_says_so(compress):
    whole = compress(TEXT)
    for cut in {*range(6, 40), *range(40, len(whole), 97), len(whole) - 1}:  # less is a plain log
        got, damage = unpacked(whole[:cut])
        assert TEXT.startswith(got)
        assert "the compressed file is damaged or cut off" in damage, cut
    assert len(unpacked(whole[: len(whole) // 2])[0]) > 1000 or compress is not gzip.compress


def test_a_cut_off_member_does_not_hide_the_ones_before(compress):
    whole = compress(TEXT)
    got, damage = unpacked(whole + compress(b"more")[:-5])
    assert got.startswith(TEXT)
    assert damage


def test_damage_anywhere_is_told_of_or_harms_nothing(compress):
    whole = compress(TEXT)
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        got, damage = unpacked(whole[:place] + bytes((whole[place] ^ 0x40,)) + whole[place + 1 :])
        assert damage or got == TEXT or place < 6, place  # without its first bytes it is a plain log


def test_damage_before_the_first_byte_is_not_the_end_of_the_log(compress):
    got, damage = unpacked(compress(TEXT)[:12])
    assert got == b""
    assert damage


def test_what_follows_a_compressed_log_and_is_none_is_damage(compress):
    got, damage = unpacked(compress(TEXT) + b"test_name=plain\n")
    assert got == TEXT
    assert damage


def test_the_first_bytes_decide_never_the_name(tmp_path, compress):
    for name, content in (("a.gz", TEXT), ("a.pdklog", compress(TEXT))):
        (tmp_path / name).write_bytes(content)
        with open_log(tmp_path / name) as log:
            assert log.read().startswith(b"test_name=t0\n")


# Bombs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPRESS)
def test_a_bomb_swells_a_little_at_a_time(name):
    log = stream_of(COMPRESS[name](bytes(32 << 20)))
    size = 0
    while piece := log.read():
        size += len(piece)
        assert len(piece) < 24 << 20
    assert size == 32 << 20


def test_unpacking_that_would_need_too_much_memory_is_refused(monkeypatch):
    monkeypatch.setattr(stream, "MOST_MEMORY", 1 << 20)
    assert unpacked(lzma.compress(TEXT)) == (
        b"",
        "the compressed file is damaged or cut off (Memory usage limit exceeded)",
    )
    window = zstandard.ZstdCompressionParameters.from_level(1, window_log=24)
    greedy = zstandard.ZstdCompressor(compression_params=window).compressobj()
    got, damage = unpacked(greedy.compress(TEXT) + greedy.flush())
    assert got == b""
    assert "too much memory" in damage


@pytest.mark.parametrize(
    "strongest",
    [lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), zstandard.ZstdCompressor(level=19).compress],
)
def test_the_strongest_usual_setting_is_not_too_much(strongest):
    assert unpacked(strongest(TEXT)) == (TEXT, "")


# The file -------------------------------------------------------------------------------------------------------


def test_what_was_read_is_counted_and_hashed_as_the_file_lies_there(tmp_path, compress):
    path = tmp_path / "log"
    path.write_bytes(compress(TEXT))
    with open_log(path) as log:
        log.read()
        sha256 = log.finish()
        assert (log.size, log.bytes_read) == (path.stat().st_size, path.stat().st_size)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_reader_that_stops_early_does_not_change_the_sum(tmp_path, monkeypatch):
    monkeypatch.setattr(stream, "CHUNK", 1000)
    path = tmp_path / "log"
    path.write_bytes(TEXT)
    with open_log(path) as log:
        log.read()
        assert log.finish() == hashlib.sha256(TEXT).hexdigest()
        assert log.bytes_read == len(TEXT)


def test_the_beginning_is_given_again(compress):
    log = stream_of(compress(TEXT))
    beginning = log.beginning()
    assert TEXT.startswith(beginning)
    assert beginning
    assert log.read() == beginning


def test_a_beginning_that_cannot_be_read_is_told_of_by_the_next_read(compress):
    log = stream_of(compress(TEXT)[:12])
    assert log.beginning() == b""
    with pytest.raises(Damaged):
        log.read()


def test_an_empty_file_is_an_empty_log():
    log = LogStream(stream_of(b"")._file, 0)
    assert (log.beginning(), log.read(), log.bytes_read) == (b"", b"", 0)
    assert log.finish() == hashlib.sha256(b"").hexdigest()


def refusal(path) -> str:
    with pytest.raises(UnreadableLog) as refused, open_log(path):
        pass
    return str(refused.value).removeprefix("This file cannot be read as a log: ")


def test_what_is_no_file_is_refused_and_does_not_hold_anything_up(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path / "fifo") == f"{tmp_path / 'fifo'}: it is not a regular file"
    assert refusal(tmp_path / "directory") == f"{tmp_path / 'directory'}: it is not a regular file"
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: No such file or directory"
    assert refusal(tmp_path / "dangling") == f"{tmp_path / 'dangling'}: No such file or directory"
    assert refusal(tmp_path / "loop") == f"{tmp_path / 'loop'}: Too many levels of symbolic links"


def test_a_link_leads_to_its_log(tmp_path):
    (tmp_path / "log").write_bytes(TEXT)
    (tmp_path / "link").symlink_to("log")
    with open_log(tmp_path / "link") as log:
        assert log.read() == TEXT


@needs_permissions
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "log").write_bytes(TEXT)
    (tmp_path / "log").chmod(0)
    assert refusal(tmp_path / "log") == f"{tmp_path / 'log'}: Permission denied"


MEASURE = """
import resource, sys
from pathlib import Path
from pdk_pipeline.formats.stream import open_log
from pdk_pipeline.formats import pdk
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_log(Path(sys.argv[1])) as log:
    bytes_rejected = sum(
        len(reading.raw) for reading in pdk.read(log, defaults={}, zone=None, record_limit=16 << 20)
    )
print(bytes_rejected, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_a_bomb_is_read_in_little_memory(tmp_path):
    (tmp_path / "bomb").write_bytes(zstd(bytes(32 << 20)) * 5)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "bomb"], capture_output=True, text=True, check=True
    )
    size, megabytes = map(int, done.stdout.split())
    assert size == 160 << 20
    assert megabytes < 110


@pytest.mark.parametrize("end", ["", "\n\n", "# the end\n", "START\n", "x=1\n"], ids=repr)
@pytest.mark.parametrize(
    "what_follows", [b"test_name=plain\nstatus=P\nEND\n", gzip.compress(b"x=1")[:-9]], ids=["plain", "cut off"]
)
def test_damage_between_two_records_is_told_of_as_damage_in_one_is(end: str, what_follows: bytes, tmp_path: Path):
    log = tmp_path / "a.gz"
    log.write_bytes(gzip.compress((log_of(record("t1")) + end).encode()) + what_follows)
    with open_log(log) as stream:
        found = list(singly(pdk.read(stream, defaults={}, zone=None, record_limit=1 << 20)))
    assert [type(reading) for reading in found] == [Result, Rejection]
    assert "the compressed file is damaged or cut off" in found[1].reason
