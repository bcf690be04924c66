"""What a test machine may do to the broker and to the server behind it, which is to submit logs; and TLS."""

from __future__ import annotations

import base64
import json
import os
import pickle
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from pdk_pipeline.config import Settings
from pdk_pipeline.errors import NotPermitted
from tests.conftest import log_of, record, rows
from tests.integration.brokers import DOCKER, Broker, Site, make_secrets, needs_openssl, start_with_tls, users
from workers import connection, health, message, submission
from workers.queues import DEFAULT, INTAKE, QUEUES, WRITER

pytestmark = needs_openssl


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker with the users of docker/users.acl."""
    directory = tmp_path_factory.mktemp("broker")
    started = Broker(directory / "data", "--aclfile", str(users(directory / "users.acl")))
    yield started
    started.stop()


@pytest.fixture
def server(broker):
    """What the server's own user sees; the broker is empty at first."""
    with broker.as_user("server") as redis:
        redis.flushall()
        redis.acl_log_reset()
        yield redis


@pytest.fixture
def tester(broker):
    """The connection of somebody who has a test machine's password."""
    with broker.as_user("submit") as redis:
        yield redis


# A test machine's user ---------------------------------------------------------------------------------------

BLOB = f"blob:{'0' * 64}"
RESULT = "celery-task-meta-1234"

PERMITTED = [
    "PING",
    f"SET {BLOB} log EX 259200 NX",
    f"LPUSH {INTAKE} message",
    f"GET {RESULT}",
]

REFUSED = [
    # other people's logs and results
    f"GET {BLOB}", f"SET {BLOB} x GET", f"GETRANGE {BLOB} 0 9", f"GETDEL {BLOB}", f"MGET {RESULT} {BLOB}",
    f"DEL {BLOB}", f"UNLINK {BLOB}", f"EXPIRE {BLOB} 1", f"RENAME {BLOB} blob:x", f"COPY {BLOB} {RESULT}",
    f"APPEND {BLOB} x", f"DUMP {BLOB}", f"STRLEN {BLOB}", f"EXISTS {BLOB}", f"MSET {BLOB} x", f"SORT {BLOB}",
    f"SET {RESULT} x", f"DEL {RESULT}", f"SETEX {RESULT} 9 x",
    # the queues: its own can only be added to
    *(f"LPUSH {queue}{priority} x" for queue in (WRITER, DEFAULT) for priority in ("", "\x06\x162")),
    f"LPUSH {INTAKE}2 x", f"LPUSH {BLOB} x", f"SET {INTAKE} x", f"RPUSH {INTAKE} x", f"LRANGE {INTAKE} 0 9",
    f"LPOP {INTAKE}", f"BRPOP {INTAKE} 1", f"LMOVE {INTAKE} {WRITER} LEFT LEFT", f"LTRIM {INTAKE} 1 0", f"DEL {INTAKE}",
    f"RPOPLPUSH {INTAKE} {WRITER}", f"LLEN {INTAKE}", f"GET {INTAKE}",
    # what kombu keeps beside them
    "SADD _kombu.binding.intake x", "SMEMBERS _kombu.binding.intake", "HSET unacked a b", "HGETALL unacked:writer",
    "ZADD unacked_index 0 x",
    # the workers
    "PUBLISH /0.celery.pidbox x", "PUBLISH /0.celeryev/task.sent x", "SUBSCRIBE /0.celery.pidbox", "PSUBSCRIBE *",
    "SPUBLISH x y", "SSUBSCRIBE x",
    # the server
    "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET dir /etc",
    "CONFIG REWRITE", "EVAL 'return_1' 0", "EVALSHA 0 0", "FUNCTION LIST", "FCALL f 0", "SCRIPT FLUSH", "MULTI",
    "WATCH x", "SELECT 1", "SWAPDB 0 1", "MOVE x 1", "MONITOR", "INFO", "ACL LIST", "ACL WHOAMI",
    "ACL SETUSER submit on", "CLIENT LIST", "CLIENT KILL ID 1", "CLIENT NO-EVICT on", "DEBUG SLEEP 1", "SHUTDOWN",
    "SAVE", "BGSAVE", "BGREWRITEAOF", "REPLICAOF localhost 1", "SYNC", "PSYNC ? -1", "FAILOVER", "MODULE LIST",
    "MODULE LOAD x", "SLOWLOG GET", "LATENCY DOCTOR", "MEMORY STATS", "COMMAND", "OBJECT ENCODING x", "WAIT 0 0",
    "XADD x * a b", "SETRANGE x 536870900 x", "SETBIT x 4294967295 1", "PFADD x y", "GEOADD x 1 1 y",
    "RESTORE x 0 y", "MIGRATE h 1 x 0 1", "TOUCH x", "LOLWUT",
]  # fmt: skip


@pytest.mark.parametrize("command", REFUSED)
def test_a_test_machines_user_may_do_nothing_else(command, server, tester):
    server.set(BLOB, "somebody's log")
    with pytest.raises(ResponseError, match=r"(?i)no permissions|not allowed"):
        tester.execute_command(*command.split(" "))
    assert server.get(BLOB) == "somebody's log"


def test_it_may_do_these_four_things(server, tester):
    for command in PERMITTED:
        tester.execute_command(*command.split(" "))
    # What kind of client it is, it says without being asked; that this is refused does no harm.
    assert {entry["object"] for entry in server.acl_log()} <= {"client|setinfo"}


def test_who_gives_no_name_may_do_nothing(broker, server):  # noqa: ARG001
    with connection.client(broker.url()) as nobody, pytest.raises(AuthenticationError):
        nobody.ping()


RIGHTS = ["+ping", "(+set %W~blob:*)", "(+lpush %W~intake)", "(+get %R~celery-task-meta-*)"]


def test_submitting_needs_these_rights_and_no_less(broker, server, make_log, home):
    assert " ".join(RIGHTS) in (DOCKER / "users.acl").read_text()
    parcel = submission.pack(home, make_log("a", record()))
    for missing in (None, *RIGHTS):
        # Given a user with all of them, or all but one
        rights = [right for right in RIGHTS if right != missing]
        server.execute_command("ACL", "SETUSER", "less", "reset", "on", ">pw", "-@all", *rights)
        as_less = Settings(broker_url=broker.url("less", "pw"))
        if missing:
            with pytest.raises(NotPermitted, match="names a user who may not do this"):
                submission.submit(as_less, parcel, wait_seconds=0.1, on_note=print)
        else:
            # Then with all of them a log is handed over (here nobody takes it), and nothing of importance is refused
            assert submission.submit(as_less, parcel, wait_seconds=0.1, on_note=print) is None
            assert {entry["object"] for entry in server.acl_log()} <= {"client|setinfo"}


def test_what_a_user_may_not_do_is_one_clear_line_at_once(broker, server, pdk, make_log):  # noqa: ARG001
    for words in (("import", make_log("a", record())), ("nightly",), ("initdb",), ("up",)):
        began = time.monotonic()
        done = pdk(*words, PDK_BROKER_URL=broker.url("submit"))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("pdk: The broker does not permit this: redis://submit:…@127.0.0.1:")
        assert time.monotonic() - began < 5


def test_the_monitors_user_sees_everything_and_sends_no_task(broker, server):
    server.lpush(WRITER, "a task")
    server.set(BLOB, "a log")
    with broker.as_user("monitor") as monitor:
        assert monitor.llen(WRITER) == 1
        assert "valkey" in str(monitor.info()) or monitor.info()
        for command in (
            f"LPUSH {WRITER} x",
            f"LPUSH {INTAKE} x",
            f"DEL {WRITER}",
            "FLUSHALL",
            "CONFIG GET *",
            "KEYS *",
        ):
            with pytest.raises(NoPermissionError):
                monitor.execute_command(*command.split(" "))


# Forged messages ---------------------------------------------------------------------------------------------

PROOF = "import-of-a-forger"
"""If any message makes anybody do anything, this is the file that it would be done with."""


def forged(**changes: Any) -> dict[str, Any]:
    """A message as a test machine sends it, for a log that is not there, with some of its headers changed."""
    whole = message.compose(message.new_id(), BLOB, "a")
    for name, value in changes.items():
        (whole if name in whole else whole["headers"])[name] = value
    return whole


def signature(queue: str = WRITER) -> dict[str, Any]:
    """A task that a forger would like to have done."""
    return {
        "task": "import_logs", "args": [[[PROOF, "d"]], {}], "kwargs": {},
        "options": {"queue": queue, "task_id": PROOF},
        "subtask_type": None, "immutable": True, "chord_size": 1,
    }  # fmt: skip


def body(args: Any = (BLOB,), kwargs: Any = None, **embed: Any) -> str:
    return json.dumps([args, kwargs or {}, embed])


class Rigged:
    """What pickle would do harm with."""

    def __reduce__(self):
        return os.mkdir, (PROOF,)


FOLLOWERS = {name: [signature()] for name in ("callbacks", "errbacks", "chain")} | {"chord": signature()}
LATER = (datetime.now(tz=UTC) + timedelta(days=1)).isoformat()
PAST = (datetime.now(tz=UTC) - timedelta(days=1)).isoformat()

NO_MESSAGES = [
    "", "{", "[]", "null", "7", "{}", '"x"', "[" * 50_000, "\xff\xfe", '{"__type__": "decimal", "__value__": "x"}',
    '{"__type__": "datetime", "__value__": 3}', '{"properties": {}}', '{"headers": [], "properties": [], "body": 0}',
    json.dumps(forged() | {"properties": {"delivery_info": {}}}),
]  # fmt: skip

FORGED: dict[str, Callable[[], dict[str, Any]]] = {
    # other tasks than the one
    **{f"task {name}": lambda name=name: forged(task=name) for name in (
        "import_logs", "initdb", "nope", "celery.backend_cleanup", "celery.chord", "celery.group", "celery.map", "",
        None, 7,
    )},
    "another task's arguments": lambda: forged(task="import_logs", body=body([[[PROOF, "d"]], {}])),
    "the first protocol": lambda: forged(
        headers={}, body=json.dumps({"task": "import_logs", "id": PROOF, "args": [[[PROOF, "d"]], {}], "kwargs": {}})
    ),
    "both protocols": lambda: forged(body=json.dumps({"args": [BLOB], "kwargs": {}, "errbacks": [signature()]})),
    # others to follow: when it is done, when it fails, when it cannot even begin, is too late, or takes too long
    "followers": lambda: forged(body=body(**FOLLOWERS)),
    "followers, no arguments": lambda: forged(body=body([], **FOLLOWERS)),
    "followers, arguments that are none": lambda: forged(body=body(5, **FOLLOWERS)),
    "followers, one argument too many": lambda: forged(body=body([BLOB, 1], **FOLLOWERS)),
    "followers, unknown names": lambda: forged(body=body([BLOB], {"x": 1}, **FOLLOWERS)),
    "followers, too late": lambda: forged(expires=PAST, group=PROOF, body=body(**FOLLOWERS)),
    "followers, no time": lambda: forged(timelimit=[0.0001, 0.0001], body=body(**FOLLOWERS)),
    "followers, no retries left": lambda: forged(retries=1_000_000, body=body(**FOLLOWERS)),
    "followers in the headers": lambda: forged(**FOLLOWERS),
    # to be put back into another queue
    "back elsewhere": lambda: {
        **forged(eta=LATER, task="receive_log"),
        "properties": forged()["properties"] | {"delivery_info": {"exchange": "", "routing_key": WRITER}},
    },
    "back elsewhere by name": lambda: {
        **forged(eta=LATER, task="import_logs"),
        "properties": forged()["properties"] | {"delivery_info": {"exchange": WRITER, "routing_key": WRITER}},
    },
    # what is not JSON
    "pickle": lambda: forged(
        body=base64.b64encode(pickle.dumps(([BLOB], {}, {"x": Rigged()}))).decode(),
        **{"content-type": "application/x-python-serialize", "content-encoding": "binary"},
    ) | {"properties": forged()["properties"] | {"body_encoding": "base64"}},
    "yaml": lambda: forged(body="!!python/object/apply:os.mkdir [x]", **{"content-type": "application/x-yaml"}),
    "compressed": lambda: forged(compression="application/x-gzip"),
    # other places in the broker, and on the disk
    **{f"key {key!r:.30}": lambda key=key: forged(body=body([key])) for key in (
        "celery-task-meta-x", "blob:../../x", "blob:" + "A" * 64, "blob:" + "0" * 65, BLOB + "\n", "writer", "", None,
        7, [], {"a": 1}, "x" * 5_000_000,
    )},
    # ids and labels
    **{f"id {name!r:.30}": lambda name=name: forged(id=name) for name in ("../x", "", None, 7, "x" * 5_000_000)},
    "a label to steer a terminal": lambda: forged(argsrepr="\x1b[2J"),
    "a label without end": lambda: forged(argsrepr="x" * 5_000_000),
    "an end of time": lambda: forged(eta="9999-12-31T23:59:59+00:00"),
    "no time at all": lambda: forged(eta="soon"),
}  # fmt: skip


def test_forged_messages_do_nothing_and_the_next_log_is_taken(tmp_path, make_log):
    # Given an intake at work, and somebody with a test machine's password
    site = Site(tmp_path / "site")
    try:
        worker = site.start_intake("--pool=prefork", "--concurrency=1")
        worker.wait_for(" ready.")
        with site.broker.as_user("submit") as forger, site.broker.as_user("server") as server:
            for text in NO_MESSAGES:
                forger.lpush(INTAKE, text)
            for forge in FORGED.values():
                forger.lpush(INTAKE, json.dumps(forge()))
            mine = zstandard.compress(b"a log of the forger's own")
            parcel = submission.Parcel(mine, "b", 1, 0, "", again=False)
            forger.set(parcel.key, submission.Label("b", "forger", message.new_id()).value(mine))
            forger.lpush(INTAKE, json.dumps(forged(body=body([parcel.key], **FOLLOWERS))))
            # When after all of them comes a real log
            settings = Settings(broker_url=site.broker.url("submit"))
            outcome = submission.submit(
                settings, submission.pack(settings, make_log("a", record())), wait_seconds=60, on_note=print
            )
            # Then it is taken, and by the same worker
            assert outcome["file"] == "a"
            assert [path.name[:2] for path in site.incoming()] == ["a.", "b."]
            assert worker.popen.poll() is None
            # and nothing that a forger asked for has happened, nor will it when the worker stops or is looked after
            worker.interrupt()
            assert [queue.name for queue in QUEUES if health.waiting(server, queue.name)] == []
            assert server.hlen("unacked") == 0
            assert not server.keys(f"*{PROOF}*")
            told = {json.loads(server.get(key))["result"]["exc_type"] for key in server.keys("celery-task-meta-*")
                    if json.loads(server.get(key))["status"] != "SUCCESS"}  # fmt: skip
            assert told <= {"NotReceived"}
            assert not list(tmp_path.rglob(f"*{PROOF}*"))
            assert not Path(PROOF).exists()
            assert "Traceback" not in "\n".join(worker.lines)
            assert "\x1b" not in "\n".join(worker.lines)
    finally:
        site.stop()


# TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    return make_secrets(tmp_path_factory.mktemp("secrets") / "ours")


@pytest.fixture(scope="module")
def tls_broker(tmp_path_factory, secrets):
    """A broker that is reached over TLS alone, with the users of `secrets`."""
    directory = tmp_path_factory.mktemp("tls")
    started = start_with_tls(
        directory / "data", secrets, "--tls-auth-clients", "no", "--aclfile", str(users(directory / "users"))
    )
    yield started
    started.stop()


def test_everything_works_over_tls(tls_broker, secrets, start_worker, pdk, make_log, home):
    # Given workers and commands that trust the CA of the broker's certificate
    ca = {"PDK_BROKER_CA_FILE": str(secrets / "ca_certificate")}
    as_server = {"PDK_BROKER_URL": tls_broker.url("server", host="localhost"), **ca}
    for queue in (WRITER, INTAKE):
        start_worker(queue, **as_server)
    # When a log is submitted and one imported, then both are there
    sent = pdk("submit", make_log("a", record("t1")), PDK_BROKER_URL=tls_broker.url("submit"), **ca)
    assert sent.returncode == 0, sent.stderr
    assert len(list((home.spool / "incoming").iterdir())) == 1
    (home.spool / "b").write_text(log_of(record("t2")))
    done = pdk("import", home.spool / "b", **as_server)
    assert done.returncode == 0, done.stderr
    assert rows(home, "SELECT test_name FROM result_scalar") == [("t2",)]
    # and all who look at the broker see it
    findings = {one["subject"]: one["text"] for one in json.loads(pdk("doctor", "--json", **as_server).stdout)}
    assert findings["broker"].startswith(f"rediss://server:…@localhost:{tls_broker.port}/0, ")
    assert findings["workers"] == "no worker takes from the queue default"


def test_a_certificate_that_is_not_to_be_trusted_is_one_clear_line(tls_broker, secrets, pdk, make_log, tmp_path):
    other = make_secrets(tmp_path / "theirs") / "ca_certificate"
    ours = secrets / "ca_certificate"
    for command, ca, host, words in (
        ("submit", None, "localhost", ""),
        ("submit", other, "localhost", ""),
        ("submit", ours, "127.0.0.2", "IP address mismatch"),
        ("import", other, "localhost", ""),
    ):
        url = tls_broker.url("submit", host=host)
        variables = {"PDK_BROKER_URL": url} | ({"PDK_BROKER_CA_FILE": str(ca)} if ca else {})
        done = pdk(command, make_log("a", record()), **variables)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert f"The broker's certificate is not trusted: rediss://submit:…@{host}:{tls_broker.port}/0: {words}" in line
        assert "Does broker_ca_file name the CA that signed it" in line
    looked = pdk("doctor", "--json", **variables)
    assert "certificate" in next(one["text"] for one in json.loads(looked.stdout) if one["subject"] == "broker")


def test_a_broker_may_ask_for_our_own_certificate(tmp_path, secrets, pdk, make_log):
    broker = start_with_tls(
        tmp_path / "data", secrets, "--tls-auth-clients", "yes", "--aclfile", str(users(tmp_path / "users"))
    )
    try:
        signed = _signed(tmp_path, secrets)
        ours = {"PDK_BROKER_CERT_FILE": str(signed), "PDK_BROKER_KEY_FILE": str(tmp_path / "key")}
        variables = {"PDK_BROKER_URL": broker.url("submit"), "PDK_BROKER_CA_FILE": str(secrets / "ca_certificate")}
        log = make_log("a", record())
        # Nobody takes it here, which is told of a log that is in the broker.
        assert "is in the broker" in pdk("submit", "--wait=0.1", log, **variables, **ours).stderr
        (line,) = pdk("submit", "--wait=0.1", log, **variables).stderr.splitlines()
        assert line.startswith(f"pdk: {log}: The broker does not answer: rediss://")
    finally:
        broker.stop()


def _signed(directory: Path, secrets: Path) -> Path:
    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], cwd=directory, check=True, capture_output=True)

    openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-subj", "/CN=banana", "-out", "request")
    authority = ("-CA", secrets / "ca_certificate", "-CAkey", secrets / "ca_key", "-set_serial", "3")
    openssl("x509", "-req", "-in", "request", *authority, "-days", "1", "-out", "certificate")
    return directory / "certificate"
