"""Expected and missing tests: learning and checking a million of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import expected
from benchmarks.measuring import Measured, Workplace

if TYPE_CHECKING:
    from collections.abc import Iterator

_TARGETS = {"gen_expected, all of it new": 5, "check_expected": 5}


def million(place: Workplace, tests: int = 1_000_000) -> Iterator[Measured]:
    """What `benchmarks.expected` measures, the median of a few runs."""
    runs = []
    for _ in range(min(place.repeats, 3)):
        runs.append(expected.measure(place.fresh_home().home, tests=tests))
        place.tidy()
    for what in list(runs[0])[1:]:  # the first is to make them
        seconds = [run[what] for run in runs]
        yield Measured(f"{what} ({tests:,} expected tests)", seconds, "s", at_most=_TARGETS.get(what))
