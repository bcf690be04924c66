"""Logs sent from test machines: once on the server's disk, whatever happens on the way, or a clear word why not."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from pdk_pipeline import config
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import BrokerFull, LogTooLarge, NotALog, NotReceived
from tests.conftest import log_of, record
from tests.integration.brokers import Site, needs_openssl, silent_host
from tests.integration.processes import PATIENCE_SECONDS
from tests.stored import take_in
from workers import message, receiving, submission
from workers.queues import INTAKE
from workers.submission import KEPT_SECONDS, Label

pytestmark = needs_openssl


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A server without an intake as yet; what this process does itself, it does as that server."""
    started = Site(tmp_path)
    monkeypatch.setenv("PDK_HOME", str(started.home.home))
    monkeypatch.setenv("PDK_BROKER_URL", started.broker.url("server"))
    config.settings.cache_clear()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def busy_site(tmp_path_factory):
    """A server whose intake is running, shared by all who do not stop anything."""
    started = Site(tmp_path_factory.mktemp("site"))
    started.start_intake().wait_for(" ready.")
    yield started
    started.stop()


@pytest.fixture
def submit(busy_site, pdk):
    """`pdk submit` from a test machine that has a home of its own and the broker's address."""

    def submit(*words, **variables):
        return pdk("submit", *words, **{"PDK_BROKER_URL": busy_site.broker.url("submit"), **variables})

    return submit


def unpacked(path: Path) -> str:
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()).decode()


def named(site: Site, name: str) -> list[Path]:
    return [path for path in site.incoming() if path.name.startswith(f"{name}.")]


# What it does ------------------------------------------------------------------------------------------------


def test_a_log_is_whole_on_the_servers_disk_when_the_command_returns(submit, busy_site, make_log):
    log = make_log("banana.daily", *(record(f"t{number}", log="the same line\n" * 50) for number in range(200)))
    done = submit(log)
    assert done.returncode == 0, done.stderr
    (received,) = named(busy_site, "banana.daily")
    assert unpacked(received) == log.read_text()
    # and it went compressed, and nothing of it stays in the broker
    assert received.stat().st_size < log.stat().st_size / 20
    assert "200 results" in done.stdout
    assert not busy_site.broker.as_user("server").keys("blob:*")


def test_to_send_a_log_again_changes_nothing_until_again_is_asked_for(submit, busy_site, make_log):
    log = make_log("twice", record("twice"))
    for _ in range(2):
        assert submit(log).returncode == 0
    assert len(named(busy_site, "twice")) == 1
    assert submit("--again", log).returncode == 0
    assert len(named(busy_site, "twice")) == 2


def test_a_log_that_was_imported_is_not_taken_again(submit, busy_site, make_log):
    log = make_log("known", record("known"))
    submit(log)
    (received,) = named(busy_site, "known")
    take_in(busy_site.home, received)
    received.unlink()
    done = submit(log)
    assert (done.returncode, named(busy_site, "known")) == (0, [])
    assert "the server has had this log already" in done.stdout


def test_what_a_log_is_called_cannot_steer_the_terminal(submit, make_log):
    log = make_log("e\x1b[31mv\n", record("t1", log="called oddly"))
    assert submit(log).stdout.startswith(f"{log.parent}/e\\x1b[31mv\\n: received, 1 result, ")


def test_a_compressed_log_is_sent_as_it_is(submit, busy_site, tmp_path):
    (tmp_path / "packed.gz").write_bytes(packed := gzip.compress(log_of(record("packed")).encode()))
    assert submit(tmp_path / "packed.gz").returncode == 0
    (received,) = named(busy_site, "packed.gz")
    assert received.read_bytes() == packed


def test_bad_records_are_told_of_before_the_log_is_sent_all_the_same(submit, make_log):
    done = submit(make_log("half", record("half"), record("t2", "X")))
    assert done.returncode == 0
    assert "into the quarantine there: 1 bad record; line " in done.stderr


def test_what_is_no_log_is_not_sent_and_the_others_are(submit, busy_site, make_log, tmp_path):
    (tmp_path / "no-log").write_text("hello\n")
    done = submit("--json", tmp_path / "no-log", tmp_path / "not-there", make_log("good", record("good")))
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("pdk: This is not a log of test results: ")
    assert second.startswith("pdk: This file cannot be read as a log: ")
    assert len(named(busy_site, "good")) == 1
    assert [one.get("received") is not None for one in json.loads(done.stdout)] == [False, False, True]


def test_a_log_that_is_too_large_is_refused_on_either_side(submit, tmp_path):
    noise = "".join(random.Random(1).choices("0123456789abcdef", k=6 << 20))
    (tmp_path / "large").write_text(log_of(record("t1", log=noise)))
    here = submit(tmp_path / "large", PDK_SUBMIT_LIMIT_MB="1")
    there = submit(tmp_path / "large")
    for done, words in ((here, "are allowed"), (there, "the server takes 2,097,152")):
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "This log is too large to send: " in line
        assert words in line


def test_sixty_machines_at_once(busy_site, tmp_path):
    # Given sixty machines, each with a log of its own, and each asleep until the same moment
    for number in range(60):
        noise = random.Random(number).randbytes(20_000).hex()
        (tmp_path / f"machine{number:03}").write_text(log_of(record("t1", log=noise), host=f"machine{number}"))
    before = len(busy_site.incoming())
    # When all submit
    environment = {"PDK_HOME": str(tmp_path / "home"), "PDK_BROKER_URL": busy_site.broker.url("submit")}
    done = subprocess.run(
        [sys.executable, "-c", MANY, *map(str, sorted(tmp_path.glob("machine*")))],
        env=os.environ | environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    # Then every command succeeds and every log is there, none of them twice
    assert Counter(done.stdout.split()) == {"0": 60}, done.stderr
    received = [unpacked(path) for path in busy_site.incoming() if path.name.startswith("machine")]
    assert len(received) == len(set(received)) == 60 == len(busy_site.incoming()) - before
    assert not busy_site.broker.as_user("server").keys("blob:*")


MANY = """
import os, sys
import redis.backoff
from pdk_pipeline.cli import commands, main
from workers import submission
pids = []
for path in sys.argv[1:]:
    pids.append(os.fork())
    if not pids[-1]:
        sys.argv = ["pdk", "submit", "-q", path]
        try:
            main()
        except SystemExit as end:
            os._exit(end.code or 0)
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""
"""Each one a process; they are forked from one that has loaded pdk, so that they really come at once."""


# What goes wrong on the way ----------------------------------------------------------------------------------


def expect_one_line(done, beginning, seconds, began):
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert beginning in line
    assert "s3cret" not in line
    assert time.monotonic() - began < seconds


def test_a_broker_that_refuses_or_is_silent_is_one_line_within_three_seconds(pdk, make_log):
    log = make_log("a", record())
    with silent_host() as silent:
        for address in ("127.0.0.1:1", silent):
            began = time.monotonic()
            done = pdk("submit", log, PDK_BROKER_URL=f"redis://submit:s3cret@{address}/0")
            expect_one_line(done, f"The broker does not answer: redis://submit:…@{address}/0: ", 5, began)


def test_a_broker_that_does_not_answer_is_not_asked_for_every_log(pdk, make_log):
    logs = [make_log(name, record(name)) for name in ("a", "b", "c")]
    done = pdk("submit", "--json", *logs, PDK_BROKER_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"pdk: {logs[0]}: The broker does not answer: ")
    assert second == "pdk: 2 more were not sent"
    assert [one["file"] for one in json.loads(done.stdout)] == list(map(str, logs))


def test_without_a_broker_it_is_said_how_one_is_named(pdk, make_log):
    began = time.monotonic()
    expect_one_line(pdk("submit", make_log("a", record())), "The broker does not answer: none is named. ", 10, began)


@pytest.mark.parametrize(("user", "password"), [("submit", "wrong"), ("nobody", "s3cret"), ("", "")])
def test_a_wrong_password_is_one_line_at_once(user, password, busy_site, pdk, make_log):
    began = time.monotonic()
    done = pdk("submit", make_log("a", record()), PDK_BROKER_URL=busy_site.broker.url(user, password))
    expect_one_line(done, "The broker does not permit this: ", 10, began)
    assert "Are user and password in PDK_BROKER_URL right?" in done.stderr


class Submitting(threading.Thread):
    """A submission in this process, and what came of it."""

    def __init__(self, site: Site, log: Path, wait_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__()
        self.url = site.broker.url("submit")
        self.parcel = submission.pack(site.home, log)
        self.wait_seconds = wait_seconds
        self.notes: list[str] = []
        self.outcome = None
        self.start()

    def run(self) -> None:
        settings = Settings(broker_url=self.url)
        try:
            self.outcome = submission.submit(
                settings, self.parcel, wait_seconds=self.wait_seconds, on_note=self.notes.append
            )
        except Exception as error:  # noqa: BLE001  (what a test looks at)
            self.outcome = error

    def result(self):
        self.join(PATIENCE_SECONDS)
        return self.outcome


STEPS = [
    "before pdk_pipeline.intake.spool.receive",
    "after pdk_pipeline.intake.spool.receive",
    "after redis:Redis.delete",
    "before celery.backends.redis:RedisBackend.mark_as_done",
    "after celery.backends.redis:RedisBackend.mark_as_done",
]


def test_an_intake_that_is_killed_between_any_two_of_its_steps_takes_the_log_once(site, make_log, monkeypatch):
    monkeypatch.setattr(submission, "ASK_AGAIN_SECONDS", 0.2)
    # Given a log on its way to an intake that dies at its first step, and whose successor dies at the next
    sending = Submitting(site, make_log("a", record()))
    for step in STEPS:
        worker = site.start_intake("--include=tests.integration.mortal", DIES=step)
        assert worker.wait() == -signal.SIGKILL, worker.lines
    # When one lives
    last = site.start_intake()
    # Then the command has succeeded, and the log is there once
    assert isinstance(sending.result(), dict), sending.outcome
    (received,) = site.incoming()
    assert received.name.startswith("a.")
    assert unpacked(received) == log_of(record())
    last.wait_for(" ready.")
    assert not site.broker.as_user("server").keys("blob:*")


def test_a_broker_that_is_killed_and_comes_back_fails_no_submission(site, make_log):
    # Given a log that is in the broker, where no intake has come to it
    sending = Submitting(site, make_log("a", record()))
    with site.broker.as_user("server") as redis:
        while not redis.llen(INTAKE):
            time.sleep(0.01)
        redis.execute_command("WAITAOF", 1, 0, 0)  # on the disk
    # When the broker is killed and comes back, and then an intake
    site.broker.kill()
    while not sending.notes:
        time.sleep(0.01)
    site.broker.start()
    site.start_intake()
    # Then it is taken, and whoever waited knows why
    assert isinstance(sending.result(), dict), sending.outcome
    assert len(site.incoming()) == 1
    assert "waiting for it to get better" in sending.notes[0]


def test_a_log_that_the_broker_lost_is_sent_once_more(site, make_log):
    sending = Submitting(site, make_log("a", record()))
    with site.broker.as_user("server") as redis:
        while not redis.llen(INTAKE):
            time.sleep(0.01)
        redis.delete(sending.parcel.key)
    site.start_intake()
    assert isinstance(sending.result(), dict), sending.outcome
    assert len(site.incoming()) == 1


def test_a_broker_without_room_is_said_to_be_full(site, make_log, monkeypatch):
    monkeypatch.setattr(submission, "SENDING_SECONDS", 0.5)
    with site.broker.as_user("server") as redis:
        redis.config_set("maxmemory", "1mb")
    sending = Submitting(site, make_log("a", record()))
    assert isinstance(sending.result(), BrokerFull), sending.outcome
    assert str(sending.outcome).startswith("The broker has no room: ")


def test_a_log_that_nobody_takes_is_kept_and_said_to_be(site, pdk, make_log):
    done = pdk("submit", "--wait", "0.3", make_log("a", record()), PDK_BROKER_URL=site.broker.url("submit"))
    assert done.returncode == 1
    assert (
        "is in the broker, but nobody there has taken it yet; it is kept for three days and taken as soon"
        in done.stderr
    )
    with site.broker.as_user("server") as redis:
        (key,) = redis.keys("blob:*")
        assert KEPT_SECONDS - 60 < redis.ttl(key) <= KEPT_SECONDS


# The server's side -------------------------------------------------------------------------------------------


def put(site: Site, log: str = "", *, age: float = 0, **label: object) -> str:
    """A log in the broker as a test machine leaves it there. Returns its key."""
    content = zstandard.compress((log or log_of(record())).encode())
    parcel = submission.Parcel(content, "a", 1, 0, "", again=False)
    about = {"name": "a", "sender": "ann@banana", "task": message.new_id(), "again": False, **label}
    with site.broker.as_user("submit") as redis:
        redis.set(parcel.key, json.dumps(about).encode() + b"\n" + content, ex=int(KEPT_SECONDS - age))
    return parcel.key


def test_the_sweep_finds_a_log_whose_task_was_lost(site):
    # Given a log that has lain in the broker for an hour, and one that has just come
    task = message.new_id()
    put(site, age=3600, task=task)
    put(site, log_of(record("t2")))
    # When the sweep comes by, the first is sent to the intake under the id that its sender waits for
    assert site.sweep() == 1
    # and while that waits there it is not lost again
    assert site.sweep() == 0
    site.start_intake().wait_for(f"receive_log[{task}]")
    (received,) = site.incoming()
    assert unpacked(received) == log_of(record())


def test_the_sweep_throws_away_what_nobody_can_take(site):
    with site.broker.as_user("submit") as redis:
        redis.set("blob:x", "rubbish")
        redis.set(f"blob:{'0' * 64}", "no label\nrubbish")
        redis.set(f"blob:{'1' * 64}", json.dumps({"name": "a", "sender": "b", "task": "../c", "again": 0}) + "\n")
    for_ever = put(site)
    with site.broker.as_user("server") as redis:
        redis.persist(for_ever)
        assert site.sweep() == 1
        assert redis.keys("blob:*") == [for_ever]
        assert 0 < redis.ttl(for_ever) <= KEPT_SECONDS


NAMES = {
    "../../etc/passwd": "passwd",
    ".hidden": "hidden",
    "..": "log",
    "a\x1b[31m\nb": "a_31m_b",
    "ü" * 300: "ü" * 100,
    "*?[a]": "_a_",
}


def test_a_name_leads_nowhere_else(site):
    expected = set()
    for name, file in NAMES.items():
        key = put(site, log_of(record(file)), name=name)
        receiving.receive_log(key)
        expected.add(f"{file}.{key[5:17]}")
    assert {path.name for path in site.incoming()} == expected


def test_a_sender_cannot_pass_for_another_ones_log(site):
    # Given a log that somebody names such that it looks like the file of another one
    victim = zstandard.compress(log_of(record("victim")).encode())
    key = submission.Parcel(victim, "a", 1, 0, "", again=False).key
    for name in (f"a.{key[5:17]}", f"a.{key[5:17]}-abcdef"):
        receiving.receive_log(put(site, log_of(record(name)), name=name))
    # When the other one comes, it is taken all the same
    receiving.receive_log(put(site, log_of(record("victim"))))
    assert [log_of(record("victim"))] == [text for text in map(unpacked, site.incoming()) if "victim" in text]


def test_a_log_that_was_damaged_on_the_way_is_refused(site):
    key = f"blob:{'a' * 64}"
    with site.broker.as_user("submit") as redis:
        redis.set(key, Label("a", "b", str(uuid.uuid4())).value(b"not what the key says"))
    with pytest.raises(NotALog, match="a was damaged on the way"):
        receiving.receive_log(key)
    with pytest.raises(NotReceived):
        receiving.receive_log(key)
    assert site.incoming() == []


def test_what_is_larger_than_the_server_allows_is_not_even_read(site, monkeypatch):
    monkeypatch.setenv("PDK_SUBMIT_LIMIT_MB", "1")
    config.settings.cache_clear()
    with site.broker.as_user("submit") as redis:
        redis.set(f"blob:{'a' * 64}", bytes(2 << 20))
    with pytest.raises(LogTooLarge, match="2,097,152 bytes"):
        receiving.receive_log(f"blob:{'a' * 64}")
    assert not site.broker.as_user("server").keys("blob:*")
