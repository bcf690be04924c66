"""A disk that is full: one line that says so, nothing half done, and all goes on when there is room."""

from __future__ import annotations

import contextlib
import time

import pytest

from pdk_pipeline import channels, database, outbox
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import DiskFull
from tests.conftest import log_of, record, rows
from tests.faults.conftest import SmallDisk
from tests.stored import home_in, is_sound, take_in

ROOM_BYTES = [0, 4096, 40_960, 200_000]


@pytest.fixture
def home(small_disk: SmallDisk) -> Settings:
    home = small_disk.place / "home"
    home.mkdir()
    return home_in(home)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "a.pdklog"
    path.write_text(log_of(*(record(f"t{number}", log=f"{number:x}" * 200) for number in range(3000))))
    return path


@pytest.mark.parametrize("room", ROOM_BYTES)
@pytest.mark.parametrize("is_new", [True, False])
def test_an_import_on_a_full_disk_says_so_and_stores_all_or_nothing(room, is_new, home, log, small_disk):
    if not is_new:
        with database.writing(home):
            pass
    with small_disk.filled(but=room), pytest.raises(DiskFull, match="make room and do it again"):
        take_in(home, log)
    assert take_in(home, log).accepted == 3000
    assert rows(home, "SELECT count(*), count(DISTINCT test_name) FROM result_scalar") == [(3000, 3000)]
    assert is_sound(home)


def test_a_log_is_not_to_blame_for_a_full_disk_however_often_it_is_tried(home, log, small_disk):
    with database.writing(home):
        pass
    # Given room enough to note that an import begins, and none to note that it failed
    for _ in range(home.most_attempts + 1):
        with small_disk.filled(but=40_960), pytest.raises(DiskFull):
            take_in(home, log, delivery="the same")
    # Then it is imported when there is room, and not put into the quarantine
    assert take_in(home, log, delivery="the same").accepted == 3000
    assert rows(home, "SELECT * FROM import_attempt") == []


def test_reading_on_a_full_disk_either_works_or_says_so(home, log, small_disk):
    take_in(home, log)
    with small_disk.filled(), pytest.raises(DiskFull), database.reading(home):
        pass


@pytest.fixture
def lease(home):
    """A message that is to be sent now."""
    with database.writing(home) as db:
        notice = outbox.Notice("daily_2026-11-23", "ann@example.org", "smtp", "subject", "text", "", 1, [])
        outbox.put(db, home, notice, None, now=time.time())
    (one,) = outbox.hand_out(home)
    return one


def test_no_mail_is_sent_when_there_is_no_room_to_note_that_it_was(lease, home, small_disk, monkeypatch):
    monkeypatch.setattr(channels, "send", lambda *_, **__: pytest.fail("it was sent"))
    (home.outbox / "deliveries").mkdir(parents=True)
    with database.reading(home), small_disk.filled():
        outcome = outbox.attempt(home, lease)
    assert outcome == (outbox.Result.FAILED, "outbox/deliveries: No space left on device")


def test_a_mail_that_was_sent_is_noted_though_the_disk_is_full_by_then(lease, home, small_disk, monkeypatch):
    # Given a disk that is filled while a mail is under way, and a sender that dies before it can tell anybody
    with contextlib.ExitStack() as held:

        def send(*_, **__):
            held.enter_context(small_disk.filled())
            return "250 taken"

        monkeypatch.setattr(channels, "send", send)
        with database.reading(home):
            assert outbox.attempt(home, lease).result is outbox.Result.SENT
    # Then the next one knows of it, and does not send it again
    monkeypatch.setattr(channels, "send", lambda *_, **__: pytest.fail("it was sent again"))
    assert outbox.hand_out(home) == []
    assert rows(home, "SELECT state FROM notification") == [("sent",)]
