"""When nights start: clocks, calendars, and the days on which the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from pdk_pipeline.timetable import Timetable
from pdk_pipeline.values import Refused, tables

BERLIN = ZoneInfo("Europe/Berlin")


def moment(text: str, zone=BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def test_a_night_is_due_from_its_hour_until_that_of_the_next():
    nightly = Timetable(at=time(6, 0))
    assert nightly.last_due("daily", moment("2026-11-24 05:59:59"), BERLIN).run_name == "daily_2026-11-23"
    due = nightly.last_due("daily", moment("2026-11-24 06:00:00"), BERLIN)
    assert due == ("daily", "daily_2026-11-24", moment("2026-11-24 06:00"), moment("2026-11-24 06:00"))


@pytest.mark.parametrize("hour", [time(2, 30), time(2, 0), time(3, 0), time(0, 0), time(23, 59)])
def test_every_day_of_a_year_has_one_night_whatever_the_clocks_do(hour):
    # Given the nights that are due at every quarter of an hour of a year with both changes of the clocks
    nightly = Timetable(at=hour)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    seen: dict[str, float] = {}
    while now.year == 2026:
        due = nightly.last_due("daily", now.timestamp(), BERLIN)
        # Then a run has one moment at which it is due,
        assert seen.setdefault(due.run_name, due.at) == due.at
        now += timedelta(minutes=15)
    # and there is one for every day
    days = [date(2026, 1, 1) + timedelta(days=number) for number in range(364)]
    assert set(seen) >= {f"daily_{day}" for day in days}


def test_an_hour_that_is_left_out_is_taken_as_the_one_after_it():
    due = Timetable(at=time(2, 30)).last_due("daily", moment("2026-03-29 04:00"), BERLIN)
    assert datetime.fromtimestamp(due.at, BERLIN) == datetime(2026, 3, 29, 3, 30, tzinfo=BERLIN)


def test_of_an_hour_that_comes_twice_the_first_counts():
    due = Timetable(at=time(2, 30)).last_due("daily", moment("2026-10-25 04:00"), BERLIN)
    assert datetime.fromtimestamp(due.at, UTC) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_weekly_and_a_monthly_class_have_days_of_their_own():
    weekly = Timetable(at=time(8, 0), days=["sun"]).last_due("weekly", moment("2026-11-24 12:00"), BERLIN)
    assert weekly.run_name == "weekly_2026-11-22"
    monthly = Timetable(at=time(8, 0), days=[31]).last_due("monthly", moment("2026-11-24 12:00"), BERLIN)
    assert monthly.run_name == "monthly_2026-10-31"


def test_runs_that_begin_before_midnight_have_yesterdays_name():
    due = Timetable(run="{class}_{yesterday}").last_due("daily", moment("2026-11-24 12:00"), BERLIN)
    assert due.run_name == "daily_2026-11-23"


def test_a_deadline_before_the_hour_is_on_the_next_day():
    night = Timetable(at=time(22, 0), hosts=["thor"], deadline=time(7, 0))
    due = night.last_due("daily", moment("2026-11-24 23:00"), BERLIN)
    assert (due.at, due.deadline) == (moment("2026-11-24 22:00"), moment("2026-11-25 07:00"))


@pytest.mark.parametrize(
    "wrong", [{"run": "{class}"}, {"run": "x_{day}"}, {"days": ["sunday"]}, {"days": [32]}, {"att": 1}]
)
def test_a_timetable_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(Refused):
        tables(Timetable).take({"daily": wrong})
