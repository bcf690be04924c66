"""The names that the pytest plugin gives to tests."""

from __future__ import annotations

import pytest

from tests.unit.sessions import Sessions

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    return Sessions(pytester, monkeypatch)


def test_names_are_those_of_directory_file_class_and_test(run):
    found = run("class TestA:\n class TestB:\n  def test_c(self): pass\n", name="flat/bias/test_it.py")
    assert list(found) == ["flat/bias/test_it/TestA/TestB/test_c"]


def test_names_begin_at_the_top_of_the_test_tree(run, pytester):
    (pytester.path / "deep" / "tree").mkdir(parents=True)
    (pytester.path / "deep" / "pandokia_top").touch()
    assert list(run("def test_a(): pass", name="deep/tree/test_it.py")) == ["tree/test_it/test_a"]


def test_a_top_and_a_prefix_can_be_given(run):
    found = run("def test_a(): pass", "--pdk-top=flat", "--pdk-prefix=calib", name="flat/bias/test_it.py")
    assert list(found) == ["calib/bias/test_it/test_a"]


def test_names_hold_no_addresses_and_no_two_tests_are_named_alike(run):
    found = run("""
import pytest
@pytest.mark.parametrize("value", [object(), object(), "a b", "a_b", "x::y", "p/q", len], ids=repr)
def test_a(value): pass
""")
    assert list(found) == [
        "test_it/test_a[<object_object>]",
        "test_it/test_a[<object_object>]~2",
        "test_it/test_a['a_b']",
        "test_it/test_a['a_b']~2",
        "test_it/test_a['x::y']",
        "test_it/test_a['p/q']",
        "test_it/test_a[<built-in_function_len>]",
    ]


def test_names_do_not_change_when_other_tests_are_left_out(run):
    source = "import pytest\n@pytest.mark.parametrize('v', ['a b', 'a_b'])\ndef test_a(v): pass"
    assert list(run(source, "-k", "a_b")) == ["test_it/test_a[a_b]~2"]
