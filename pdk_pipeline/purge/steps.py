"""Long work in short steps, each in a transaction of its own: whoever waits for the writer gets a turn in between."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

STEP_SECONDS = 0.12
"""A step begins nothing more after so long. With what is under way then and the commit it takes twice that …"""

LONGEST_SECONDS = 0.3
"""… or if that is more than this, because the disk is slow, the next step gets less time in proportion."""

SHORTEST_SECONDS = 0.01

Place = dict[str, Any] | None
"""Where the next step goes on, for a task's argument; None is the beginning, and in an outcome the end."""


class Time:
    """The time of one step. Every step does something before it asks, so that it gets on however slow the machine."""

    def __init__(self, place: Place = None) -> None:
        self._seconds = place.get("seconds", STEP_SECONDS) if place else STEP_SECONDS
        self._began = time.monotonic()

    @property
    def is_left(self) -> bool:
        """Whether something more may be begun."""
        return time.monotonic() < self._began + self._seconds

    def for_next(self) -> float:
        """The seconds for the next step, to be asked when all of this one is done, its commit included."""
        taken = time.monotonic() - self._began
        return min(STEP_SECONDS, max(SHORTEST_SECONDS, self._seconds * LONGEST_SECONDS / taken))


@dataclass
class Step:
    """What one step did."""

    removed: Counter[str] = field(default_factory=Counter)
    """How many of what."""
    runs: list[str] = field(default_factory=list)
    """Names of the runs that are deleted now."""
    next: Place = None
    """Where to go on; None: there is nothing more to do."""
    notes: list[str] = field(default_factory=list)
    """What a person should know."""

    def as_json(self) -> dict[str, Any]:
        """For a task's result."""
        return {"removed": dict(+self.removed), "runs": self.runs, "next": self.next, "notes": self.notes}
