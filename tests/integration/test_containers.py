"""What docker/compose.yaml starts, started here: the commands, the users, the health checks, as they stand there."""

from __future__ import annotations

import shutil
import signal
import urllib.request

import pytest

from tests.conftest import log_of, record
from tests.integration.brokers import needs_openssl
from tests.integration.composed import Composed

pytestmark = needs_openssl

READY = {
    "writer": " ready.",
    "worker": " ready.",
    "intake": " ready.",
    "beat": "beat: Starting",
    "flower": "Connected to",
    "metrics": "http://",
}


@pytest.fixture
def composed(tmp_path):
    started = Composed(tmp_path)
    yield started
    started.stop()


def test_the_services_do_their_work_and_are_seen_to_be_well(composed, tmp_path):
    # Given all services, the broker first
    composed.start("redis").wait_for("Ready to accept connections")
    for name in READY:
        composed.start(name)
    for name, sign in READY.items():
        composed.running[name].wait_for(sign)
    # Then each is well, as far as its health check tells
    for name in composed.services:
        if name == "redis" and not shutil.which("redis-cli"):
            continue
        checked = composed.check_health(name)
        assert checked.returncode == 0, (name, checked.stdout, checked.stderr)
    # When a test machine submits a log, then it is imported and shown
    (tmp_path / "banana").write_text(log_of(record("t1", "F"), record("t2")))
    secrets = tmp_path / "secrets"
    sent = composed.pdk(
        "writer",
        "submit",
        tmp_path / "banana",
        PDK_HOME=str(tmp_path / "test-machine"),
        PDK_BROKER_URL_FILE=str(secrets / ("submit_url" if composed.has_tls else "server_url")),
        PDK_BROKER_CA_FILE=str(secrets / "ca_certificate"),
    )
    assert sent.returncode == 0, sent.stderr
    collected = composed.pdk("writer", "collect")
    assert collected.returncode == 0, collected.stderr
    with urllib.request.urlopen(f"http://127.0.0.1:{composed.ports['9808']}/metrics", timeout=10) as answer:
        assert "pdk_" in answer.read().decode()
    assert "t1" in composed.pdk("worker", "report", "daily_2026-11-23").stdout
    # and who works is known to the monitor's user, who may start nothing
    assert "queue       writer: 0 waiting, writer@" in composed.pdk("metrics", "status").stdout
    assert "The broker does not permit this" in composed.pdk("flower", "initdb").stderr
    # When they are told to stop, then all do
    for name in reversed(list(composed.running)):
        composed.running[name].popen.terminate()
    for name, process in composed.running.items():
        assert process.wait() in (0, -signal.SIGTERM), (name, process.lines)


def test_a_service_that_is_gone_is_not_well(composed):
    composed.start("redis").wait_for("Ready to accept connections")
    for name in ("writer", "beat", "flower"):
        assert composed.check_health(name).returncode != 0, name
