"""What can go wrong, done on purpose."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from redis.exceptions import RedisError

from tests.faults.installation import Installation, _kill, children_of, filled
from tests.mail_server import MailServer
from workers.queues import PRIORITY_STEPS, QUEUES

SEPARATOR = "\x06\x16"
LONGEST_SECONDS = 2.0
"""What is held up, full or away is so for this long at most."""


@dataclass
class Faults:
    """Faults of chance in an installation."""

    site: Installation
    chance: random.Random

    def inject(self) -> str | None:
        """One fault. Returns what was done; None when there was nothing to do it to."""
        kinds = list(WEIGHTS)
        kind = self.chance.choices(kinds, [WEIGHTS[kind] for kind in kinds])[0]
        with contextlib.suppress(RedisError, OSError):
            return kind(self)
        return None

    def _seconds(self) -> float:
        return self.chance.uniform(0.1, LONGEST_SECONDS)

    def _kill_part(self, part: str, *, child: bool | None = None) -> str | None:
        main, *children = self.site.processes(part) or [0]
        if not main:
            return None
        is_child = bool(children) and (self.chance.random() < 0.5 if child is None else child)
        _kill(self.chance.choice(children) if is_child else main)
        return f"killed {part}{', its child' if is_child else ''}"

    # Processes ------------------------------------------------------------------------------------------------

    def _wait_until_busy(self, unacked: str) -> None:
        """Most of what can go wrong does so in the middle of something."""
        deadline = time.monotonic() + self.chance.choice([0, 1, 3])
        with self.site.redis() as redis:
            while time.monotonic() < deadline and not redis.hlen(unacked):
                pass
        time.sleep(self.chance.random() ** 3 * 0.1)

    def kill_writer(self) -> str | None:
        self._wait_until_busy("unacked:writer")
        return self._kill_part("writer", child=False)

    def kill_writers_child(self) -> str | None:
        self._wait_until_busy("unacked:writer")
        return self._kill_part("writer", child=True)

    def kill_reader(self) -> str | None:
        """One that reads logs ahead for the writer's child, which lives for a moment only."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            _, *children = self.site.processes("writer") or [0]
            if readers := [pid for child in children for pid in children_of(child)]:
                _kill(self.chance.choice(readers))
                return "killed a reader"
        return None

    def kill_general(self) -> str | None:
        self._wait_until_busy("unacked")
        return self._kill_part("general")

    def kill_intake(self) -> str | None:
        return self._kill_part("intake")

    def kill_beat(self) -> str | None:
        return self._kill_part("beat")

    def kill_broker(self) -> str | None:
        return self._kill_part("broker")

    def kill_everything(self) -> str:
        self.site.kill_all()
        time.sleep(self._seconds() / 2)
        self.site.see_that_it_is_up()
        return "killed everything"

    def kill_up(self) -> str:
        """The supervisor alone: the kernel tells its children to stop."""
        self.site.up.popen.kill()
        time.sleep(self._seconds() / 2)
        self.site.see_that_it_is_up()
        return "killed pdk up"

    def stop_up(self) -> str:
        """As an administrator does it, and starts it again."""
        self.site.up.popen.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.site.up.popen.wait(timeout=20)
        self.site.see_that_it_is_up()
        return "stopped pdk up"

    def kill_command(self) -> str | None:
        given = list(self.site.given)
        if not given:
            return None
        self.chance.choice(given).kill()
        return "killed a command"

    def freeze(self) -> str | None:
        part = self.chance.choice(["writer", "general", "intake", "broker"])
        pids = self.site.processes(part)
        if not pids:
            return None
        for pid in pids:
            _kill(pid, signal.SIGSTOP)
        time.sleep(self._seconds())
        for pid in pids:
            _kill(pid, signal.SIGCONT)
        return f"froze {part}"

    # Messages ---------------------------------------------------------------------------------------------------

    def _queue(self, redis) -> str | None:
        names = [
            f"{queue.name}{SEPARATOR}{step}" if step else queue.name for queue in QUEUES for step in PRIORITY_STEPS
        ]
        filled = [name for name in names if redis.llen(name)]
        return self.chance.choice(filled) if filled else None

    def _catch(self, redis) -> str | None:
        """A queue that something waits in, as soon as there is one."""
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            queue = self._queue(redis)
            if queue:
                return queue
        return None

    def duplicate(self) -> str | None:
        with self.site.redis() as redis:
            queue = self._catch(redis)
            found = queue and redis.lindex(queue, self.chance.randrange(-3, 3) or -1)
            if not found:
                return None
            message = json.loads(found)
            message["properties"]["delivery_tag"] = str(uuid.uuid4())
            redis.lpush(queue, json.dumps(message))
            return f"doubled {message['headers']['task']}"

    def drop(self) -> str | None:
        with self.site.redis() as redis:
            queue = self._catch(redis)
            found = queue and redis.rpop(queue)
            return f"dropped {json.loads(found)['headers']['task']}" if found else None

    def delay(self) -> str | None:
        """Others overtake it."""
        with self.site.redis() as redis:
            queue = self._catch(redis)
            found = queue and redis.rpop(queue)
            if not found:
                return None
            time.sleep(self._seconds())
            redis.lpush(queue, found)
            return f"held up {json.loads(found)['headers']['task']}"

    def drop_in_hand(self) -> str | None:
        """As if a worker had been killed between taking a message out and noting so."""
        with self.site.redis() as redis:
            for name in self.chance.sample(["unacked:writer", "unacked"], 2):
                for tag, found in redis.hscan(name)[1].items():
                    redis.hdel(name, tag)
                    task = json.loads(found)[0]["headers"]["task"]
                    self._kill_part("writer" if "writer" in name else "general", child=False)
                    return f"lost {task} with its worker"
        return None

    def forget(self) -> str:
        """The broker comes back as it was never filled."""
        with self.site.redis() as redis:
            redis.flushall()
        return "emptied the broker"

    # Disk and mail ------------------------------------------------------------------------------------------------

    def fill_disk(self) -> str | None:
        if not self.site.is_small:
            return None
        with filled(self.site.disk, but=self.chance.choice([0, 0, 1, 20, 100]) * 4096):
            time.sleep(self._seconds())
        return "filled the disk"

    def hold_database(self) -> str | None:
        """Somebody has begun to write it by hand, and thinks."""
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(self.site.settings.database, isolation_level=None)) as db,
        ):
            db.execute("BEGIN IMMEDIATE")
            time.sleep(self._seconds())
            db.execute("ROLLBACK")
            return "held the database"
        return None

    def break_mail(self) -> str:
        how = self.chance.choice(list(WAYS_TO_BREAK_MAIL))
        with WAYS_TO_BREAK_MAIL[how](self.site.mail):
            time.sleep(self._seconds())
        heal_mail(self.site.mail)
        return f"the mail server {how}"


def _so(name: str, value: object) -> Callable[[MailServer], AbstractContextManager[object]]:
    """It is so, until it is healed."""

    def make_so(mail: MailServer) -> AbstractContextManager[object]:
        setattr(mail, name, value)
        return contextlib.nullcontext()

    return make_so


WAYS_TO_BREAK_MAIL = {
    "is away": MailServer.away,
    "greets nobody": _so("on_sender", lambda _: "421 going down"),
    "knows nobody just now": _so("on_recipient", lambda _: "450 the mailbox is busy"),
    "talks nonsense": _so("on_recipient", lambda _: "what?"),
    "refuses": _so("on_content", lambda _: "451 try later"),
    "hangs": _so("is_silent", value=True),
    "dawdles": _so("dawdles", value=True),
    "hangs up": _so("hangs_up_in_data", value=True),
    "hangs up instead of yes": _so("hangs_up_instead_of_yes", value=True),
}
"""A refusal for good is not among them: it changes what people are told (see test_delivery)."""


def heal_mail(mail: MailServer) -> None:
    mail.on_content = mail.on_sender = mail.on_recipient = lambda _: None
    mail.is_silent = mail.dawdles = mail.hangs_up_in_data = mail.hangs_up_instead_of_yes = False


WEIGHTS: dict[Callable[[Faults], str | None], int] = {
    Faults.kill_writer: 4,
    Faults.kill_writers_child: 4,
    Faults.kill_reader: 4,
    Faults.kill_general: 3,
    Faults.kill_intake: 3,
    Faults.kill_beat: 1,
    Faults.kill_broker: 3,
    Faults.kill_everything: 1,
    Faults.kill_up: 1,
    Faults.stop_up: 1,
    Faults.kill_command: 2,
    Faults.freeze: 3,
    Faults.delay: 3,
    Faults.duplicate: 4,
    Faults.drop: 4,
    Faults.drop_in_hand: 3,
    Faults.forget: 1,
    Faults.fill_disk: 3,
    Faults.hold_database: 2,
    Faults.break_mail: 5,
}
"""How often each comes."""
