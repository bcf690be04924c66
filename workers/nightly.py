"""The night as Celery tasks: who starts it, who does its next step, and the tick that heals what was lost.

The steps are driven from the ledger in the database, each handing over to the next, rather than from one long chain:
on a queue with one worker a chain gains nothing, and what is in the ledger survives whatever becomes of the broker.
"""

from __future__ import annotations

import time
from typing import Any

from pdk_pipeline import database, nightly, nights
from pdk_pipeline.config import settings
from pdk_pipeline.errors import DatabaseTooOld, NoDatabase
from pdk_pipeline.night_steps import STEPS, Again
from workers.app import Reporting, app
from workers.importing import hand_over
from workers.queues import CLEANING, ROUTINE
from workers.tasks import AGAIN_LATER
from workers.telling import sweep_outbox


@app.task(**AGAIN_LATER, name="nightly", bind=True)
def start_night(
    self: Reporting, class_name: str, run_name: str | None = None, reason: str = "on demand", again: bool = False
) -> dict[str, Any]:
    """Start the night of a class, or join it, and have its next step done."""
    night, is_new = nightly.start(settings(), class_name, run_name, reason=reason, again=again, now=time.time())
    if self.request.called_directly:
        nightly.run_here(settings(), night.id, progress=self.progress)
    else:
        advance(night.id)
    return {"night": night.id, "class": night.class_name, "run": night.run_name, "is_new": is_new}


def advance(night_id: int) -> bool:
    """Hand out the next step that is due, if there is one."""
    step = nightly.next_step(settings(), night_id, time.time())
    if step is None:
        return False
    task = night_reading if STEPS[step.name].only_reads else night_step
    _send(task, (night_id, step.id, step.token or ""), step.name)
    return True


def _send(task: Any, args: tuple[Any, ...], name: str, *, pause: float = 0, priority: int = ROUTINE) -> None:
    task.apply_async(args, countdown=pause or None, argsrepr=f"({name!r}, night {args[0]})", priority=priority)


@app.task(**AGAIN_LATER, name="night_step")
def night_step(night_id: int, step_id: int, token: str) -> dict[str, Any]:
    """Do one step of a night, or go on with it, and hand over to the next."""
    return _go_on(night_id, step_id, token, nightly.perform(settings(), night_id, step_id, token, time.time()))


@app.task(**AGAIN_LATER, name="night_reading")
def night_reading(night_id: int, step_id: int, token: str) -> dict[str, Any]:
    """Do a step that only reads, where it keeps nobody from writing, and have it recorded how that went."""
    result = nightly.as_json(nightly.perform_reading(settings(), night_id, step_id, time.time()))
    _send(night_record, (night_id, step_id, token, result), "record")
    return result


@app.task(**AGAIN_LATER, name="night_record")
def night_record(night_id: int, step_id: int, token: str, result: dict[str, Any]) -> dict[str, Any]:
    """Record how a step went that was done elsewhere, and hand over to the next."""
    again = nightly.record(settings(), night_id, step_id, token, nightly.from_json(result), time.time())
    return _go_on(night_id, step_id, token, again)


def _go_on(night_id: int, step_id: int, token: str, again: Again | None) -> dict[str, Any]:
    with database.reading(settings()) as db:
        night, step = nights.by_id(db, night_id), nights.step(db, step_id)
    if again is None:
        if not advance(night_id):
            sweep_outbox.apply_async()  # what the night put there goes out at once
        told = {name: value for name, value in (step.outcome or {}).items() if value}
        return {"run": night.run_name, "step": step.name, "state": step.state, "error": step.error} | told
    hand_over(again.logs, priority=ROUTINE)
    if step.token == token:
        # Behind the imports in the same queue: they are done when it comes.
        priority = CLEANING if again.can_wait else ROUTINE
        _send(night_step, (night_id, step_id, token), step.name, pause=again.pause, priority=priority)
    return {"run": night.run_name, "step": step.name, "state": step.state, "logs": len(again.logs)}


@app.task(**AGAIN_LATER, name="tick")
def tick() -> dict[str, Any]:
    """Start the nights whose time has come, and go on with those whose messages were lost."""
    now = time.time()
    started = []
    for class_name, run_name, reason in nightly.due(settings(), now):
        start_night.apply_async((class_name, run_name, reason), argsrepr=f"({class_name!r}, {run_name!r})")
        started.append(run_name)
    late = nightly.tell_late(settings(), now)
    return {"started": started, "advanced": _under_way(), "told_late": late}


@app.task(**AGAIN_LATER, name="take_up")
def take_up() -> dict[str, Any]:
    """Go on with what the writer before this one had in hand when it ended, whatever became of its messages.

    Each writer begins with it. What is in the queue all the same changes nothing when its turn comes.
    """
    nightly.release(settings())
    # The first tick may come with the first night, or after it.
    nightly.know_classes(settings(), time.time())
    return {"advanced": _under_way()}


def _under_way() -> list[str]:
    try:
        with database.reading(settings()) as db:
            nights_under_way = nights.under_way(db)
    except (NoDatabase, DatabaseTooOld):
        return []
    return [night.run_name for night in nights_under_way if advance(night.id)]
