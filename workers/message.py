"""The one message that a test machine sends: have this log taken. Composed here, on either side of the broker.

It is Celery's message (protocol 2) as kombu keeps it in Redis: composed by hand, a test machine needs one connection
and two commands, and its user no right to any more.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from workers.queues import INTAKE

TASK = "receive_log"

KEY = re.compile(r"blob:[0-9a-f]{64}")
"""A log's place in the broker: its checksum."""

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_RETRIES = 100
_LONGEST_PAUSE = timedelta(minutes=15)
_LONGEST_LABEL = 250


def new_id() -> str:
    """An id for a task."""
    return str(uuid.uuid4())


def is_id(text: object) -> bool:
    """Whether this is an id that a task may have."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def compose(task: str, key: str, label: str, *, retries: int = 0, eta: str | None = None) -> dict[str, Any]:
    """Ask for the log at `key` to be taken. `task` is the id of that task, `label` what people know it by."""
    return {
        "body": json.dumps([[key], {}, {}]),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": TASK,
            "id": task,
            "root_id": task,
            "parent_id": None,
            "group": None,
            "retries": retries,
            "eta": eta,
            "expires": None,
            "timelimit": [None, None],
            "argsrepr": label,
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": task,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": INTAKE},
            "priority": 0,
            "delivery_tag": new_id(),
        },
    }


def composed_anew(message: Any) -> dict[str, Any] | None:
    """The same request with nothing else in it; None when it does not ask for a log to be taken.

    Whoever may send to the intake can write any message: one that names other tasks to follow, or another queue that
    it is to be put back into. Of what it says, only this is taken over.
    """
    try:
        headers, body = message["headers"], message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        (key,), *_ = json.loads(body)
        task, label = headers["id"], headers.get("argsrepr")
        if headers["task"] != TASK or not is_id(task) or not KEY.fullmatch(key):
            return None
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    shown = label if isinstance(label, str) and label.isprintable() else repr(key)
    return compose(
        task, key, shown[:_LONGEST_LABEL], retries=_retries(headers.get("retries")), eta=_eta(headers.get("eta"))
    )


def is_well_formed(message: Any) -> bool:
    """Whether it has the shape of a task's message. Celery and kombu end over some that have not."""
    try:
        headers, body = message["headers"], message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        args, kwargs, embedded = json.loads(body)
        return (
            message["content-type"] == "application/json"
            and headers.get("compression") is None
            and isinstance(headers["task"], str)
            and isinstance(headers["id"], str)
            and all(limit is None or isinstance(limit, (int, float)) for limit in headers.get("timelimit") or ())
            and (type(args), type(kwargs), type(embedded)) == (list, dict, dict)
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return False


def _retries(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= _MOST_RETRIES else 0


def _eta(value: object) -> str | None:
    """When it is to be tried again, unless that is later than any pause of ours."""
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else None
        return value if when and when <= datetime.now(tz=UTC) + _LONGEST_PAUSE else None  # type: ignore[return-value]
    except (ValueError, TypeError, OverflowError):
        return None
