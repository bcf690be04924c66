"""The server's side of `pdk submit`: logs from the broker to incoming/, and the sweep that finds what was forgotten.

The worker of the queue `intake` knows `receive_log` alone. Whoever may send to it can forge any message, but none
that does more than this task does.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

from pdk_pipeline import database, ledger, spool
from pdk_pipeline.config import settings
from pdk_pipeline.errors import NoDatabase, NotALog, NotReceived
from workers import broker, health
from workers.app import Reporting, app
from workers.submission import KEPT_SECONDS, KEY, TASK, Label
from workers.tasks import AGAIN_LATER, import_claimed

FORGOTTEN_SECONDS = 60
"""A log that has lain in the broker for so long has lost its task."""

LABEL_BYTES = 2048


class Sealed(Reporting):
    """A task that does what it does and nothing more: a message cannot have others follow it."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it without whatever the message wants to happen afterwards."""
        request = self.request
        request.callbacks = request.errbacks = request.chain = request.chord = request.group = None
        return self.run(*args, **kwargs)


@app.task(**AGAIN_LATER, name=TASK, base=Sealed)
def receive_log(key: str) -> dict[str, Any]:
    """Take a log out of the broker: whole on the disk first, then out of there."""
    if not KEY.fullmatch(str(key)):
        raise NotALog("this is no place of a log in the broker")
    with health.client(broker.address(settings()) or "", decode=False) as redis:
        value = redis.get(key)
        if value is None:
            return _received_before(key)
        label = Label.of(value[:LABEL_BYTES])
        content = value.partition(b"\n")[2]
        if f"blob:{hashlib.sha256(content).hexdigest()}" != key:
            redis.delete(key)
            raise NotALog(f"{label.name} was damaged on the way", advice="Submit it again.")
        known = None if label.again else _imported_at(key)
        if known is None:
            spool.receive(settings(), label.name, content)
        redis.delete(key)
    return {"file": label.name, "sender": label.sender, "size": len(content), "imported_at": known}


def _received_before(key: str) -> dict[str, Any]:
    """What to say of a log that is no longer in the broker: this task has come twice, or the sweep was quicker."""
    digest = key.removeprefix("blob:")
    imported_at = _imported_at(key)
    if imported_at is None and not spool.holds(settings(), f"*.{digest[:12]}*"):
        raise NotReceived("the broker does not have it any more", advice="Submit it again.")
    return {"file": f"….{digest[:12]}", "imported_at": imported_at}


def _imported_at(key: str) -> float | None:
    """When a log with this checksum was imported, if it was."""
    with contextlib.suppress(NoDatabase), database.reading(settings()) as db:
        return ledger.imported_at(db, key.removeprefix("blob:"))
    return None


@app.task(name="sweep")
def sweep() -> dict[str, Any]:
    """Have the settled logs in incoming/ imported, and take what lies in the broker forgotten by its task."""
    collected = spool.collect(settings())
    for claim, name in collected.claims:
        import_claimed.apply_async((claim,), argsrepr=f"({name!r})")
    return {
        "logs": len(collected.claims),
        "growing": collected.growing,
        "left": collected.left,
        "forgotten": _send_forgotten(),
    }


def _send_forgotten() -> int:
    forgotten = 0
    with health.client(broker.address(settings()) or "", decode=False) as redis:
        for key in redis.scan_iter("blob:*", count=1000):
            if redis.ttl(key) > KEPT_SECONDS - FORGOTTEN_SECONDS:
                continue
            # The same id as the lost one: whoever still waits for that is told.
            with contextlib.suppress(NotALog):
                label = Label.of(redis.getrange(key, 0, LABEL_BYTES))
                receive_log.apply_async((key.decode(),), task_id=label.task, argsrepr=f"({label.name!r})")
                forgotten += 1
    return forgotten
