"""The Celery app, made from the settings and the beat schedule. No task is defined here (see `tasks`)."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any, cast

from celery import Celery, Task
from celery.platforms import SecurityWarning
from celery.signals import after_setup_logger

import beat_schedule
from pdk_pipeline.config import settings
from pdk_pipeline.errors import TaskFailed
from pdk_pipeline.formats.text import in_one_line
from workers import broker, connection
from workers.queues import DEFAULT, PRIORITY_STEPS, QUEUES, ROUTINE, route

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400
PROGRESS_EVERY_SECONDS = 0.25

MOST_BEGINNINGS = 5
"""A task that was begun so often and killed each time is not begun once more."""

UNTOLD = {"delivery", "sha256", "messages", "format", "claims", "sender"}
"""Facts of an outcome that the log does without; the ledger has them."""

TASK_MODULES = ("importing", "tasks", "purging", "telling", "receiving", "nightly", "single_writer")
"""Where tasks are, and what makes a worker the single writer; those first that load quickly."""

TRANSPORT_OPTIONS = {
    "queue_order_strategy": "priority",
    "priority_steps": list(PRIORITY_STEPS),
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}


class Reporting(Task):  # type: ignore[misc]
    """A task that can say how far it is."""

    abstract = True
    listener: Callable[[int, int], None] | None = None
    """Who wants to know when the task runs in the caller's own process."""
    takes_several = False
    """Whether its first argument is a list of logs, and its outcome holds the outcome of each."""
    resultrepr_maxsize = 300  # what Flower shows
    _told_at = 0.0

    def progress(self, done: int, total: int) -> None:
        """Tell whoever waits for this task, now and then; Flower shows it too."""
        if self.request.called_directly:
            if self.listener:
                self.listener(done, total)
        elif time.monotonic() - self._told_at >= PROGRESS_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self.update_state(state="PROGRESS", meta={"done": done, "total": total})

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """Refuse what has ended the process that did it again and again: it would never be done. Raises TaskFailed."""
        self._told_at = time.monotonic()  # whoever is done in a moment has no progress to tell
        if not (self.request.delivery_info or {}).get("redelivered"):
            return
        from redis.exceptions import RedisError  # noqa: PLC0415  (commands that do without a broker do not load it)

        key = f"begun-again:{task_id}"
        with contextlib.suppress(RedisError), self.backend.client.pipeline() as redis:
            begun, _ = redis.incr(key).expire(key, DAY_SECONDS).execute()
            # Of several logs each may be the one, until it is put into the quarantine.
            if begun >= MOST_BEGINNINGS * (len(args[0]) if self.takes_several else 1):
                raise TaskFailed(
                    f"each of {begun} processes that did it was killed",
                    advice="Is there enough memory? The log of the worker tells more.",
                )

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:  # noqa: ARG002
        """One line in the log for all that was done, with what happened to what."""
        for outcome in retval["logs"] if self.takes_several else [retval]:
            log.info("%s[%s] %s", self.name, task_id, _in_words(outcome))


def _in_words(outcome: Any) -> str:
    """The short facts of a task's outcome; what is nought or empty says nothing."""
    if not isinstance(outcome, dict):
        return str(outcome)
    facts = {
        name: ",".join(map(in_one_line, map(str, value[:3]))) if isinstance(value, list) else in_one_line(str(value))
        for name, value in outcome.items()
        if value and name not in UNTOLD and not isinstance(value, dict)
    }
    return " ".join(f"{name}={value}" for name, value in facts.items())


def _configuration() -> dict[str, Any]:
    current = settings()
    url = broker.address(current)
    secured = connection.tls(current)
    return {
        "broker_url": url,
        "broker_use_ssl": secured,
        "result_backend": url,
        "redis_backend_use_ssl": secured,
        "result_expires": DAY_SECONDS,
        "timezone": current.timezone or _machine_zone(),
        "beat_schedule": beat_schedule.schedule(current),
        "worker_log_format": "%(asctime)s %(levelname)s %(message)s",
        "worker_task_log_format": "%(asctime)s %(levelname)s %(task_name)s %(task_id)s %(message)s",
    }


def _machine_zone() -> str:
    import tzlocal  # noqa: PLC0415  (comes with celery; only wanted where the settings name no zone)

    return str(tzlocal.get_localzone_name())


@after_setup_logger.connect
def quieten(**_: object) -> None:
    """Celery's own lines on each task repeat its whole outcome; `Reporting` says it shorter. Failures stay."""
    for name in ("celery.app.trace", "celery.worker.strategy"):
        logging.getLogger(name).setLevel(logging.WARNING)


# Root is warned off for what pickle could do; here messages are JSON and nothing else.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("pdk", include=[f"workers.{name}" for name in TASK_MODULES], task_cls=Reporting)
app.conf.update(
    # Nothing but JSON, and no queue that is not listed.
    accept_content=["json"],
    task_serializer="json",
    result_serializer="json",
    task_queues=QUEUES,
    task_routes=(route,),
    task_default_queue=DEFAULT,
    task_default_exchange=DEFAULT,
    task_default_routing_key=DEFAULT,
    task_create_missing_queues=False,
    task_default_priority=ROUTINE,
    # A task is done when it is done, whoever is killed meanwhile; so every task may come twice.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # What Flower shows.
    task_track_started=True,
    worker_send_task_events=True,
    task_send_sent_event=True,
    # Redis goes away and comes back: wait for it, send everything and write every result in the end.
    task_publish_retry_policy={"max_retries": 60, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 1.0},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_transport_options=TRANSPORT_OPTIONS,
    result_backend_always_retry=True,
    result_backend_max_retries=60,
    result_backend_base_sleep_between_retries_ms=200,
    result_backend_max_sleep_between_retries_ms=2000,
    worker_redirect_stdouts=False,
)
# Asked when the configuration is first needed, not when this module is imported.
app.add_defaults(cast("Any", _configuration))
