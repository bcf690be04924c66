"""An incoming/ that is a link to another file system, as a file server's directory is."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from tests.conftest import log_of, record, rows
from tests.stored import import_claimed

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def elsewhere(home: Settings):
    """A directory on another file system, to which incoming/ of the home leads."""
    if not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == home.home.stat().st_dev:
        pytest.skip("there is no second file system here")
    directory = Path(tempfile.mkdtemp(dir=SHARED_MEMORY, prefix="pdk-test-"))
    home.spool.mkdir(parents=True)
    (home.spool / "incoming").symlink_to(directory)
    yield directory
    shutil.rmtree(directory)


def test_a_log_is_taken_from_there_imported_and_archived(home: Settings, elsewhere):
    (elsewhere / "banana").write_text(log_of(record("t1")))
    ((claim, name),) = spool.collect(home).claims
    assert name == "banana"
    assert list(elsewhere.iterdir()) == []
    outcome = import_claimed(home, claim)
    assert Path(outcome.archived_as).read_text() == log_of(record("t1"))
    assert list((home.spool / "processing").iterdir()) == []


def test_a_log_that_a_killed_sweep_left_there_is_imported_once(home: Settings, elsewhere, monkeypatch):
    # Given a sweep that was killed when the log was claimed and not yet removed there
    (elsewhere / "banana").write_text(log_of(record("t1")))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", _killed)
        with pytest.raises(KeyboardInterrupt):
            spool.collect(home)
    # When there are sweeps again, before and after its import
    ((claim, _),) = spool.collect(home).claims
    assert import_claimed(home, claim).accepted == 1
    for again, _ in spool.collect(home).claims:
        import_claimed(home, again)
    # Then it is imported once, and nowhere any more
    assert rows(home, "SELECT count(*) FROM import_file") == [(1,)]
    assert list(elsewhere.iterdir()) == list((home.spool / "processing").iterdir()) == []


def test_a_log_that_may_not_be_removed_there_is_told_of_and_copied_by_no_sweep(home: Settings, elsewhere, monkeypatch):
    log = elsewhere / "banana"
    log.write_text(log_of(record("t1")))
    real = Path.unlink

    def unlink(path: Path, *args, **kwargs):
        if path.name == log.name and path.parent.name == "incoming":
            raise PermissionError(1, "Operation not permitted")
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)
    for _ in range(3):
        collected = spool.collect(home)
        assert collected.claims == []
        assert collected.left == [f"{home.spool}/incoming/banana: Operation not permitted"]
        assert list((home.spool / "processing").iterdir()) == []


def _killed(*_, **__):
    raise KeyboardInterrupt


def test_a_log_that_grows_while_it_is_copied_waits_for_the_next_sweep(home: Settings, elsewhere, monkeypatch):
    log = elsewhere / "banana"
    log.write_text(log_of(record("t1")))
    original = Path.open

    def growing_open(path, *args, **kwargs):
        opened = original(path, *args, **kwargs)
        if path.name == log.name and args == ("rb",):
            with original(path, "a") as file:
                file.write(record("t2"))
        return opened

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", growing_open)
        collected = spool.collect(home)
    assert collected.claims == []
    assert collected.left == [f"{home.spool}/incoming/banana: it has changed while it was copied"]
    ((claim, _),) = spool.collect(home).claims
    assert import_claimed(home, claim).accepted == 2
