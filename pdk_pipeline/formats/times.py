"""Times as logs write them."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import tzinfo

_PLAIN = re.compile(r"[0-9.\n]*")
_CTIME = re.compile(r"(?:\w{3} )?(\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})")
# fmt: off
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6,
    "Jul": 7, "Aug": 8, "Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12,
}
# fmt: on
_LATEST = 253402300800.0  # the year 10000: beyond it no calendar follows


def parse_time(text: str, zone: tzinfo | None) -> float | None:
    """Seconds since 1970, UTC, of a `start_time` or `end_time`; None when it cannot be read.

    `zone` is that of a time which names none; None is the machine's own.
    Source: the PDK log format, fields `start_time`, `end_time`.
    """
    whole, _, part = text.partition(".")
    if whole.removeprefix("-").isdecimal() and (part.isdecimal() or not part):
        seconds = float(text)
        return seconds if -_LATEST < seconds < _LATEST else None
    return _parse_date(text, zone)


def parse_times(texts: Sequence[str], zone: tzinfo | None) -> list[float | None]:
    """`parse_time` of each; of an empty text None."""
    if not any(texts):
        return [None] * len(texts)
    together = "\n".join(texts)
    if _PLAIN.fullmatch(together) and not together.startswith(".") and "\n." not in together:
        with contextlib.suppress(ValueError):  # an empty one, or a second dot
            seconds = list(map(float, texts))
            if max(seconds) < _LATEST:
                return [*seconds]
    return [parse_time(text, zone) if text else None for text in texts]


@lru_cache(maxsize=4096)
def _parse_date(text: str, zone: tzinfo | None) -> float | None:
    text = text.strip()
    try:
        when = (_ctime(text) if text[:1].isalpha() else None) or datetime.fromisoformat(text)
        # A naive datetime's timestamp() takes the machine's own zone.
        return (when if when.tzinfo or zone is None else when.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _ctime(text: str) -> datetime | None:
    # Not strptime: it is slow, and its month names follow the locale.
    match = _CTIME.fullmatch(text)
    if not match or match[1] not in _MONTHS:
        return None
    return datetime(int(match[6]), _MONTHS[match[1]], *(int(match[part]) for part in range(2, 6)))  # type: ignore[arg-type]  # noqa: DTZ001
