"""The spool: what is claimed and when, where it goes, and that a kill or a second sweep loses and doubles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from attrs import evolve

from pdk_pipeline import config
from pdk_pipeline.errors import SpoolUnusable
from pdk_pipeline.intake import archive, quarantine, spool
from tests.conftest import log_of, record
from tests.machine import needs_permissions
from tests.stored import import_claimed, results, spooled


@pytest.fixture
def incoming(home) -> Path:
    spool.prepare(home)
    return home.spool / "incoming"


def settings_with(**values):
    return evolve(config.load(), **values)


def names(home) -> list[str]:
    """What a sweep claims."""
    return sorted(name for _, name in spool.collect(home).claims)


# Settled --------------------------------------------------------------------------------------------------------


def test_a_log_that_changed_a_moment_ago_is_left_for_the_next_sweep(home, incoming):
    settings = evolve(home, settle_seconds=30)
    now = time.time()
    for name, age in (("old", 31), ("young", 29), ("new", 0)):
        (incoming / name).touch()
        os.utime(incoming / name, (now - age, now - age))
    collected = spool.collect(settings)
    assert [name for _, name in collected.claims] == ["old"]
    assert collected.growing == 2
    assert sorted(path.name for path in incoming.iterdir()) == ["new", "young"]


def test_a_clock_that_is_a_little_ahead_does_not_make_a_growing_log_an_old_one(home, incoming):
    settings = evolve(home, settle_seconds=30)
    now = time.time()
    for name, ahead in (("a little", 80), ("years", 10 * 365 * 86400)):
        (incoming / name).touch()
        os.utime(incoming / name, (now + ahead, now + ahead))
    collected = spool.collect(settings)
    assert [name for _, name in collected.claims] == ["years"]
    assert collected.growing == 1


# Which files ----------------------------------------------------------------------------------------------------

ODD_NAMES = [
    b"a b",
    b"a\nb",
    b"\xff\xfe",
    b"-rf",
    "ä🐛".encode(),
    b"*",
    b"%s",
    b"a'b\"c",
    b"\\",
    b"x" * 255,
    "é".encode() * 127,
]


def test_odd_names_are_claimed_imported_and_archived_under_their_names(home, incoming):
    for number, name in enumerate(ODD_NAMES):
        (incoming / os.fsdecode(name)).write_text(log_of(record("t"), host=f"h{number}"))
    collected = spool.collect(home)
    assert len(collected.claims) == len(ODD_NAMES)
    assert "\\xff\\xfe" in [name for _, name in collected.claims]
    for claim, name in collected.claims:
        name.encode()  # can be shown
        assert import_claimed(home, claim).accepted == 1
    archived = [os.fsencode(path.name) for path in (home.spool / "archive").rglob("*") if path.is_file()]
    assert sorted(archived) == sorted(ODD_NAMES)
    assert len(results(home)) == len(ODD_NAMES)


def test_sub_directories_are_looked_into_and_stay(home, incoming):
    (incoming / "a" / "b").mkdir(parents=True)
    (incoming / "a" / "b" / "log").touch()
    (incoming / "a" / "log").touch()
    assert names(home) == ["log", "log"]
    assert (incoming / "a" / "b").is_dir()


def test_a_very_deep_directory_does_not_stop_the_sweep(home, incoming):
    deep = incoming
    for _ in range(1200):
        deep = deep / "d"
        deep.mkdir()
    (deep / "log").touch()
    try:
        assert names(home) == ["log"]
    finally:
        os.removedirs(deep)  # what tidies up after the tests cannot


def test_hidden_files_and_directories_are_being_written_and_are_left(home, incoming):
    (incoming / ".log").touch()
    (incoming / ".hidden").mkdir()
    (incoming / ".hidden" / "log").touch()
    collected = spool.collect(home)
    assert (collected.claims, collected.left, collected.growing) == ([], [], 0)


def test_what_is_no_regular_file_is_left_and_told_of(home, incoming, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "log").touch()
    (incoming / "dangling").symlink_to(tmp_path / "nothing")
    (incoming / "link").symlink_to(tmp_path / "elsewhere" / "log")
    (incoming / "directory link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(incoming / "fifo")
    (incoming / "log").touch()
    collected = spool.collect(home)
    assert [name for _, name in collected.claims] == ["log"]
    assert sorted(collected.left) == [
        f"{incoming / name}: it is not a regular file" for name in ("dangling", "directory link", "fifo", "link")
    ]
    assert (tmp_path / "elsewhere" / "log").exists()


@needs_permissions
def test_a_log_that_may_not_be_read_is_left_and_told_of(home, incoming):
    (incoming / "log").touch()
    (incoming / "log").chmod(0)
    assert spool.collect(home).left == [f"{incoming / 'log'}: it may not be read"]
    (incoming / "log").chmod(0o600)
    assert names(home) == ["log"]


@needs_permissions
def test_directories_that_may_not_be_used_are_told_of_and_the_rest_is_claimed(home, incoming):
    for name, mode in (("closed", 0), ("fixed", 0o500)):
        (incoming / name).mkdir()
        (incoming / name / "log").touch()
        (incoming / name).chmod(mode)
    (incoming / "log").touch()
    collected = spool.collect(home)
    for name in ("closed", "fixed"):
        (incoming / name).chmod(0o700)
    assert [name for _, name in collected.claims] == ["log"]
    assert sorted(collected.left) == [
        f"{incoming / 'closed'}: Permission denied",
        f"{incoming / 'fixed' / 'log'}: Permission denied",
    ]
    assert not [path for path in (home.spool / "processing").iterdir() if not list(path.iterdir())]


@needs_permissions
@pytest.mark.parametrize("mode", [0, 0o500])
def test_an_incoming_that_may_not_be_used_is_an_error_and_not_an_empty_one(home, incoming, mode):
    incoming.chmod(mode)
    with pytest.raises(SpoolUnusable, match=rf"^The spool cannot be used: {incoming}: Permission denied"):
        spool.collect(home)
    incoming.chmod(0o700)


def test_a_file_in_place_of_the_spool_is_an_error(home):
    home.spool.write_text("")
    with pytest.raises(SpoolUnusable, match="PDK_HOME names another place"):
        spool.collect(home)


# Claims that were left behind -----------------------------------------------------------------------------------


def test_a_claim_that_nobody_finished_is_handed_over_again_after_a_while(home, incoming):
    settings = evolve(home, resend_seconds=60)
    (incoming / "log").touch()
    ((claim, _),) = spool.collect(settings).claims
    assert spool.collect(settings).claims == []
    place = home.spool / "processing" / claim
    os.utime(place, (time.time() - 61,) * 2)
    assert spool.collect(settings).claims == [(claim, "log")]
    assert spool.collect(settings).claims == []


def test_the_waits_grow_up_to_an_hour(home, incoming):
    settings = evolve(home, resend_seconds=60)
    (incoming / "log").touch()
    ((claim, _),) = spool.collect(settings).claims
    place = home.spool / "processing" / claim

    def is_handed_over(claimed_ago: float, handed_over_ago: float) -> bool:
        nonlocal place
        began = datetime.fromtimestamp(time.time() - claimed_ago, tz=UTC)
        place = place.rename(place.with_name(f"{began:%Y%m%dT%H%M%SZ}-abc"))
        os.utime(place, (time.time() - handed_over_ago,) * 2)
        return bool(spool.collect(settings).claims)

    assert not is_handed_over(1000, 400)
    assert is_handed_over(1000, 600)
    assert not is_handed_over(100_000, 3500)
    assert is_handed_over(100_000, 3700)


def test_a_claim_of_a_time_to_come_is_handed_over(home, incoming):
    (incoming / "log").touch()
    ((claim, _),) = spool.collect(home).claims
    os.utime(home.spool / "processing" / claim, (time.time() + 10 * 365 * 86400,) * 2)
    assert spool.collect(evolve(home, resend_seconds=60)).claims == [(claim, "log")]


def test_a_kill_between_making_the_claim_and_filling_it_leaves_the_log_where_it_was(home, incoming):
    settings = evolve(home, resend_seconds=60)
    empty = home.spool / "processing" / spool._new_claim()
    empty.mkdir()
    (incoming / "log").touch()
    assert names(settings) == ["log"]
    assert empty.exists()
    os.utime(empty, (time.time() - 61,) * 2)
    spool.collect(settings)
    assert not empty.exists()


def test_what_else_lies_in_processing_disturbs_nobody(home, incoming):
    (home.spool / "processing" / "README").write_text("somebody's own")
    (home.spool / "processing" / "odd").mkdir()
    (home.spool / "processing" / "odd" / "log").touch()
    (incoming / "log").touch()
    assert names(evolve(home, resend_seconds=0)) == ["log", "log"]


def test_what_a_killed_process_left_half_made_goes_after_a_week(home):
    spool.prepare(home)
    hidden = [home.spool / "processing" / ".claim", quarantine.directory(home) / ".staging-abc"]
    for place in hidden:
        place.mkdir()
        (place / "half").touch()
    spool.collect(home)
    assert all(place.exists() for place in hidden)
    for place in hidden:
        os.utime(place, (time.time() - 8 * 86400,) * 2)
    spool.collect(home)
    assert not any(place.exists() for place in hidden)


# Two sweeps at once ---------------------------------------------------------------------------------------------


def _sweep(settings, start, found) -> None:
    start.wait()
    found.extend(spool.collect(settings).claims)


def test_two_sweeps_at_once_claim_every_log_once(home, incoming):
    settings = evolve(home, resend_seconds=60)
    for number in range(300):
        (incoming / f"log{number:03}").write_text(str(number))
    found: list = []
    start = threading.Barrier(4)
    sweeps = [threading.Thread(target=_sweep, args=(settings, start, found)) for _ in range(4)]
    for sweep in sweeps:
        sweep.start()
    for sweep in sweeps:
        sweep.join()
    assert sorted(name for _, name in found) == [f"log{number:03}" for number in range(300)]
    assert len({claim for claim, _ in found}) == 300
    assert len(spooled(home)) == 300


SWEEP = """
import sys
from pdk_pipeline import config
from pdk_pipeline.intake import spool
print("ready", flush=True)
sys.stdin.readline()
print(*(name for _, name in spool.collect(config.settings()).claims))
"""


def test_two_sweeping_processes_at_once_claim_every_log_once(incoming):
    for number in range(100):
        (incoming / f"log{number:03}").write_text(str(number))
    sweeps = [
        subprocess.Popen([sys.executable, "-c", SWEEP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for sweep in sweeps:
        assert sweep.stdout.readline() == "ready\n"
    for sweep in sweeps:
        sweep.stdin.write("\n")
        sweep.stdin.flush()
    found = [name for sweep in sweeps for name in sweep.communicate()[0].split()]
    assert sorted(found) == [f"log{number:03}" for number in range(100)]


# Putting in -----------------------------------------------------------------------------------------------------


def test_bytes_from_elsewhere_become_a_claimed_log(home):
    claim = spool.put_claimed(home, "stdin", [log_of().encode(), record("t").encode()], {})
    assert spool.claimed_file(home, claim).name == "stdin"
    assert import_claimed(home, claim).accepted == 1


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..", "log"),
        (".", "log"),
        ("", "log"),
        ("/", "log"),
        ("a/", "a"),
        (".hidden", "hidden"),
        ("a\0b", "ab"),
        ("x" * 300, "x" * 240),
        ("\udcff", "\udcff"),
        ("a b", "a b"),
    ],
)
def test_a_name_from_elsewhere_leads_nowhere_else(home, name, called):
    claim = spool.put_claimed(home, name, [b"content"], {})
    assert spool.claimed_file(home, claim).name == called
    assert spool.claimed_file(home, claim).read_bytes() == b"content"
    assert len(spooled(home)) == 1


def test_bytes_that_break_off_leave_nothing(home):
    def broken():
        yield b"some"
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        spool.put_claimed(home, "log", broken(), {})
    assert list((home.spool / "processing").iterdir()) == []


# The archive ----------------------------------------------------------------------------------------------------


def archived(home) -> dict[str, str]:
    return {path.name: path.read_text() for path in (home.spool / "archive").rglob("*") if path.is_file()}


def claim_of(home, incoming, name: str, content: str) -> str:
    (incoming / name).write_text(content)
    return spool.collect(home).claims[-1][0]


def test_a_log_ends_in_the_archive_of_its_day_in_the_sites_zone(home, incoming, monkeypatch):
    class Stopped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 11, 23, 23, 30, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr(archive, "datetime", Stopped)
    settings = evolve(home, timezone="Asia/Tokyo")
    claim = claim_of(home, incoming, "log", "content")
    assert spool.archive_claimed(settings, claim, imported_bytes=7) == home.spool / "archive/2026/11/24/log"


def test_logs_of_the_same_name_do_not_replace_one_another(home, incoming):
    for content in ("one", "two", "six"):
        spool.archive_claimed(home, claim_of(home, incoming, "log", content), imported_bytes=3)
    assert archived(home) == {"log": "one", "log.1": "two", "log.2": "six"}


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "a" * 250 + ".gz"])
def test_the_longest_names_do_not_replace_one_another_either(home, incoming, name):
    for content in ("one", "two", "six"):
        spool.archive_claimed(home, claim_of(home, incoming, name, content), imported_bytes=3)
    assert sorted(archived(home).values()) == ["one", "six", "two"]


def test_a_log_that_has_grown_goes_back_beside_a_new_one_of_its_name(home, incoming):
    claim = claim_of(home, incoming, "log", "some and more")
    (incoming / "log").write_text("new")
    assert spool.archive_claimed(home, claim, imported_bytes=4) == incoming / "log.1"
    assert spooled(home) == {"incoming/log": b"new", "incoming/log.1": b"some and more"}


def test_a_claim_that_is_finished_with_has_nothing_to_archive(home):
    spool.prepare(home)
    assert spool.archive_claimed(home, "none", imported_bytes=0) is None


def test_a_move_that_was_killed_before_its_last_step_is_ended_and_not_doubled(home, incoming, monkeypatch):
    claim = claim_of(home, incoming, "log", "content")
    log = spool.claimed_file(home, claim)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_args, **_kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            spool.archive_claimed(home, claim, imported_bytes=7)
    assert log.exists()
    assert archived(home) == {"log": "content"}
    spool.archive_claimed(home, claim, imported_bytes=7)
    assert not log.parent.exists()
    assert archived(home) == {"log": "content"}


def test_without_hard_links_nothing_is_replaced_either(home, incoming, monkeypatch):
    def refused(*_args, **_kwargs):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    for content in ("one", "two"):
        spool.archive_claimed(home, claim_of(home, incoming, "log", content), imported_bytes=3)
    assert archived(home) == {"log": "one", "log.1": "two"}
    assert list((home.spool / "processing").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system here")
def test_from_another_file_system_a_log_is_whole_in_the_archive_before_it_is_gone(home, monkeypatch):
    spool.prepare(home)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        log = Path(elsewhere) / "log"
        log.write_text("content")
        if log.stat().st_dev == home.spool.stat().st_dev:
            pytest.skip("there is no second file system here")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("killed")))
            with pytest.raises(OSError, match="killed"):
                archive.put(home, log)
        assert log.read_text() == "content"
        archive.put(home, log)
        assert not log.exists()
    assert {name: text for name, text in archived(home).items() if not name.startswith(".")} == {"log": "content"}
