"""The pytest plugin: what it makes of a test session, seen in the log."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from pdk_pipeline.runner import log_writer
from tests.unit.reading import log_text
from tests.unit.sessions import Sessions, logged, statuses

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Sessions:
    return Sessions(pytester, monkeypatch)


# Silence -----------------------------------------------------------------------------------------------------


def test_without_being_asked_for_a_log_the_plugin_does_and_says_nothing(pytester):
    pytester.makepyfile("def test_a(tda, tra): tra['x'] = tda['y'] = 1")
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(passed=1)
    assert "pdk" not in "\n".join(line for line in done.outlines if not line.startswith(("plugins:", "rootdir:")))
    assert sorted(path.name for path in pytester.path.iterdir() if path.suffix not in {"", ".py"}) == []


def test_pytest_finds_the_plugin_by_itself(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    monkeypatch.delenv("PYTEST_ADDOPTS")
    pytester.makepyfile("def test_a(): pass")
    pytester.runpytest_inprocess("--pdk-log=it.pdklog").stdout.fnmatch_lines("*pdk log: *it.pdklog (1 result)*")


def test_to_load_the_plugin_imports_nothing_but_pytest():
    script = (
        "import sys, pytest; before = set(sys.modules); import pdk_pipeline.runner.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pdk_pipeline", "pdk_pipeline.runner", "pdk_pipeline.runner.plugin"]


def test_a_log_that_cannot_be_written_is_told_of_before_any_test_runs(pytester):
    pytester.makepyfile("def test_a(): open('ran', 'w')")
    done = pytester.runpytest_inprocess("--pdk-log=no/such/directory/log")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines("ERROR: --pdk-log: *no/such/directory/log: No such file or directory")
    assert not (pytester.path / "ran").exists()


def test_a_summary_says_where_the_results_are(pytester):
    pytester.makepyfile("def test_a(): pass")
    pytester.runpytest_inprocess("--pdk-log=it.pdklog").stdout.fnmatch_lines("*pdk log: *it.pdklog (1 result)*")


# Outcomes ----------------------------------------------------------------------------------------------------


def test_every_way_that_a_test_can_end_has_its_status(run):
    found = run(
        """
        import pytest

        @pytest.fixture
        def broken(): raise RuntimeError
        @pytest.fixture
        def unclean():
            yield
            raise RuntimeError

        def test_passes(): pass
        def test_fails(): assert 1 == 2
        def test_raises(): {}["a"]
        def test_cannot_be_set_up(broken): pass
        def test_cannot_be_cleared_away(unclean): pass
        def test_fails_and_cannot_be_cleared_away(unclean): assert 0
        @pytest.mark.skip(reason="no detector")
        def test_skipped(): pass
        def test_skips_itself(): pytest.skip("no dark frames")
        @pytest.mark.xfail(reason="ticket 87")
        def test_fails_as_expected(): assert 0
        @pytest.mark.xfail(reason="ticket 87")
        def test_passes_unexpectedly(): pass
        @pytest.mark.xfail(reason="ticket 87", strict=True)
        def test_must_not_pass(): pass
        @pytest.mark.xfail(reason="hangs", run=False)
        def test_expected_to_fail_and_not_run(): pass
        """.replace("\n        ", "\n")
    )
    assert statuses(found) == {
        "test_it/test_passes": "P",
        "test_it/test_fails": "F",
        "test_it/test_raises": "F",
        "test_it/test_cannot_be_set_up": "E",
        "test_it/test_cannot_be_cleared_away": "E",
        "test_it/test_fails_and_cannot_be_cleared_away": "F",
        "test_it/test_skipped": "D",
        "test_it/test_skips_itself": "D",
        "test_it/test_fails_as_expected": "P",
        "test_it/test_passes_unexpectedly": "P",
        "test_it/test_must_not_pass": "F",
        "test_it/test_expected_to_fail_and_not_run": "D",
    }
    told = {name.removeprefix("test_it/"): result.result_attributes for name, result in found.items()}
    assert told["test_skipped"] == {"skip": "no detector"}
    assert told["test_skips_itself"] == {"skip": "no dark frames"}
    assert told["test_fails_as_expected"] == {"xfail": "ticket 87"}
    assert told["test_passes_unexpectedly"] == {"xpass": "ticket 87"}
    assert told["test_expected_to_fail_and_not_run"] == {"xfail": "[NOTRUN] hangs"}
    assert told["test_cannot_be_set_up"] == {"error_in": "setup"}
    assert told["test_fails_and_cannot_be_cleared_away"] == {"error_in": "teardown"}


def test_a_file_that_cannot_be_collected_is_an_error_and_not_silence(run, pytester):
    (pytester.path / "test_good.py").write_text("def test_a(): pass")
    found = run("import no_such_module", "--continue-on-collection-errors", name="flat/test_bad.py")
    assert statuses(found) == {"flat/test_bad": "E", "test_good/test_a": "P"}
    assert "No module named 'no_such_module'" in log_text(found["flat/test_bad"])


def test_a_conftest_that_cannot_be_imported_is_an_error_and_not_silence(run, pytester):
    pytester.makeconftest("import no_such_module")
    found = run("def test_a(): pass")
    assert statuses(found) == {"conftest": "E"}
    assert "no_such_module" in log_text(found["conftest"])


def test_a_file_that_is_skipped_as_a_whole_is_disabled(run):
    found = run("import pytest\npytest.importorskip('no_such_module')")
    assert statuses(found) == {"test_it": "D"}
    assert "no_such_module" in found["test_it"].result_attributes["skip"]


def test_a_breakdown_of_pytest_itself_is_an_error_and_not_silence(run, pytester):
    pytester.makeconftest("def pytest_collection_modifyitems(): raise RuntimeError('a plugin broke')")
    found = run("def test_a(): pass")
    ((name, result),) = found.items()
    assert name.endswith("/internal_error")
    assert result.status == "E"
    assert "a plugin broke" in log_text(result)


def test_files_that_break_pytest_when_they_are_imported_are_errors_of_their_own_names(run):
    run("import sys\nsys.exit(0)", "flat/test_one.py", name="flat/test_one.py")
    found = run("import sys\nsys.exit(0)", "flat/test_two.py", name="flat/test_two.py")
    assert statuses(found) == {"flat/test_one": "E", "flat/test_two": "E"}
    assert found["flat/test_two"].location.endswith("/flat/test_two.py")
    assert "SystemExit" in log_text(found["flat/test_two"])


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="pytest has subtests since 9")
def test_a_test_with_subtests_is_one_result_that_tells_of_each_failed_one(run):
    found = run("""
import unittest
def test_fixture(subtests):
    for number in range(4):
        with subtests.test("exposure", number=number):
            print("looking at", number)
            assert number != 2
class Old(unittest.TestCase):
    def test_unittest(self):
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)
""")
    assert statuses(found) == {"test_it/test_fixture": "F", "test_it/Old/test_unittest": "F"}
    assert found["test_it/test_fixture"].result_attributes == {"subtests_passed": "3", "subtests_failed": "1"}
    assert "Subtest [exposure] number=2:" in log_text(found["test_it/test_fixture"])
    assert "looking at 2" in log_text(found["test_it/test_fixture"])
    assert "Subtest number=1:" in log_text(found["test_it/Old/test_unittest"])


def test_after_the_first_failure_exitfirst_leaves_what_ran(run):
    found = run("def test_a(): pass\ndef test_b(): assert 0\ndef test_c(): pass", "-x")
    assert statuses(found) == {"test_it/test_a": "P", "test_it/test_b": "F"}


def test_ctrl_c_while_a_result_is_written_neither_loses_nor_doubles_it(run, pytester, monkeypatch):
    append = log_writer.append

    def interrupted(*arguments: Any, **named: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        append(*arguments, **named)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(log_writer, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("def test_a(): pass\ndef test_b(): pass")
    assert statuses(logged(pytester.path / "it.pdklog")) == {"test_it/test_a": "P"}


def test_tests_that_are_only_listed_or_set_up_leave_no_results(run, pytester):
    assert run("def test_a(): pass", "--setup-only") == {}
    pytester.runpytest_inprocess("--pdk-log=other", "--collect-only")
    assert not (pytester.path / "other").exists()


# Logs and attributes -----------------------------------------------------------------------------------------


def test_the_log_is_the_traceback_and_what_was_captured(run):
    found = run("""
import logging, sys
def test_a():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    logging.getLogger().warning("to the log")
    assert "x" == "y"
""")
    log = log_text(found["test_it/test_a"])
    assert log.index("AssertionError") < log.index("----\nto stdout") < log.index("----\nto stderr")
    assert "test_it.py:6 to the log" in log


def test_a_log_that_looks_like_the_format_is_read_as_it_was_printed(run):
    found = run(r"""
def test_a():
    print("START\nstatus=F\n\n\nEND\n.dot\n\x00")
""")
    assert set(found) == {"test_it/test_a"}
    printed = "START\nstatus=F\n\n\nEND\n.dot\n\\0\n"
    assert log_text(found["test_it/test_a"]) == f"---- Captured stdout call ----\n{printed}"


def test_attributes_come_from_the_fixtures_and_from_record_property(run):
    found = run("""
def test_a(tda, tra, record_property):
    tda["exposure"] = 30
    tra["mean"] = 1021.7
    tra["two lines"] = "a\\nb"
    record_property("tda_filter", "V")
    record_property("tra_sigma", 0.1)
    record_property("seeing", 1.2)
""")
    result = found["test_it/test_a"]
    assert result.definition_attributes == {"exposure": "30", "filter": "V"}
    assert result.result_attributes == {"mean": "1021.7", "two_lines": "a\nb\n", "sigma": "0.1", "seeing": "1.2"}


def test_an_attribute_of_any_text_leaves_a_record_that_can_be_read(run):
    source = (
        "def test_a(tra): tra.update({'a=b:c': 'x', 'END': '\\nEND\\n', 'bytes': '\\udcff\\0', 'n': None, '': ' '})"
    )
    result = run(source)["test_it/test_a"]
    assert result.result_attributes == {"a_b_c": "x", "end": "\nEND\n", "bytes": r"\xff\0", "n": "None", "": " \n"}


def test_an_attribute_that_utf_8_cannot_write_is_kept_readable(run):
    found = run("def test_a(tra): tra['a'] = 'x\\ud800\\udcff'")
    assert found["test_it/test_a"].result_attributes == {"a": r"x\ud800\udcff"}


def test_the_attributes_of_a_unittest_testcase_are_its_own_tda_and_tra(run):
    found = run("""
import unittest
class Basic(unittest.TestCase):
    def setUp(self):
        self.tda = {"foo": "bar"}
        self.tra = {}
    def test_1(self):
        self.tra["sum"] = 4 + 2
""")
    assert found["test_it/Basic/test_1"].definition_attributes == {"foo": "bar"}
    assert found["test_it/Basic/test_1"].result_attributes == {"sum": "6"}


def test_an_attribute_that_cannot_be_shown_costs_nothing_but_itself(run):
    found = run("""
class Odd:
    def __str__(self): raise RuntimeError
def test_a(tra): tra["odd"] = Odd()
def test_b(): pass
""")
    assert statuses(found) == {"test_it/test_a": "P", "test_it/test_b": "P"}
    assert found["test_it/test_a"].result_attributes == {"odd": "(a Odd that cannot be shown)"}


def test_attributes_stay_with_their_test(run):
    found = run("def test_a(tra): tra['a'] = 1\ndef test_b(tra): tra['b'] = 2\ndef test_c(): pass")
    assert [result.result_attributes for result in found.values()] == [{"a": "1"}, {"b": "2"}, {}]


def test_a_result_knows_its_file_its_runner_and_its_times(run, pytester):
    result = run("import time\ndef test_a(): time.sleep(0.02)")["test_it/test_a"]
    assert result.location == str(pytester.path / "test_it.py")
    assert result.test_runner == "pytest"
    assert 0.02 <= result.end_time - result.start_time < 5


# Where and who -----------------------------------------------------------------------------------------------


def test_the_identity_comes_from_the_options_else_from_the_environment(run, monkeypatch):
    monkeypatch.setenv("PDK_PROJECT", "odyssey")
    monkeypatch.setenv("PDK_CONTEXT", "py311")
    found = run("def test_a(): pass", "--pdk-context=py313", "--pdk-host=hal", "--pdk-custom=blue")
    assert found["test_it/test_a"][:5] == ("night", "odyssey", "hal", "py313", "blue")


def test_the_default_run_is_named_after_user_and_time(pytester, monkeypatch):
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("LOGNAME", "ann")
    pytester.makepyfile("def test_a(): pass")
    pytester.runpytest_inprocess("--pdk-log=it.pdklog")
    (result,) = logged(pytester.path / "it.pdklog").values()
    assert result.test_run.startswith("user_ann_20")
    assert (result.project, result.context) == ("default", "default")


@pytest.mark.parametrize("name", ["daily_latest", "daily_today", "daily_yesterday"])
def test_a_run_that_is_another_one_every_day_is_refused_as_nothing_would_find_it(pytester, name):
    pytester.makepyfile("def test_a(): pass")
    told = pytester.runpytest_inprocess("--pdk-log=it.pdklog", f"--pdk-run={name}")
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    told.stderr.fnmatch_lines(
        [f"ERROR: --pdk-run or PDK_TEST_RUN: the test run {name} is another one every day; say *"]
    )


def test_the_environment_can_ask_for_the_log(pytester, monkeypatch):
    monkeypatch.setenv("PDK_LOG", str(pytester.path / "it.pdklog"))
    monkeypatch.setenv("PDK_TESTRUN", "night")
    pytester.makepyfile("def test_a(): pass")
    pytester.runpytest_inprocess()
    assert [result.test_run for result in logged(pytester.path / "it.pdklog").values()] == ["night"]


def test_a_pytest_that_a_test_starts_does_not_write_into_the_same_log(pytester, monkeypatch):
    monkeypatch.setenv("PDK_LOG", str(pytester.path / "it.pdklog"))
    pytester.makepyfile(
        test_outer="""
        import subprocess, sys
        def test_outer(tmp_path):
            (tmp_path / "test_inner.py").write_text("def test_inner(): pass")
            subprocess.run([sys.executable, "-m", "pytest", str(tmp_path)], check=True)
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)
    assert list(logged(pytester.path / "it.pdklog")) == ["test_outer/test_outer"]


def test_a_child_that_a_test_forks_and_lets_go_writes_nothing(pytester):
    pytester.makepyfile(
        test_it="""
        import os
        def test_forks():
            child = os.fork()
            if child:
                os.waitpid(child, 0)
        def test_after(): pass
        """
    )
    pytester.runpytest_subprocess("--pdk-log=it.pdklog")
    assert list(logged(pytester.path / "it.pdklog")) == ["test_it/test_forks", "test_it/test_after"]


def test_results_that_could_not_be_written_are_written_later(pytester):
    # Given a log whose directory is away while the first test ends
    pytester.makepyfile(
        test_it="""
        import os
        def test_a(): os.rename("logs", "away")
        def test_b(): os.rename("away", "logs")
        """
    )
    (pytester.path / "logs").mkdir()
    done = pytester.runpytest_inprocess("--pdk-log=logs/it.pdklog")
    assert done.ret == 0
    assert list(logged(pytester.path / "logs" / "it.pdklog")) == ["test_it/test_a", "test_it/test_b"]


def test_results_that_could_not_be_written_at_all_fail_the_session(pytester):
    pytester.makepyfile("import os\ndef test_a(): os.rename('logs', 'away')")
    (pytester.path / "logs").mkdir()
    done = pytester.runpytest_inprocess("--pdk-log=logs/it.pdklog")
    assert done.ret == pytest.ExitCode.INTERNAL_ERROR
    done.stdout.fnmatch_lines("pdk: results could not be written: *logs/it.pdklog: No such file or directory")


def test_a_log_that_the_server_takes_away_meanwhile_is_begun_anew(pytester):
    pytester.makepyfile(test_it="import os\ndef test_a(): pass\ndef test_b(): os.rename('it.pdklog', 'taken')")
    pytester.runpytest_inprocess("--pdk-log=it.pdklog")
    assert list(logged(pytester.path / "taken")) == ["test_it/test_a"]
    assert list(logged(pytester.path / "it.pdklog")) == ["test_it/test_b"]
