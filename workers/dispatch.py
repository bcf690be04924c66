"""From a command to its task, the one way for all: through the broker if there is one, else in this process."""

from __future__ import annotations

import importlib
import sqlite3
from typing import TYPE_CHECKING, Any

from pdk_pipeline import database, writer_lock
from pdk_pipeline.errors import BrokerUnavailable, PdkError, TaskFailed, in_words
from workers import broker
from workers.call import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pdk_pipeline.config import Settings

__all__ = ["Call", "run", "send"]


def broker_for(settings: Settings, *, local: bool) -> str | None:
    """The broker that calls go through; None: they are done in this process."""
    return None if local else broker.address(settings)


def run(
    settings: Settings,
    calls: Sequence[Call],
    *,
    local: bool,
    on_progress: Callable[[int, int, int], None],
    on_note: Callable[[str], None],
) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
    """Have every call done. Yields its index and its outcome, or the error that ended it, as they finish.

    `on_progress` is told the index, and how much is done of how much. `on_note` is told what a person who waits
    should know. Raises BrokerUnavailable, WriterBusy.
    """
    if not calls:
        return
    url = broker_for(settings, local=local)
    if url is None:
        yield from _in_this_process(settings, calls, on_progress, on_note)
    else:
        from workers import sending  # noqa: PLC0415  (all of Celery and redis, for those who need it)

        sending.send(url, calls)
        yield from sending.Waiting(url, calls, on_progress, on_note).outcomes()


def send(settings: Settings, calls: Sequence[Call]) -> list[str]:
    """Hand the calls over and do not wait. Returns the tasks' ids. Raises BrokerUnavailable."""
    url = broker.address(settings)
    if url is None:
        raise BrokerUnavailable(
            "there is none", advice="`pdk up` starts one, PDK_BROKER_URL names yours; --local needs none."
        )
    from workers import sending  # noqa: PLC0415  (as above)

    sending.send(url, calls)
    return [call.id for call in calls]


# In this process ---------------------------------------------------------------------------------------------


def _in_this_process(
    settings: Settings,
    calls: Sequence[Call],
    on_progress: Callable[[int, int, int], None],
    on_note: Callable[[str], None],
) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
    def on_wait(holder: str) -> None:
        on_note(f"waiting for the database: {holder} writes it")

    wait_seconds = settings.writer_wait_seconds
    with (
        writer_lock.held(settings, "a pdk command", wait_seconds=wait_seconds, on_wait=on_wait),
        database.kept_open(),
    ):
        for index, call in enumerate(calls):
            task = _task(call.task)
            task.listener = lambda done, total, index=index: on_progress(index, done, total)
            try:
                yield index, task(*call.args)
            except PdkError as error:
                yield index, error
            except (OSError, sqlite3.Error) as error:  # of this one; the others may be well
                yield index, TaskFailed(in_words(error))
            finally:
                task.listener = None


def _task(name: str) -> Any:
    """The task of that name; no more modules are loaded than it takes to find it."""
    from workers.app import app  # noqa: PLC0415  (as above)

    for module in app.conf.include:
        if name in app.tasks:
            break
        importlib.import_module(module)
    return app.tasks[name]
