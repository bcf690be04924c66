"""What `pdk import --archive` moves and what it leaves, and that no copy is ever the last one removed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from pdk_pipeline.intake import importing
from pdk_pipeline.intake.deliveries import Options
from tests.conftest import record
from tests.stored import spooled, take_in
from tests.typed import Terminal


@pytest.fixture
def pdk(home: Settings, capsys, monkeypatch) -> Terminal:
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def archived(home: Settings, make_log) -> Path:
    """A log in today's directory of the archive."""
    return Path(take_in(home, make_log("a.pdklog", record()), archive=True).archived_as)


def test_a_log_of_the_archive_that_is_imported_and_archived_again_stays_in_it(pdk: Terminal, archived: Path):
    text = archived.read_text()
    assert pdk("import", "--archive", archived).status == 0
    assert archived.read_text() == text
    assert list(spooled(pdk.home)) == [str(archived.relative_to(pdk.home.spool))]


def test_it_keeps_the_day_of_its_first_import(home: Settings, archived: Path):
    then = archived.parents[3] / "2025" / "01" / "02" / archived.name
    then.parent.mkdir(parents=True)
    archived.rename(then)
    assert take_in(home, then, archive=True).archived_as == str(then)
    assert then.exists()


def test_it_stays_by_whatever_name_the_archive_is_reached(home: Settings, archived: Path, tmp_path: Path):
    (tmp_path / "link").symlink_to(archived.parent)
    take_in(home, tmp_path / "link" / archived.name, archive=True)
    assert archived.exists()


def test_it_stays_when_the_directory_has_two_names_that_cannot_be_told_apart(
    home: Settings, archived: Path, monkeypatch
):
    # As where a directory is mounted in two places.
    monkeypatch.setattr(Path, "is_relative_to", lambda *_: False)
    take_in(home, archived, archive=True)
    assert archived.exists()


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_what_may_not_be_removed_is_imported_and_told_and_leaves_no_copy(
    pdk: Terminal, make_log, monkeypatch, is_elsewhere
):
    log = make_log("a.pdklog", record("t1"))
    if is_elsewhere:
        # As from another file system: a copy is made first.
        monkeypatch.setattr("os.link", _is_elsewhere(log))
    real = Path.unlink

    def unlink(path: Path, *args, **kwargs):
        if path == log:
            raise PermissionError(1, "Operation not permitted")
        real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "unlink", unlink)
    for _ in range(2):
        seen = pdk("import", "--archive", "--local", log)
        assert seen.status == 1
        assert "it is imported, and stays where it is: Operation not permitted" in seen.err
        assert "a.pdklog" in seen.out
        assert log.exists()
        assert spooled(pdk.home) == {}


def _is_elsewhere(log: Path):
    def link(_source, target, **_how):
        shutil.copy2(log, target)

    return link


def test_a_copy_that_a_full_disk_cuts_off_is_not_left_in_the_archive(home: Settings, make_log, tmp_path, monkeypatch):
    # A link is copied, as what lies on another file system is.
    (tmp_path / "link").symlink_to(make_log("a.pdklog", record("t1")))

    def copy(_source, target):
        Path(target).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copy2", copy)
    outcome = take_in(home, tmp_path / "link", archive=True)
    assert outcome.messages == ["it is imported, and stays where it is: No space left on device"]
    assert [path for path in (home.spool / "archive").rglob("*") if path.is_file()] == []


def test_a_log_that_has_changed_since_is_told_of_and_not_archived(home: Settings, make_log, monkeypatch):
    log = make_log("a.pdklog", record("t1"))
    taken = importing.take_in

    def take_in_and_change(*args):
        outcome = taken(*args)
        log.write_text("another night")
        return outcome

    monkeypatch.setattr(importing, "take_in", take_in_and_change)
    (told,) = importing.import_files(home, [(log, "d")], Options(), is_to_archive=True)
    assert told.messages == ["not archived: it has changed since it was read"]
    assert log.read_text() == "another night"
