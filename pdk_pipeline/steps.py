"""Long work in short steps, each in a transaction of its own: whoever waits for the writer gets a turn in between."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

STEP_SECONDS = 0.12
"""A step begins nothing more after so long. With what is under way then and the commit it takes twice that."""

Place = dict[str, Any] | None
"""Where the next step goes on, for a task's argument; None is the beginning, and in an outcome the end."""


class Time:
    """The time of one step. Every step does something before it asks, so that it gets on however slow the machine."""

    def __init__(self, seconds: float = STEP_SECONDS) -> None:
        self._over_at = time.monotonic() + seconds

    @property
    def is_left(self) -> bool:
        """Whether something more may be begun."""
        return time.monotonic() < self._over_at


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
