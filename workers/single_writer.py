"""The worker on the queue `writer` is the only one, and takes up what a killed one before it left undone.

Redis knows no unacknowledged messages; kombu keeps them in a hash of its own. The writer has that hash to itself, so
whatever is in it when a writer starts is the work of one that died, and can go back into the queue at once.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, NoReturn

from celery import bootsteps
from celery.signals import celeryd_init, worker_process_init

from pdk_pipeline import database, writer_lock
from pdk_pipeline.config import settings
from workers import broker, door, message
from workers.app import DAY_SECONDS, app
from workers.queues import DEFAULT, FIRST, INTAKE, WRITER, WRITER_UNACKED

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

log = logging.getLogger(__name__)

# With a day of visibility no running import is ever taken for lost; a dead writer's are restored at the next start.
WRITER_TRANSPORT_OPTIONS = {
    "unacked_key": WRITER_UNACKED,
    "unacked_index_key": f"unacked_index:{WRITER}",
    "unacked_mutex_key": f"unacked_mutex:{WRITER}",
    "visibility_timeout": DAY_SECONDS,
}

_for_life = contextlib.ExitStack()
"""What this process holds until it ends: the writer's lock, an open connection."""


@celeryd_init.connect
def prepare_worker(conf: Any, options: dict[str, Any], **_: object) -> None:
    """Refuse a worker that would do harm; make the one on `writer` the only one."""
    queues = _named_queues(options)
    if not queues:
        _refuse(f"say which queue this worker is for: -Q {WRITER}, -Q {DEFAULT} or -Q {INTAKE}")
    if broker.address(settings()) is None:
        _refuse("no broker is configured: set PDK_BROKER_URL, or run `pdk up`")
    door.close()
    if INTAKE in queues:
        if len(queues) > 1:
            _refuse(f"the worker on {INTAKE} has no other queue: test machines may send to it")
        _know_only_what_is_received()
    if WRITER not in queues:
        return
    if len(queues) > 1 or int(options.get("concurrency") or 1) != 1:
        _refuse(f"the worker on {WRITER} has no other queue and one process: -Q {WRITER} -c 1")
    conf.worker_concurrency = 1
    conf.broker_transport_options = conf.broker_transport_options | WRITER_TRANSPORT_OPTIONS
    # Held by the pool's process too, so that a new writer waits for one that outlives its killed parent.
    lock = writer_lock.held(settings(), "the writer worker", wait_seconds=float("inf"), on_wait=_say_waiting)
    _for_life.enter_context(lock)


def _know_only_what_is_received() -> None:
    """Whoever may put messages into the queue `intake` can name any task: here there is but one."""
    app.finalize()
    for name in list(app.tasks):
        if name != message.TASK:
            app.tasks.pop(name)


def _refuse(why: str) -> NoReturn:
    # Celery only logs what goes wrong in here; this it lets through.
    raise SystemExit(f"pdk: {why}")


def _named_queues(options: dict[str, Any]) -> set[str]:
    queues = options.get("queues") or ()
    return set(queues.split(",") if isinstance(queues, str) else queues)


def _say_waiting(holder: str) -> None:
    """Say why nothing happens yet; Celery's log is not set up so early."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    log.warning("waiting for the database: %s writes it", holder)


@worker_process_init.connect
def keep_database_open(**_: object) -> None:
    """Open the database once in the life of the writer's process: each time costs as much as a hundred results."""
    if "unacked_key" not in app.conf.broker_transport_options:  # not the writer
        return
    _for_life.enter_context(database.kept_open())


class RestoreUnacknowledged(bootsteps.StartStopStep):  # type: ignore[misc]
    """Put back into the queue, in front, what a writer that died had taken out and not finished.

    A message that it was just taking out is in nobody's hands any more; what it was about is found by `take_up`.
    """

    requires = ("celery.worker.consumer.connection:Connection",)
    _is_done = False

    def start(self, parent: Consumer) -> None:
        """Once in the life of the process: after a mere reconnection its tasks are still under way."""
        if RestoreUnacknowledged._is_done or WRITER not in parent.app.amqp.queues.consume_from:
            return
        with parent.app.connection_for_write() as connection:
            restored = restore_unacknowledged(connection.default_channel)
        parent.app.send_task("take_up", priority=FIRST)
        RestoreUnacknowledged._is_done = True
        if restored:
            log.warning("%d tasks that a killed writer left unfinished are taken up again", restored)


def restore_unacknowledged(channel: Any) -> int:
    """Put every unacknowledged message of the channel's own hash back into its queue. Returns how many there were."""
    with channel.conn_or_acquire() as client:
        tags = client.hkeys(channel.unacked_key)
    for tag in tags:
        channel.qos.restore_by_tag(tag.decode())
    return len(tags)


app.steps["consumer"].add(RestoreUnacknowledged)
