"""What the workers say of themselves when they are asked."""

from __future__ import annotations

from workers.app import app


def consumed_queues(timeout_seconds: float = 1.0) -> dict[str, list[str]]:
    """The queues from which workers take, and the names of those workers."""
    answers = app.control.inspect(timeout=timeout_seconds).active_queues() or {}
    consumed: dict[str, list[str]] = {}
    for worker, queues in sorted(answers.items()):
        for queue in queues:
            consumed.setdefault(queue["name"], []).append(worker)
    return consumed


def is_in_hand(task: str, timeout_seconds: float = 1.0) -> bool:
    """Whether a worker has a task of that id in hand."""
    answers = app.control.inspect(timeout=timeout_seconds).query_task(task) or {}
    return any(found for found in answers.values())
