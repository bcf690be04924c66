"""When a class of nights starts: the settings under `[nights.NAME]`, and the arithmetic of clocks and calendars."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from pdk_pipeline.values import CLOCK, FLAG, TEXT, Kind, optional, setting, several, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

LOOK_BACK_DAYS = 62
"""A night may be as rare as the 31st of a month."""

USUAL_PATIENCE = timedelta(hours=3)
"""So long a night waits for its hosts when no deadline is set."""


class Due(NamedTuple):
    """One night that should have started."""

    class_name: str
    run_name: str
    at: float
    """When it may start; seconds since 1970, UTC."""
    deadline: float
    """When it starts although hosts have not reported; the same as `at` when it waits for none."""


def _fillable(pattern: Any) -> str:
    text: str = TEXT.take(pattern)
    try:
        one, other = (text.format_map({"class": "c", "date": day, "yesterday": day}) for day in "12")
    except (KeyError, ValueError, IndexError):
        raise ValueError("it may hold {class}, {date} and {yesterday}") from None
    if one == other:
        raise ValueError("it needs {date} or {yesterday}, or every night would be the same run")
    return text


_DAY_OF_MONTH = whole(1, 31)


def _day(value: Any) -> str | int:
    if isinstance(value, str) and value in WEEKDAYS:
        return value
    try:
        day: int = _DAY_OF_MONTH.take(value)
    except ValueError:
        raise ValueError(f"a day is one of {', '.join(WEEKDAYS)}, or one of the month from 1 to 31") from None
    return day


@attrs.frozen(kw_only=True)
class Timetable:
    """When the nights of one class start, and what they are about."""

    at: time = setting(CLOCK, time(6, 0), "when it starts, in the site's time zone")
    days: list[str | int] = setting(
        several(Kind(_day)), [], "only on these days of the week, or of the month; empty is every day"
    )
    run: str = setting(
        Kind(_fillable), "{class}_{date}", "name of its run; {yesterday} is for runs that begin before midnight"
    )
    expected: str | None = setting(optional(TEXT), None, "class of expected tests; by default the class of the night")
    notify: bool = setting(FLAG, default=True, meaning="tell people about it")
    hosts: list[str] = setting(several(TEXT), [], "start as soon as all of these have reported, from `at` on …")
    deadline: time | None = setting(
        optional(CLOCK), None, "… or at this time (usual: 3 hours later), without those that have not"
    )

    def last_due(self, class_name: str, now: float, zone: tzinfo | None) -> Due | None:
        """The latest night of this class whose time has come. `now`: seconds since 1970; `zone`: None is the machine's.

        Each day has one: an hour that a daylight-saving change leaves out is taken as the one after it, and of an hour
        that comes twice the first counts.
        """
        today = datetime.fromtimestamp(now, tz=zone).date()
        for day in self._days_back_from(today):
            at = _moment(day, self.at, zone)
            if at <= now:
                names = {"class": class_name, "date": day, "yesterday": day - timedelta(days=1)}
                return Due(class_name, self.run.format_map(names), at, self._deadline(day, at, zone))
        return None

    def _days_back_from(self, today: date) -> Iterator[date]:
        for back in range(LOOK_BACK_DAYS):
            day = today - timedelta(days=back)
            if not self.days or WEEKDAYS[day.weekday()] in self.days or day.day in self.days:
                yield day

    def _deadline(self, day: date, at: float, zone: tzinfo | None) -> float:
        if not self.hosts:
            return at
        if self.deadline is None:
            return at + USUAL_PATIENCE.total_seconds()
        after_midnight = self.deadline <= self.at
        return _moment(day + timedelta(days=after_midnight), self.deadline, zone)


def _moment(day: date, at: time, zone: tzinfo | None) -> float:
    return datetime.combine(day, at, tzinfo=zone).timestamp()
