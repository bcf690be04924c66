"""Clocks that are wrong, and set right: nothing waits for a moment that never comes."""

from __future__ import annotations

import pytest

from pdk_pipeline import contacts, database, nightly, nights, outbox
from pdk_pipeline.config import Settings
from tests.conftest import record, rows
from tests.stored import take_in

DAY_SECONDS = 86_400.0
NOW = 1_795_000_000.0
AHEAD = NOW + 30 * DAY_SECONDS


@pytest.fixture
def night(home: Settings) -> nights.Night:
    return nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=NOW)[0]


def test_a_step_that_was_taken_while_the_clock_was_ahead_is_handed_out_again_when_it_is_right(home, night):
    assert nightly.next_step(home, night.id, AHEAD)
    assert nightly.next_step(home, night.id, NOW)


def test_a_step_that_was_put_off_while_the_clock_was_ahead_is_due_when_it_is_right(home, night):
    step = nightly.next_step(home, night.id, AHEAD)
    with database.writing(home) as db:
        assert nights.postpone(db, step, AHEAD, "the disk was full")
    assert nightly.next_step(home, night.id, NOW)


@pytest.mark.parametrize("is_tried", [True, False])
def test_a_message_that_was_in_hand_while_the_clock_was_ahead_is_due_soon_when_it_is_right(is_tried, home, make_log):
    # Given a message that was begun, and perhaps failed, by a clock of next month
    take_in(home, make_log("a.pdklog", record("t1", "F")))
    with database.writing(home) as db:
        contacts.replace(db, "calib,,ann@example.org\n", "")
    with database.writing(home) as db:
        notice = outbox.Notice("daily", "ann@example.org", "smtp", "subject", "text", "", 1, [])
        outbox.put(db, home, notice, None, now=NOW)
        (lease,) = outbox.leases.lease(db, home, now=AHEAD)
        if is_tried:
            outbox.leases.record(db, home, lease, outbox.Outcome(outbox.Result.FAILED, "451"), now=AHEAD)
    # When somebody looks for what is due, now and in the longest time that a message ever waits
    with database.writing(home) as db:
        assert outbox.leases.lease(db, home, now=NOW) == []
        waited = NOW + outbox.leases.SPREAD * outbox.leases.LONGEST_PAUSE_SECONDS
        assert [found.id for found in outbox.leases.lease(db, home, now=waited)] == [lease.id]


def test_a_clock_that_jumps_back_does_not_stop_what_is_due(home, night):
    assert nightly.next_step(home, night.id, NOW)
    assert nightly.next_step(home, night.id, NOW - 3600)
    assert rows(home, "SELECT attempts FROM step WHERE position = 0") == [(2,)]
