"""Tasks that say whom to tell, and tell them."""

from __future__ import annotations

import time
from typing import Any

from pdk_pipeline import addresses, channels, contacts, database, outbox, runs, subscriptions
from pdk_pipeline import notify as deciding
from pdk_pipeline.config import settings
from workers.app import Reporting, app
from workers.tasks import AGAIN_LATER

# Whom to tell -----------------------------------------------------------------------------------------------


@app.task(**AGAIN_LATER, name="import_contact")
def import_contact(text: str) -> dict[str, Any]:
    """Replace the contacts of the projects that the lines of `text` name."""
    with database.writing(settings()) as db:
        replaced = contacts.replace(db, text, settings().mail_domain)
        return {"projects": [one._asdict() for one in replaced]}


@app.task(**AGAIN_LATER, name="subscribe")
def subscribe(address: str, project: str, kind: str, most_lines: int | None) -> dict[str, Any]:
    """Take a subscription, in place of the one that the address had for the project."""
    cleaned = addresses.clean(address, settings().mail_domain, may_be_url=True)
    wish = subscriptions.Subscription(cleaned, project, subscriptions.Kind(kind), most_lines)
    with database.writing(settings()) as db:
        is_known = subscriptions.subscribe(db, wish)
    return wish._asdict() | {"address": channels.shown(cleaned), "is_known_project": is_known}


@app.task(**AGAIN_LATER, name="unsubscribe")
def unsubscribe(address: str, project: str | None) -> dict[str, Any]:
    """End the subscription of an address to a project, or all it has."""
    with database.writing(settings()) as db:
        removed = subscriptions.unsubscribe(db, address, settings().mail_domain, project)
    return {"address": channels.shown(address), "removed": removed}


# Telling them -----------------------------------------------------------------------------------------------


@app.task(**AGAIN_LATER, name="notify", bind=True)
def notify(self: Reporting, run: str, among: list[str] | None = None) -> dict[str, Any]:
    """Put into the outbox what people are to be told about a run (`among`: by these channels), and deliver it."""
    with database.writing(settings()) as db:
        found = runs.find(settings(), db, run)
        told = deciding.tell(settings(), db, found, now=time.time(), among=among, progress=self.progress)
    _deliver(self)
    return told.as_json()


@app.task(**AGAIN_LATER, name="sweep_outbox", bind=True)
def sweep_outbox(self: Reporting) -> dict[str, Any]:
    """Have everything delivered that is due, and what somebody began and never ended."""
    return {"handed_out": _deliver(self)}


def _deliver(task: Reporting) -> int:
    """Have what is due delivered: by other workers, or here and now where there are none."""
    if task.request.called_directly:
        outbox.deliver_here(settings(), progress=task.progress)
        return 0
    leases = outbox.hand_out(settings())
    for lease in leases:
        # Later the lease is over: without a worker to deliver, the queue does not fill up with what is void.
        deliver.apply_async(lease, expires=settings().lease_seconds)
    return len(leases)


@app.task(name="deliver")
def deliver(message: int, token: str) -> dict[str, Any]:
    """Try to deliver one message, and have it recorded how that went. The outbox sees to another attempt."""
    outcome = outbox.attempt(settings(), outbox.Lease(message, token))
    if outcome is None:
        return {"message": message, "outcome": "not ours to deliver"}
    record_delivery.apply_async((message, token, *outcome))
    return {"message": message, "outcome": outcome.result, "detail": outcome.detail}


@app.task(**AGAIN_LATER, name="record_delivery", bind=True)
def record_delivery(self: Reporting, message: int, token: str, result: str, detail: str) -> dict[str, Any]:
    """Record what came of an attempt, and hand out the next message."""
    outcome = outbox.Outcome(outbox.Result(result), detail)
    outbox.record(settings(), outbox.Lease(message, token), outcome)
    return {"message": message, "handed_out": _deliver(self)}


@app.task(**AGAIN_LATER, name="outbox_retry", bind=True)
def outbox_retry(self: Reporting, messages: list[int]) -> dict[str, Any]:
    """Have messages delivered now that were refused, given up or dropped, or wait for their time."""
    with database.writing(settings()) as db:
        due = outbox.retry(db, settings(), messages, now=time.time())
    _deliver(self)
    return {"due": due}


@app.task(**AGAIN_LATER, name="outbox_drop")
def outbox_drop(messages: list[int]) -> dict[str, Any]:
    """Have messages never delivered."""
    with database.writing(settings()) as db:
        return {"dropped": outbox.drop(db, messages, now=time.time())}
