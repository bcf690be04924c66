"""What is wrong with an installation, and what to do about it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from attrs import evolve

from pdk_pipeline import database, doctor, schema
from pdk_pipeline.doctor import State
from pdk_pipeline.intake import spool
from tests.conftest import record
from tests.machine import needs_permissions
from tests.stored import take_in
from tests.typed import Terminal


def findings(home) -> dict[str, tuple[State, str, str]]:
    """The worst finding of each subject."""
    worst: dict[str, tuple[State, str, str]] = {}
    order = list(State)
    for subject, *found in doctor.examine(home):
        if subject not in worst or order.index(found[0]) > order.index(worst[subject][0]):
            worst[subject] = tuple(found)
    return worst


def complaints(home) -> set[str]:
    return {subject for subject, (state, *_) in findings(home).items() if state is not State.GOOD} - {"disk"}


@pytest.fixture
def sound(home, make_log):
    take_in(home, make_log("a", record("t", log="text")))
    spool.prepare(home)
    return home


def test_a_sound_installation_is_called_so_and_not_changed(sound):
    before = {path: path.stat().st_mtime_ns for path in sound.home.rglob("*") if path.suffix != ".db-shm"}
    assert complaints(sound) == set()
    assert findings(sound)["database"][1].endswith("bytes, sound")
    assert {path: path.stat().st_mtime_ns for path in sound.home.rglob("*") if path.suffix != ".db-shm"} == before


def test_what_is_not_there_yet_is_odd_and_not_bad(home):
    (home.home / "pdk.toml").unlink()
    home.home.rmdir()
    found = findings(home)
    assert found["home"] == (State.ODD, f"{home.home} does not exist yet", "`pdk initdb` makes it.")
    assert found["database"][:2] == (State.ODD, f"There is no database yet: {home.database}")
    assert complaints(home) == {"home", "database"}
    assert not home.home.exists()


@needs_permissions
def test_a_home_that_may_not_be_written(sound):
    for mode in (0o500, 0):
        sound.home.chmod(mode)
        found = findings(sound)["home"]
        sound.home.chmod(0o700)
        assert found == (
            State.BAD, f"{sound.home} cannot be written", "Work as its owner, or let PDK_HOME name another place."
        )  # fmt: skip


@needs_permissions
def test_a_part_of_the_spool_that_may_not_be_used(sound):
    for name in spool.DIRECTORIES:
        place = sound.spool / name
        place.chmod(0)
        found = findings(sound)
        place.chmod(0o700)
        assert found["spool"] == (State.BAD, f"{place} cannot be written", "Work as its owner.")


def test_a_file_in_place_of_the_home(home):
    (home.home / "pdk.toml").unlink()
    home.home.rmdir()
    home.home.write_text("")
    assert "home" in complaints(home)


@pytest.mark.parametrize("place", [100, 16384])
def test_a_damaged_database(sound, place):
    content = sound.database.read_bytes()
    sound.database.write_bytes(content[:place] + b"\xff" * 8192 + content[place + 8192 :])
    state, _, advice = findings(sound)["database"]
    assert (state, advice) == (State.BAD, "A backup, or importing archive/ again, brings it back.")


def test_a_large_database_need_not_be_looked_through(sound, monkeypatch, capsys):
    pdk = Terminal(sound, capsys, monkeypatch)
    assert "looking through" not in pdk("doctor").err
    monkeypatch.setattr(doctor, "LARGE_BYTES", 1000)
    assert f"looking through all of {sound.database}" in pdk("doctor").err
    content = sound.database.read_bytes()
    sound.database.write_bytes(content[:16384] + b"\xff" * 8192 + content[24576:])
    assert pdk("doctor").status == 1
    seen = pdk("doctor", "--quick")
    assert (seen.status, seen.err) == (0, "")
    assert "not looked through" in seen.out


def test_a_file_that_is_no_database(sound):
    for name in ("pdk.db-wal", "pdk.db-shm"):
        (sound.home / name).unlink(missing_ok=True)
    sound.database.write_bytes(b"no database" * 1000)
    state, told, advice = findings(sound)["database"]
    assert (state, told) == (
        State.BAD, f"The database cannot be used: {sound.database}: file is not a database"
    )  # fmt: skip
    assert advice == "A backup, or importing archive/ again, brings it back."


def test_a_result_whose_run_is_gone(sound):
    with database.opened(sound) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("DROP TRIGGER run_is_in_use")
        db.execute("DELETE FROM run")
    state, told, _ = findings(sound)["database"]
    assert state is State.BAD
    assert told.endswith("refers to one of run that is gone")


def test_a_database_of_another_version(sound):
    with database.opened(sound) as db:
        db.execute("PRAGMA user_version = 1000")
    assert findings(sound)["database"][::2] == (State.BAD, "Upgrade pdk-pipeline.")


def test_an_older_database(sound, monkeypatch):
    monkeypatch.setattr(schema, "newest_version", lambda: 1000)
    assert findings(sound)["database"][::2] == (State.ODD, "`pdk initdb` brings it up to date.")


def test_little_space(sound, monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_SPACE_BYTES", 1 << 60)
    assert findings(sound)["disk"][0] is State.BAD


def test_a_claimed_log_that_nobody_imports(sound, monkeypatch):
    (sound.spool / "incoming" / "log").touch()
    spool.collect(sound)
    assert "spool" not in complaints(sound)
    now = time.time()
    monkeypatch.setattr(doctor.time, "time", lambda: now + 1300)
    state, told, advice = findings(sound)["spool"]
    assert (state, told) == (State.BAD, "a claimed log has waited for 22 minutes")
    assert "`pdk up` starts one" in advice


def test_something_in_the_quarantine(sound, make_log):
    take_in(sound, make_log("bad", "nonsense\nEND\n", "more\nEND\n"))
    assert findings(sound)["quarantine"][:2] == (State.ODD, "2 records in 1 item")


def test_a_misspelled_variable(sound, monkeypatch):
    monkeypatch.setenv("PDK_TIME_ZONE", "UTC")
    assert findings(sound)["settings"] == (State.ODD, "PDK_TIME_ZONE is no setting", "Did you mean PDK_TIMEZONE?")


def test_the_time_and_its_zone(sound):
    assert findings(sound)["time zone"][1].startswith("UTC; now it is 20")
    machines = evolve(sound, timezone="")
    assert findings(machines)["time zone"][1].startswith("the machine's own; now it is 20")


MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
proc /proc proc rw 0 0
server:/export /data nfs4 rw 0 0
/dev/sdb1 /data/local xfs rw 0 0
server:/odd /odd\040place\134x nfs rw 0 0
half a
/dev/sdc1 /database ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/pdk", "ext4"),
        ("/data/pdk", "nfs4"),
        ("/data", "nfs4"),
        ("/data/local/pdk", "xfs"),
        ("/database/pdk", "ext4"),
        ("/odd place\\x/pdk", "nfs"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path, path, kind):
    (tmp_path / "mounts").write_text(MOUNTS)
    assert doctor.file_system(Path(path), tmp_path / "mounts") == kind


def test_a_network_file_system_is_bad(sound, monkeypatch):
    monkeypatch.setattr(doctor, "file_system", lambda _: "nfs4")
    state, told, advice = findings(sound)["file system"]
    assert (state, told) == (State.BAD, f"{sound.home} is on a network file system (nfs4)")
    assert advice.endswith("put PDK_HOME on a local disk.")


def test_where_no_mounts_are_told_the_file_system_is_unknown(tmp_path):
    assert doctor.file_system(tmp_path, tmp_path / "none") == ""
    assert Path("/proc/mounts").exists() == bool(doctor.file_system(tmp_path))


def test_a_file_server_that_is_not_mounted_is_told_of(sound, capsys, monkeypatch):
    incoming = sound.spool / "incoming"
    incoming.rmdir()
    incoming.symlink_to("/nowhere/logs")
    state, text, _ = findings(sound)["spool"]
    assert state is State.BAD
    assert text == f"{incoming} leads to /nowhere/logs, and there is no directory; is the file server mounted?"
    seen = Terminal(sound, capsys, monkeypatch)("collect")
    assert seen.status == 1
    assert text in seen.err
