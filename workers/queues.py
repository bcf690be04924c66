"""The queues, and what goes first in them."""

from __future__ import annotations

from typing import Final

from kombu.entity import Queue

WRITER: Final = "writer"
"""Everything that writes the database; one worker consumes it, one task at a time."""

DEFAULT: Final = "default"
"""Everything that waits for a network or reads a lot."""

INTAKE: Final = "intake"
"""What test machines may send to; its worker knows one task, whatever a message asks for."""

WRITER_UNACKED: Final = f"unacked:{WRITER}"
"""Where the broker keeps what the writer has taken and not finished; nobody else's is there."""

# A queue that is given no routing key shares that of the default queue, and what is sent to one reaches both.
QUEUES = tuple(Queue(name, routing_key=name) for name in (WRITER, DEFAULT, INTAKE))  # type: ignore[no-untyped-call]

PRIORITY_STEPS = tuple(range(10))

# 0 goes first. Somebody waits for what was asked for on the command line; cleaning can wait for everybody.
FIRST: Final = 0
ON_DEMAND: Final = 2
ROUTINE: Final = 5
CLEANING: Final = 9

_ELSEWHERE = {"receive_log": INTAKE, "sweep": DEFAULT, "deliver": DEFAULT, "backup": DEFAULT, "night_reading": DEFAULT}


def queue_of(task: str) -> str:
    """The queue of a task. Most write the database; what Celery does for itself does not."""
    return DEFAULT if task.startswith("celery.") else _ELSEWHERE.get(task, WRITER)


def route(name: str, *_: object, **__: object) -> dict[str, str]:
    """What Celery asks when a task is sent."""
    return {"queue": queue_of(name)}
