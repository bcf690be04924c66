"""A task that somebody wants done, by name: quick to load, for commands that may never need more of Celery."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workers.queues import ON_DEMAND, queue_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def label(names: Sequence[str]) -> str:
    """What people know several things by that are one task's."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


@dataclass(frozen=True)
class Call:
    """A task to be done."""

    task: str
    args: tuple[Any, ...]
    label: str
    """What the person knows it by, and Flower shows: a file's name, a run's."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    priority: int = ON_DEMAND

    @property
    def queue(self) -> str:
        """Where it waits to be done."""
        return queue_of(self.task)
