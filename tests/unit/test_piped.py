"""Logs that come through a pipe: they lie in the spool with the options of their import, whoever takes them then."""

from __future__ import annotations

import os
import subprocess

import pytest
from attrs import evolve

from pdk_pipeline.config import Settings
from pdk_pipeline.intake import importing, spool
from tests.conftest import record, rows
from tests.integration.processes import PDK
from tests.stored import import_claimed
from tests.typed import Terminal

NO_HOST = "test_run=daily_2026-11-23\nproject=p\ntest_name=t\nstatus=P\nEND\n"


@pytest.fixture
def pdk(home: Settings, capsys, monkeypatch) -> Terminal:
    return Terminal(home, capsys, monkeypatch)


def hosts(home: Settings) -> list[tuple]:
    return rows(home, "SELECT host, test_name FROM result_scalar ORDER BY host")


def test_a_piped_log_that_found_no_broker_keeps_its_options(home: Settings):
    environment = os.environ | {"PDK_HOME": str(home.home), "PDK_BROKER_URL": "redis://127.0.0.1:1/0"}
    command = [*PDK, "import", "--host=banana", "-"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=NO_HOST, env=environment)
    assert done.returncode == 1
    assert "what was piped is kept in the spool, with its options" in done.stderr
    ((claim, _),) = spool.claims(home)
    assert import_claimed(home, claim).accepted == 1
    assert hosts(home) == [("banana", "t")]
    assert list((home.spool / "processing").iterdir()) == []


def test_a_batch_of_claims_is_imported_each_with_its_own_options(home: Settings):
    settings = evolve(home, settle_seconds=0)
    spool.prepare(home)
    (home.spool / "incoming" / "plain").write_text(NO_HOST)
    large = b"#" * (9 << 20) + b"\n"  # so much that they would be read ahead
    claims = [claim for claim, _ in spool.collect(settings).claims]
    claims += [
        spool.put_claimed(home, "piped", [NO_HOST.encode(), large], {"defaults": {"host": host}})
        for host in ("banana", "cherry")
    ]
    told = importing.import_claims(home, claims)
    assert [one.accepted for one in told] == [1, 1, 1]
    assert [host for host, _ in hosts(home)] == ["banana", "cherry", "unknown"]


def test_what_an_import_left_of_a_claim_when_it_was_killed_is_tidied_away(home: Settings, monkeypatch):
    claim = spool.put_claimed(home, "piped", [NO_HOST.encode()], {"defaults": {"host": "banana"}})

    def killed(_place):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(spool, "_remove", killed)
        with pytest.raises(KeyboardInterrupt):
            import_claimed(home, claim)
    assert spool.claims(home) == []
    place = home.spool / "processing" / claim
    os.utime(place, (0, 0))
    assert spool.collect(home).claims == []
    assert not place.exists()


@pytest.mark.parametrize("path", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_file_that_the_shell_has_opened_is_read_by_the_command_itself(home: Settings, make_log, path):
    log = make_log("a.pdklog", record("t1"))
    with log.open("rb") as file:
        command = [*PDK, "import", "--local", path.format(file.fileno())]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, pass_fds=[file.fileno()],
            env=os.environ | {"PDK_HOME": str(home.home)},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows(home, "SELECT test_name FROM result_scalar") == [("t1",)]


def test_daily_latest_is_todays_run_here_too(pdk: Terminal):
    assert (
        pdk("import", "--test_run=daily_latest", "--project=p", "-", given="test_name=t\nstatus=P\nEND\n").status == 0
    )
    assert pdk("run-info", "daily_latest").status == 0
    seen = pdk("import", "--test_run=daily_yesterday", "-", given=NO_HOST)
    assert seen.status == 2
    assert "daily_yesterday is another run every day; say which by its date" in seen.err


def test_why_a_file_cannot_be_found_is_said(pdk: Terminal, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    seen = pdk("import", tmp_path / "loop", tmp_path / "none")
    assert seen.status == 1
    assert f"{tmp_path}/loop: Too many levels of symbolic links" in seen.err
    assert f"{tmp_path}/none: there is no such file" in seen.err
