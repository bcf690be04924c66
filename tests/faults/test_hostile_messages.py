"""Messages that nobody of us has sent: a worker says so and goes on with the next."""

from __future__ import annotations

import base64
import json
import os
import pickle
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from tests.conftest import record, rows
from workers import health, message
from workers.queues import DEFAULT, WRITER


class Bomb:
    """What does harm when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def _message(task: str, args: list[object], queue: str, **headers: object) -> dict[str, object]:
    made = message.compose(message.new_id(), "key", "(label)")
    made["body"] = json.dumps([args, {}, {}])
    made["headers"] |= {"task": task} | headers
    made["properties"]["delivery_info"] = {"exchange": queue, "routing_key": queue}
    return made


def _hostile(queue: str, mark: Path) -> dict[str, object]:
    task = {WRITER: "initdb", DEFAULT: "sweep"}[queue]
    pickled = base64.b64encode(pickle.dumps(((Bomb(mark),), {}, {}))).decode()
    by_pickle = _message(task, [], queue) | {"body": pickled, "content-type": "application/x-python-serialize"}
    by_pickle["content-encoding"] = "binary"
    by_pickle["properties"]["body_encoding"] = "base64"
    in_disguise = by_pickle | {"content-type": "application/json", "content-encoding": "utf-8"}
    return {
        "no JSON": b"hello \xff\xfe",
        "nothing": b"",
        "a number": b"17",
        "a list": b"[1, 2]",
        "an empty object": b"{}",
        "deep JSON": b"[" * 100_000,
        "no headers": {name: value for name, value in _message(task, [], queue).items() if name != "headers"},
        "headers that are none": _message(task, [], queue) | {"headers": 5},
        "no properties": {name: value for name, value in _message(task, [], queue).items() if name != "properties"},
        "no delivery tag": _message(task, [], queue) | {"properties": {"delivery_info": {"exchange": queue}}},
        "no body": {name: value for name, value in _message(task, [], queue).items() if name != "body"},
        "a body that is no JSON": _message(task, [], queue) | {"body": "{"},
        "a body of another shape": _message(task, [], queue) | {"body": '{"a": 1}'},
        "a body that is not what it says": in_disguise,
        "a pickle": by_pickle,
        "an unknown content type": _message(task, [], queue) | {"content-type": "application/x-evil"},
        "an unknown compression": _message(task, [], queue, compression="evil"),
        "an unknown task": _message("os.system", ["touch x"], queue),
        "a task of another queue": _message("receive_log", ["no key"], queue),
        "too many arguments": _message(task, [1, 2, 3, 4, 5], queue),
        "arguments of another type": _message("import_claimed", [{"a": 1}], queue),
        "a path that leads out": _message("import_claimed", [["../../../etc"]], queue),
        "no name of a task": _message(None, [], queue),  # type: ignore[arg-type]
        "an id that is a list": _message(task, [], queue, id=[1]),
        "no id": _message(task, [], queue, id=None),
        "a time that is none": _message(task, [], queue, eta="when pigs fly"),
        "a time at the end of the calendar": _message(task, [], queue, eta="9999-12-31T23:59:59+00:00"),
        "expired, it says": _message(task, [], queue, expires="yesterday"),
        "limits that are none": _message(task, [], queue, timelimit=["a", "b"]),
        "retries without end": _message(task, [], queue, retries=10**30),
    }


@pytest.mark.parametrize("queue", [WRITER, DEFAULT])
def test_a_worker_outlives_every_message_that_is_none_of_ours(
    queue, start_worker, broker_url, pdk, make_log, tmp_path, home: Settings
):
    mark = tmp_path / "unpickled"
    worker = start_worker(queue)
    # When it is sent whatever is no message of ours, and then one that is
    with health.client(broker_url) as redis:
        for made in _hostile(queue, mark).values():
            redis.lpush(queue, made if isinstance(made, bytes) else json.dumps(made))
    if queue == WRITER:
        done = pdk("import", make_log("a.pdklog", record()), PDK_BROKER_URL=broker_url)
        assert done.returncode == 0, done.stderr
        assert rows(home, "SELECT count(*) FROM result") == [(1,)]
    else:
        last = _message("sweep", [], queue)
        with health.client(broker_url) as redis:
            redis.lpush(queue, json.dumps(last))
        worker.wait_for(f"sweep[{last['headers']['id']}]")
    # Then the same process has done that, and nothing was unpickled
    assert worker.popen.poll() is None
    assert not mark.exists()
