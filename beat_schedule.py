"""When the periodic tasks start: data only. Tasks are named by string; a test asserts that each is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.schedules import crontab

if TYPE_CHECKING:
    from pdk_pipeline.config import Settings

MINUTE = 60.0

SCHEDULE: dict[str, dict[str, Any]] = {
    # Logs are taken in as they arrive, so that the night itself is short.
    "sweep": {"task": "sweep", "schedule": 3 * MINUTE},
    # Starts what a clock below missed, and goes on with what was lost.
    "tick": {"task": "tick", "schedule": 2 * MINUTE},
    # Delivers what is due again, and what a killed worker had in hand.
    "sweep_outbox": {"task": "sweep_outbox", "schedule": MINUTE},
}


def schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """The periodic tasks, and a clock for each class of nights; what is due the tick itself reads from the ledger."""
    clocks = {
        f"night {name}": {"task": "tick", "schedule": crontab(hour=str(night.at.hour), minute=str(night.at.minute))}
        for name, night in settings.nights.items()
    }
    return SCHEDULE | clocks
