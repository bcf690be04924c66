"""`pdk check`: what it says of results that are called alike, of which an import keeps one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pdk_pipeline.config import Settings
from tests.conftest import log_of, record
from tests.typed import Terminal


@pytest.fixture
def pdk(home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(home, capsys, monkeypatch)


def test_a_result_that_is_called_as_one_before_it_is_told(pdk: Terminal, make_log: Callable[..., Path]):
    # Given a failing test behind a passing one of the same name, among many that look alike
    others = [record(f"flat/test_{number}") for number in range(1000)]
    log = make_log("a.pdklog", record("test_a"), *others, record("test_a", "F"), record("//test_a.log"))
    # Then both that are lost are told, and it is no error
    seen = pdk("check", log)
    assert seen.status == 0
    told = f"pdk: {log}: warning: test_a stands there before, of banana; an import keeps the first"
    assert seen.err.splitlines() == [told, told]
    (found,) = pdk("check", log, "--json").data
    assert (found["results"], found["warnings"]) == (1003, 2)


def test_the_second_run_of_a_log_is_the_same_results_again(pdk: Terminal):
    log = log_of(record("t1"), record("t2")) * 2
    (told,) = pdk("check", "-", "--json", given=log).data
    assert [problem["text"].split()[0] for problem in told["problems"]] == ["t1", "t2"]


@pytest.mark.parametrize(
    "other",
    [{"test_run": "daily_2026-11-24"}, {"project": "flat"}, {"host": "b"}, {"context": "py312"}, {"custom": "blue"}],
)
def test_a_result_of_another_run_or_place_is_another_one(pdk: Terminal, make_log: Callable[..., Path], other):
    log = make_log("a.pdklog", record("t1"), record("t1", **other), record("t1", "F", **other))
    (told,) = pdk("check", "--json", log).data
    assert told["warnings"] == 1


def test_a_missing_result_gives_way_to_the_next_one_and_nothing_is_lost(pdk: Terminal, make_log: Callable[..., Path]):
    (told,) = pdk("check", "--json", make_log("a.pdklog", record("t1", "M"), record("t1", "F"))).data
    assert told["warnings"] == 0
    (told,) = pdk("check", "--json", make_log("b.pdklog", record("t1", "F"), record("t1", "M"))).data
    assert told["warnings"] == 1
