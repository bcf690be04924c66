"""Messages delivered by real workers to a real mail server, and what remains of them when everybody is killed."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest

from pdk_pipeline import config, contacts, database, outbox
from pdk_pipeline.cli import main
from pdk_pipeline.config import Settings
from tests.conftest import record, rows
from tests.integration import deadly
from tests.integration.processes import CELERY
from tests.mail_server import MailServer
from tests.stored import take_in
from workers import dispatch
from workers.dispatch import Call
from workers.queues import DEFAULT, WRITER

RUN = "daily_2026-11-23"
ANN, BOB = "ann@example.org", "bob@example.org"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(monkeypatch):
    """A mail server, set up for this process and those that it starts."""
    with MailServer() as started:
        settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": started.port, "SMTP_SECURITY": "none", "LEASE_SECONDS": 1}
        for name, value in settings.items():
            monkeypatch.setenv(f"PDK_{name}", str(value))
        config.settings.cache_clear()
        yield started


@pytest.fixture
def variables(server, broker_url, monkeypatch):  # noqa: ARG001
    """What workers and commands find in their environment besides their home."""
    monkeypatch.setenv("PDK_BROKER_URL", broker_url)
    config.settings.cache_clear()
    return {name: value for name, value in os.environ.items() if name.startswith("PDK_") and name != "PDK_HOME"} | {
        "PYTHONPATH": str(ROOT)
    }


@pytest.fixture
def night(home: Settings, make_log):
    """A night with one failing test, of which two people are contacts."""

    def night(run=RUN):
        take_in(home, make_log(run, record("t1", "F"), test_run=run))

    with database.writing(home) as db:
        contacts.replace(db, f"calib,,{ANN}\ncalib,,{BOB}\n", "")
    return night


def assert_each_was_told_once(server, home):
    """Each person has exactly one message, however often it came, and it is recorded as sent."""
    messages = {(mail.recipient, mail.id) for mail in server.mails}
    with database.reading(home) as db:
        entries = outbox.entries(db)
    assert {(entry.recipient, f"<{entry.message_id}>") for entry in entries} == messages
    assert Counter(recipient for recipient, _ in messages) == {ANN: 1, BOB: 1}
    assert [str(entry.state) for entry in entries] == ["sent", "sent"]
    assert not list((home.outbox / "deliveries").iterdir())


# By one command in its own process ---------------------------------------------------------------------------


class Command:
    """`pdk notify -email` in a child process."""

    def __init__(self, step: str | None = None) -> None:
        """`step`: where it dies."""
        beginning, begin = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the mail server's thread stays here
            self.pid = os.fork()
        if not self.pid:
            os.read(beginning, 1)  # not before the other side knows our number
            self._run(step)
        self._begin = begin
        os.close(beginning)

    def _run(self, step):
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(1, 2)
            if step:
                deadly.arm(step)
            main(["notify", "-email", RUN])
        except SystemExit as ended:
            os._exit(ended.code or 0)
        finally:
            os._exit(99)

    def ended(self) -> int:
        """Have it begin, and wait until it ends. Returns the exit status, or the signal's number below nought."""
        os.write(self._begin, b"x")
        os.close(self._begin)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.parametrize(
    ("step", "copies"),
    [
        ("before pdk_pipeline.outbox forget", 0),  # everything is put, nothing is committed
        ("before pdk_pipeline.outbox deliver_here", 0),  # committed
        ("before pdk_pipeline.outbox.delivery attempt", 0),  # leased
        ("before pdk_pipeline.outbox.delivery _begin", 0),  # alone with it
        ("before pdk_pipeline.channels send", 0),  # begun
        ("before pdk_pipeline.channels.smtp _hand_over", 0),  # connected
        ("after pdk_pipeline.channels send", 1),  # the server has it, and nothing on this side says so
        ("after pdk_pipeline.outbox.delivery _end", 0),  # the file says so
        ("after pdk_pipeline.outbox.leases record", 0),  # the database says so, uncommitted
        ("before pdk_pipeline.outbox.delivery _remove_file", 0),  # committed
    ],
)
def test_killed_at_any_step_a_command_that_is_given_again_tells_each_person_once(step, copies, night, server, home):
    night()
    assert Command(step).ended() == -signal.SIGKILL
    assert Command().ended() == 0
    assert_each_was_told_once(server, home)
    # A copy, under the same Message-ID, is there only where that cannot be helped.
    assert len(server.mails) == 2 + copies


@pytest.mark.parametrize(("moment", "copies"), [("on_recipient", 0), ("on_content", 1), ("after_taking", 1)])
def test_killed_in_the_middle_of_the_servers_work_each_person_is_told_once(moment, copies, night, server, home):
    night()
    killed = Command()

    def kill(*_):
        setattr(server, moment, lambda *_: None)
        os.kill(killed.pid, signal.SIGKILL)
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # it does not hear the answer any more

    setattr(server, moment, kill)
    assert killed.ended() == -signal.SIGKILL
    assert Command().ended() == 0
    assert_each_was_told_once(server, home)
    assert len(server.mails) <= 2 + copies  # after_taking it may have heard the answer, and written that down


def test_killed_while_it_writes_files_each_person_has_one_file(night, home, monkeypatch):
    monkeypatch.setenv("PDK_LEASE_SECONDS", "1")
    night()
    for step in ("before os fsync", "after pdk_pipeline.channels send", "after pdk_pipeline.outbox.leases record"):
        assert Command(step).ended() == -signal.SIGKILL
    assert Command().ended() == 0
    assert len(list(home.outbox.glob("*.eml"))) == 2
    assert rows(home, "SELECT state FROM notification") == [("sent",), ("sent",)]


# By workers --------------------------------------------------------------------------------------------------


@pytest.fixture
def work(start, variables):
    """Start a worker on a queue, perhaps one that dies, with all its processes, at a step."""
    started = []

    def work(queue, *, dies="", **more):
        worker = start(
            *CELERY, "worker", f"--queues={queue}", "--concurrency=1", "--without-mingle", "--without-gossip",
            "--include=tests.integration.deadly", "--loglevel=INFO", **variables, **more, DEADLY=dies,
        )  # fmt: skip
        started.append(worker)
        return worker

    yield work
    for worker in started:
        if worker.popen.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)  # a farewell takes seconds


def send(*calls):
    dispatch.send(config.load(), [Call(name, args, name) for name, *args in calls])


def sweep_until_all_are_sent(home):
    """What beat does every minute."""
    deadline = time.monotonic() + 30
    while rows(home, "SELECT count(*) FROM notification WHERE state = 'sent'") != [(2,)]:
        assert time.monotonic() < deadline, rows(home, "SELECT state, detail, attempts FROM notification")
        send(("sweep_outbox",))
        time.sleep(0.2)


def test_workers_deliver_and_the_command_tells_what_became_of_it(night, server, variables, work, pdk):
    night()
    server.on_recipient = {BOB: "550 no such user"}.get
    work(WRITER)
    work(DEFAULT)
    done = pdk("notify", "-email", RUN, **variables)
    assert done.returncode == 1
    assert [line.split()[5] for line in done.stdout.splitlines()[1:]] == ["sent", "refused"]
    assert "550 no such user" in done.stdout
    assert server.recipients == [ANN]


@pytest.mark.parametrize(
    ("queue", "steps"),
    [
        (
            WRITER,
            [
                "before pdk_pipeline.outbox hand_out",  # committed, and nobody told of it
                "after pdk_pipeline.outbox hand_out",  # leased, and nobody told of it
                "before pdk_pipeline.outbox.delivery _remove_file",  # sent and recorded, the task not done
            ],
        ),
        (
            DEFAULT,
            [
                "before pdk_pipeline.channels send",  # with the task in hand
                "after pdk_pipeline.outbox.delivery _end",  # sent, and the writer not told
            ],
        ),
    ],
)
def test_killed_at_any_step_workers_tell_each_person_once(queue, steps, night, server, home, work):
    # Given a night that is to be told, and workers on one queue of which one after the other dies on the way
    night()
    send(("notify", RUN))
    work(DEFAULT if queue == WRITER else WRITER)
    for step in steps:
        victim = work(queue, dies=step)
        while victim.popen.poll() is None:
            send(("sweep_outbox",))
            time.sleep(0.2)
        assert victim.wait() == -signal.SIGKILL
    # When one comes that lives
    work(queue)
    sweep_until_all_are_sent(home)
    # Then each person was told once, and not even a copy was sent: nobody died just when the server had said yes
    assert_each_was_told_once(server, home)
    assert len(server.mails) == 2


def test_a_mail_server_that_is_away_is_tried_by_one_message_and_all_follow_when_it_is_back(night, server, home, work):
    night()
    tries = []

    def on_sender(_):
        tries.append(time.monotonic())
        return "451 the disk is full" if len(tries) < 4 else None

    server.on_sender = on_sender
    send(("notify", RUN))
    work(WRITER, PDK_REDELIVERY_SECONDS="0.3")
    work(DEFAULT)
    sweep_until_all_are_sent(home)
    assert_each_was_told_once(server, home)
    # The first two were under way together; what came then was one alone, and the last two when it had got through.
    assert len(tries) == 5
