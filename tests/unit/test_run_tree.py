"""Which files are tests, and what they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pdk_pipeline import contacts
from pdk_pipeline.runner import naming, tree
from pdk_pipeline.runner.tree import Folder, Kind

Grow = Callable[..., Path]


@pytest.fixture
def grow(tmp_path: Path) -> Grow:
    """Make files beneath a directory `t`; those whose names end in `*` can be executed."""

    def grow(*names: str) -> Path:
        for name in names:
            path = tmp_path / "t" / name.rstrip("*")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
            path.chmod(0o755 if name.endswith("*") else 0o644)
        return tmp_path / "t"

    return grow


def found(*paths: Path, is_recursive: bool = True, **how: object) -> list[str]:
    folders = tree.find(paths, is_recursive=is_recursive, **how)
    return [f"{folder.prefix}{suite.name}" for folder in folders for suite in folder.suites]


def test_python_files_scripts_and_executables_named_test_are_tests(grow):
    top = grow(
        "test_a.py", "testing.py", "b_test.py", "a.py", "conftest.py", "pytest.ini", "test_c.sh", "test_d*", "e*",
        "test_f", "test.csh*", "test_g.txt*", "test_h.sh~*", "test_i.disable", "test_j.so*", "test_k.pl*",
    )  # fmt: skip
    assert found(top) == ["b_test", "test", "test_a", "test_c", "test_d", "test_k.pl", "testing"]


def test_python_is_for_pytest_and_the_rest_are_programs(grow):
    (folder,) = tree.find([grow("test_a.py*", "test_b.sh", "test_c*")], is_recursive=False)
    assert [suite.kind for suite in folder.suites] == [Kind.PYTEST, Kind.PROGRAM, Kind.PROGRAM]


def test_names_begin_at_the_nearest_top_above(grow):
    top = grow("pandokia_top", "a/test_1.py", "a/b/test_2.py", "a/inner/pandokia_top", "a/inner/c/test_3.sh")
    assert found(top) == ["a/test_1", "a/b/test_2", "c/test_3"]
    assert found(top / "a" / "b") == ["a/b/test_2"]


def test_without_a_top_names_begin_where_the_search_does(grow):
    top = grow("a/b/test_2.py")
    assert found(top) == ["a/b/test_2"]
    assert found(top / "a") == ["b/test_2"]


def test_the_mark_of_the_top_is_the_one_that_contacts_know():
    assert naming.TOP_FILE == contacts.TOP_FILE


def test_directories_that_hold_no_tests_of_ours_are_left_out(grow):
    top = grow(
        ".git/test_1.py", "__pycache__/test_1.py", "CVS/test_1.py", "tmp/test_1.py", "env/pyvenv.cfg", "env/test_1.py",
        "off/pandokia_never_recurse", "off/deep/test_1.py", "slow/test_1.py", "a/b/test_1.py", "a/c/test_1.py",
    )  # fmt: skip
    assert found(top) == ["a/b/test_1", "a/c/test_1", "slow/test_1"]
    assert found(top, exclude=["slow", "a/c/"]) == ["a/b/test_1"]
    assert found(top, exclude=["a*"]) == ["slow/test_1"]


def test_a_directory_that_is_named_is_taken_whatever_it_is_called(grow):
    assert found(grow("tmp/test_1.py") / "tmp") == ["test_1"]


def test_without_recursion_a_directory_is_its_own_tests(grow):
    assert found(grow("test_1.py", "a/test_2.py"), is_recursive=False) == ["test_1"]


def test_what_is_named_twice_is_run_once(grow):
    top = grow("a/test_1.py", "a/test_2.py")
    (top / "link").symlink_to(top / "a")
    folders: list[Folder] = tree.find([top, top / "a", top / "a" / "test_1.py", top / "link"], is_recursive=True)
    assert [folder.path for folder in folders] == [top / "a"]
    assert [suite.name for suite in folders[0].suites] == ["test_1", "test_2"]


def test_links_to_directories_are_not_followed(grow):
    top = grow("a/test_1.py")
    (top / "a" / "loop").symlink_to(top)
    assert found(top) == ["a/test_1"]


def test_tests_that_would_be_called_alike_keep_the_ends_of_their_names(grow):
    assert found(grow("test_a.py", "test_a.sh", "test_b.sh", "test_b*", "test_c.sh")) == [
        "test_a", "test_a.sh", "test_b", "test_b.sh", "test_c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "context", "is_disabled"),
    [
        ("test_a.disable", "default", True),
        ("test_a.py.disable", "default", True),
        ("test_a.py311.disable", "py311", True),
        ("test_a.py311.disable", "default", False),
        ("test_ab.disable", "default", False),
    ],
)
def test_a_file_beside_it_disables_a_test_everywhere_or_in_one_context(grow, file, context, is_disabled):
    top = grow("test_a.py", file)
    (folder,) = tree.find([top], is_recursive=False)
    by = tree.disabled_by(folder.suites[0], context)
    assert by == (top / file if is_disabled else None)


def test_a_file_that_is_named_is_run_even_when_it_is_disabled(grow):
    top = grow("test_a.py", "test_a.disable")
    (folder,) = tree.find([top, top / "test_a.py"], is_recursive=True)
    assert tree.disabled_by(folder.suites[0], "default") is None


def test_any_file_can_be_named(grow):
    top = grow("check_it*", "look.py")
    assert found(top / "check_it", top / "look.py") == ["check_it", "look"]
