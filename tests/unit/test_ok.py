"""`pdk ok`: outputs become references."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.machine import needs_permissions
from tests.typed import Terminal


@pytest.fixture
def pdk(home, capsys, monkeypatch) -> Terminal:
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def okfile(tmp_path: Path) -> Callable[[str], Path]:
    """An okfile in t/okfile/, beside outputs t/out/a and t/out/b and a reference t/ref/a."""
    tree = tmp_path / "t"
    for name, text in (("out/a", "new a"), ("out/b", "new b"), ("ref/a", "old a")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)

    def write(text: str) -> Path:
        path = tree / "okfile" / "test_a.okfile"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def state(tree: Path) -> dict[str, str]:
    return {str(path.relative_to(tree)): path.read_text() for path in sorted(tree.rglob("*")) if path.is_file()}


def test_outputs_are_copied_over_their_references_and_listed(pdk, okfile, tmp_path):
    path = okfile("# flats\n../out/a ../ref/a\n\n../out/b ../ref/new/b\n")
    seen = pdk("ok", path, "--json")
    assert seen.status == 0
    tree = tmp_path / "t"
    assert seen.data == [
        {"what": "changed", "output": str(tree / "out/a"), "reference": str(tree / "ref/a")},
        {"what": "new", "output": str(tree / "out/b"), "reference": str(tree / "ref/new/b")},
    ]
    assert state(tree) == {
        "okfile/test_a.okfile": path.read_text(),
        "out/a": "new a", "out/b": "new b", "ref/a": "new a", "ref/new/b": "new b",
    }  # fmt: skip
    assert pdk("ok", path, "--json").data[0]["what"] == "same"


def test_a_dry_run_changes_nothing(pdk, okfile, tmp_path):
    path = okfile("../out/a ../ref/a\n")
    before = state(tmp_path / "t")
    seen = pdk("ok", "--dry-run", path)
    assert seen.status == 0
    assert "would be" in seen.out
    assert "changed" in seen.out
    assert state(tmp_path / "t") == before


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("../out/a ../ref/a\n../out/gone ../ref/b\n", "line 2: there is no output"),
        ("../out/a ../ref/a\nonly_one\n", "line 2: 'only_one'. A line is: output reference"),
        ("../out/a ../ref/a\na b c\n", "line 2: 'a b c'"),
        ("../out/a ../ref/a\n../out/b ../ref/a\n", "would both become"),
        ("../out/a ../ref/a\n../out/b ../ref\n", "is a directory"),
    ],
)
def test_unless_all_can_be_done_nothing_is(pdk, okfile, tmp_path, lines, told):
    path = okfile(lines)
    before = state(tmp_path / "t")
    seen = pdk("ok", path)
    assert seen.status == 1
    assert told in seen.err
    assert state(tmp_path / "t") == before


def test_one_bad_okfile_of_several_changes_nothing(pdk, okfile, tmp_path):
    good = okfile("../out/a ../ref/a\n")
    seen = pdk("ok", good, tmp_path / "gone.okfile")
    assert seen.status == 1
    assert "gone.okfile: No such file or directory" in seen.err
    assert (tmp_path / "t/ref/a").read_text() == "old a"


def test_a_full_disk_in_the_middle_leaves_all_references_as_they_were(pdk, okfile, tmp_path, monkeypatch):
    path = okfile("../out/a ../ref/a\n../out/b ../ref/b\n")
    before = state(tmp_path / "t")
    copy, calls = shutil.copyfileobj, iter([True])

    def copy_until_the_disk_is_full(source: object, target: object) -> None:
        if not next(calls, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", copy_until_the_disk_is_full)
    seen = pdk("ok", path)
    assert (seen.status, "No space left on device" in seen.err) == (1, True)
    assert state(tmp_path / "t") == before


def test_whoever_could_read_a_reference_still_can_and_a_link_stays_one(pdk, okfile, tmp_path):
    reference = tmp_path / "t/ref/a"
    reference.chmod(0o640)
    (tmp_path / "t/ref/link").symlink_to("a")
    (tmp_path / "t/out/a").chmod(0o600)
    assert pdk("ok", okfile("../out/a ../ref/link\n")).status == 0
    assert (tmp_path / "t/ref/link").is_symlink()
    assert reference.read_text() == "new a"
    assert reference.stat().st_mode & 0o777 == 0o640


def test_with_a_tab_between_them_names_may_hold_spaces(pdk, okfile, tmp_path):
    (tmp_path / "t/out/of the day").write_text("spaces")
    assert pdk("ok", okfile("../out/of the day\t../ref/of the day\n")).status == 0
    assert (tmp_path / "t/ref/of the day").read_text() == "spaces"


@needs_permissions
def test_a_reference_that_may_not_be_written_is_told_of_in_one_line(pdk, okfile, tmp_path):
    (tmp_path / "t/ref").chmod(0o500)
    seen = pdk("ok", okfile("../out/a ../ref/a\n"))
    (tmp_path / "t/ref").chmod(0o700)
    assert (seen.status, "Permission denied" in seen.err, seen.err.count("\n")) == (1, True, 1)
