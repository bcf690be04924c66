"""`pdk status`: how it stands, and what needs a person."""

from __future__ import annotations

import time
from types import SimpleNamespace

from pdk_pipeline import database, night_steps, nightly, nights, status
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from tests.conftest import log_of, record
from tests.unit.test_nightly import NOON, arrive, do_night


def needs(home: Settings) -> str:
    return "\n".join(need.what for need in status.look(home).needs)


def test_an_installation_in_order_needs_nobody(home: Settings):
    arrive(home, "a", record("t1"))
    do_night(home)
    found = status.look(home)
    assert found.needs == []
    assert (found.incoming, found.processing, found.runs) == (0, 0, 1)
    assert found.archive_bytes == len(log_of(record("t1")))
    assert [night.run_name for night, _ in found.nights] == ["daily_2026-11-23"]


def test_what_is_in_the_quarantine_needs_somebody(home: Settings):
    arrive(home, "a", record("t1", "X"))
    do_night(home)
    assert needs(home) == "1 record in 1 item of the quarantine"


def test_what_cannot_be_taken_in_needs_somebody(home: Settings):
    spool.prepare(home)
    incoming = home.spool / "incoming"
    (incoming / "a link").symlink_to("somewhere")
    (incoming / "another").symlink_to("somewhere")
    (incoming / "log").write_text(log_of(record("t1")))
    do_night(home)  # which takes in the log, and goes well
    assert needs(home) == f"not taken in: {incoming / 'a link'}: it is not a regular file, and 1 more"
    (incoming / "a link").unlink()
    (incoming / "another").unlink()
    assert needs(home) == ""


def test_a_step_that_failed_needs_somebody(home: Settings, monkeypatch):
    def broken(_work):
        raise ZeroDivisionError("of course")

    monkeypatch.setitem(night_steps.STEPS, "gen_expected", night_steps.Kind(broken))
    do_night(home)
    assert needs(home) == "daily_2026-11-23: gen_expected failed: ZeroDivisionError: of course"


def test_a_step_that_failed_needs_somebody_though_a_night_of_another_class_went_well(home: Settings, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setitem(night_steps.STEPS, "gen_expected", night_steps.Kind(lambda _work: 1 / 0))
        do_night(home)
    other, _ = nightly.start(home, "weekly", "weekly_2026-11-23", reason="a test", now=NOON + 60)
    nightly.run_here(home, other.id, progress=lambda *_: None)
    (need,) = status.look(home).needs
    assert need.what == "daily_2026-11-23: gen_expected failed: ZeroDivisionError: division by zero"
    assert need.advice == "`pdk nightly daily daily_2026-11-23 --again` repeats."
    # and once the next night of its class went well, nobody
    do_night(home, "daily_2026-11-24")
    assert needs(home) == ""


def test_a_disk_without_any_room_needs_somebody(home: Settings, monkeypatch):
    do_night(home)
    monkeypatch.setattr(status.shutil, "disk_usage", lambda _path: SimpleNamespace(free=0))
    assert needs(home) == "only 0 bytes are free on the disk"


def test_a_night_that_does_not_get_on_needs_somebody(home: Settings):
    nightly.start(home, "weekly", "weekly_2026-11-22", reason="a test", now=NOON)
    assert needs(home) == "weekly_2026-11-22 does not get on"
    (need,) = status.look(home).needs
    assert need.advice == "`pdk nightly weekly weekly_2026-11-22` goes on with it; is a writer running?"


def test_a_night_that_should_have_started_needs_somebody(home: Settings):
    with database.writing(home) as db:
        nights.due(home, db, time.time() - 3 * 86_400)
    assert "should have started" in needs(home)


def test_logs_that_wait_are_counted_and_one_that_waits_long_needs_somebody(home: Settings, monkeypatch):
    arrive(home, "a", record("t1"))
    assert status.look(home).incoming == 1
    spool.collect(home)
    found = status.look(home)
    assert (found.incoming, found.processing) == (0, 1)
    later = time.time() + 3600
    monkeypatch.setattr(status.time, "time", lambda: later)
    assert "a log has waited 60 minutes for its import" in needs(home)


def test_a_home_without_a_database_is_told_of(home: Settings):
    assert "pdk.db" in needs(home)
    assert [path.name for path in home.home.iterdir()] == ["pdk.toml"]
