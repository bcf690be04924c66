"""Secrets are used and never told: not in a log, a result, an argument, a page, an error, a list of settings."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from tests.conftest import log_of, record
from tests.integration.brokers import Broker
from tests.integration.processes import Background
from tests.mail_server import MailServer
from workers import broker, health

BROKER_PASSWORD = "br0ker-s3cret"
MAIL_PASSWORD = "m4il-s3cret"
FLOWER_PASSWORD = "fl0wer-s3cret"
TOKEN = "t0ken-s3cret"
SECRETS = (BROKER_PASSWORD, MAIL_PASSWORD, FLOWER_PASSWORD, TOKEN)
RUN = "daily_2026-11-23"

COMMANDS = [
    ("config",), ("config", "--json"), ("doctor",), ("status",), ("status", "--json"), ("outbox", "list"),
    ("outbox", "list", "--json"), ("outbox", "show", "1"), ("outbox", "show", "2"), ("subscriptions",),
    ("nights",), ("runs", "--json"),
]  # fmt: skip


def told(secret: str, text: str | bytes) -> bool:
    text = text.encode() if isinstance(text, str) else text
    return any(form.encode() in text for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("=")))


class Site:
    """A `pdk up` with a secret wherever there can be one, in which things also go wrong."""

    def __init__(self, pdk, home: Settings, server: Broker, mail: MailServer) -> None:
        self.pdk = pdk
        self.home = home
        self.server = server
        self.mail = mail
        self.up: Background
        self.said: dict[str, str] = {}
        """What each command said."""

    def give(self, *words: object, **options) -> None:
        done = self.pdk(*words, **options)
        self.said[" ".join(map(str, words))] = done.stdout + done.stderr

    @property
    def flower(self) -> str:
        return broker.holder(self.home)["flower"]


@pytest.fixture
def site(home: Settings, start_up, pdk, tmp_path, make_log):
    server = Broker(tmp_path / "broker", "--requirepass", BROKER_PASSWORD)
    secrets = {
        "PDK_BROKER_URL": f"redis://:{BROKER_PASSWORD}@127.0.0.1:{server.port}/0",
        "PDK_SMTP_PASSWORD": MAIL_PASSWORD,
        "PDK_FLOWER_BASIC_AUTH": f"anna:{FLOWER_PASSWORD}",
    }
    options = {
        "PDK_SMTP_HOST": "127.0.0.1",
        "PDK_SMTP_SECURITY": "tls",
        "PDK_SMTP_USER": "pdk",
        "PDK_LOG_LEVEL": "DEBUG",
    }
    try:
        with MailServer() as mail:
            # It speaks no TLS: sending fails, and that is told of.
            environment = secrets | options | {"PDK_SMTP_PORT": str(mail.port), "PDK_REDELIVERY_SECONDS": "0.1"}

            def command(*words, **more):
                return pdk(*words, **(environment | more))

            site = Site(command, home, server, mail)
            site.up = start_up("--flower", **environment)
            site.give("import", "-", input=log_of(record("t1", "F")))
            site.give("subscribe", "ann@example.org")
            site.give("subscribe", f"json://user:{TOKEN}@127.0.0.1:1/{TOKEN}?+key={TOKEN}")
            site.give("subscribe", f"no-such-service://{TOKEN}")
            site.give("notify", "-email", RUN)
            for words in COMMANDS:
                site.give(*words)
            wrong = f"redis://:wrong-{BROKER_PASSWORD}@127.0.0.1:{server.port}/0"
            site.give("runs", PDK_BROKER_URL=wrong)
            site.give("import", make_log("b.pdklog", record("t2")), PDK_BROKER_URL=wrong)
            site.give("doctor", PDK_BROKER_URL=wrong)
            site.give("submit", make_log("c.pdklog", record("t3")), PDK_BROKER_URL=wrong)
            site.give("config", PDK_BROKER_URL=f"amqp://:{BROKER_PASSWORD}@x/")
            site.give("config", PDK_FLOWER_BASIC_AUTH=FLOWER_PASSWORD)
            (tmp_path / "empty").touch()
            site.give("config", PDK_SMTP_PASSWORD="", PDK_SMTP_PASSWORD_FILE=str(tmp_path / "empty"))
            yield site
    finally:
        server.stop()


def content(redis, key: str) -> str:
    """What is kept in the broker under a key, of whatever type."""
    readers = {
        "string": redis.get,
        "list": lambda name: redis.lrange(name, 0, -1),
        "hash": redis.hgetall,
        "set": redis.smembers,
        "zset": lambda name: redis.zrange(name, 0, -1),
    }
    return str(readers[redis.type(key)](key))


def pages(flower: str):
    """What Flower shows to whoever has its password, by path."""
    authorization = base64.b64encode(f"anna:{FLOWER_PASSWORD}".encode()).decode()
    tasks = json.loads(_page(flower, "/api/tasks", authorization))
    for path in ("/", "/tasks", "/workers", "/broker", "/api/workers?refresh=1", "/api/tasks", "/metrics"):
        yield path, _page(flower, path, authorization)
    for task in tasks:
        yield f"/task/{task}", _page(flower, f"/task/{task}", authorization)
    for worker in json.loads(_page(flower, "/api/workers", authorization)):
        yield f"/worker/{worker}", _page(flower, f"/worker/{worker}", authorization)


def _page(flower: str, path: str, authorization: str) -> bytes:
    request = urllib.request.Request(f"{flower}{path}", headers={"Authorization": f"Basic {authorization}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def test_no_secret_is_told_anywhere(site, home: Settings):
    places: dict[str, str | bytes] = {f"pdk {words}": said for words, said in site.said.items()}
    # (things did go wrong: a mail server that speaks no TLS, a service that does not answer)
    assert "json://…" in site.said[f"notify -email {RUN}"]
    # In the logs, and in what everybody on the machine sees of the processes
    for path in (home.run_directory / "logs").iterdir():
        places[str(path)] = path.read_bytes()
    for pid in [site.up.pid, *site.up.children()]:
        places[f"command of {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
    # In the broker, where the subscription's own task is gone by now
    with health.client(f"redis://:{BROKER_PASSWORD}@127.0.0.1:{site.server.port}/0") as redis:
        places |= {f"{key} in the broker": content(redis, key) for key in redis.scan_iter()}
    # In Flower and its API, for those who may look; nobody else sees anything
    places |= dict(pages(site.flower))
    for path in ("/", "/tasks", "/api/tasks", "/api/workers"):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            _page(site.flower, path, "")
    leaks = [(secret, place) for place, text in places.items() for secret in SECRETS if told(secret, text)]
    assert leaks == []
    assert len(places) > 30


def test_a_secret_that_lies_where_everybody_may_read_it_is_told_of(pdk, home: Settings):
    # Given a password in the settings themselves, and a service's address in the database
    home.home.chmod(0o755)
    settings = home.home / "pdk.toml"
    settings.write_text(settings.read_text() + f'smtp_password = "{MAIL_PASSWORD}"\n')
    assert pdk("subscribe", f"json://user:{TOKEN}@127.0.0.1:1/").returncode == 0
    for path in (settings, home.database):
        path.chmod(0o644)
    told = pdk("doctor").stdout
    assert f"{settings} holds a password, and everybody may read it" in told
    assert f"{home.database} holds the tokens of services, and everybody may read it" in told
    # When they are closed, there is nothing to tell
    for path in (settings, home.database):
        path.chmod(0o640)
    assert "everybody" not in pdk("doctor").stdout
