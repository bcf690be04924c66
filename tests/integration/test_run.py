"""`pdk run` on small test trees: what is run, what comes of it, what tests are told and can tell."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.processes import PDK
from tests.integration.trees import Tree
from tests.unit.reading import log_text


@pytest.fixture
def tree(tmp_path: Path, environment: dict[str, str]) -> Tree:
    return Tree(tmp_path / "tree", environment)


# What is run, and what comes of it ---------------------------------------------------------------------------


def test_the_script_of_the_manual_works_as_it_stands(tree: Tree):
    # Given a tree with every kind of test, and the manual's lines for a test machine
    tree.grow(
        {
            "flat/test_bias.py": "def test_mean(): pass\nclass TestB:\n    def test_c(self): assert 0\n",
            "flat/deep/x_test.py": "import no_such_module",
            "dark/test_ok.sh": "echo fine",
            "dark/test_bad.sh": "#!/bin/sh\necho wrong; exit 3\n",
            "dark/test_program": "#!/bin/sh\nexit 0\n",
            "dark/helper.sh": "#!/bin/sh\nexit 1\n",
        }
    )
    script = f"""
        hostname=hal
        pdk() {{ {" ".join(f"'{word}'" for word in PDK)} "$@"; }}
        cd {tree.path}
        proj=my_project
        testrun=daily_`date '+%Y-%m-%d'`
        logname={tree.log.parent}/$hostname.$testrun
        pdk run --parallel 4 --log $logname --test_run $testrun --project $proj -r .
    """
    done = subprocess.run(
        ["/bin/sh", "-c", script], env=tree.environment, capture_output=True, text=True, timeout=100, check=False
    )
    # Then the log is where it says, each test is in it, and the exit status says that something failed
    assert done.returncode == 1
    assert done.stderr == ""
    (tree.log,) = tree.log.parent.glob("hal.daily_*")
    found = tree.logged()
    assert {name: result.status for name, result in found.items()} == {
        "dark/test_bad": "F", "dark/test_ok": "P", "dark/test_program": "P",
        "flat/deep/x_test": "E", "flat/test_bias/TestB/test_c": "F", "flat/test_bias/test_mean": "P",
    }  # fmt: skip
    assert {result.project for result in found.values()} == {"my_project"}
    assert {f"hal.{result.test_run}" for result in found.values()} == {tree.log.name}
    assert log_text(found["dark/test_bad"]) == "wrong\n"
    assert found["dark/test_bad"].result_attributes == {"exitcode": "3"}


def test_when_all_pass_or_are_disabled_the_exit_status_is_0(tree: Tree):
    tree.grow({"test_a.sh": "exit 0", "test_b.sh": "exit 1", "test_b.disable": "no detector"})
    ran = tree.run("--json")
    assert ran.status == 0
    assert ran.statuses == {"test_a": "P", "test_b": "D"}
    assert ran.results["test_b"].result_attributes == {"skip": "test_b.disable: no detector"}
    told = json.loads(ran.out)
    assert told["counts"] == {"P": 1, "F": 0, "E": 0, "D": 1}
    assert (told["test_run"], told["log"]) == ("night", str(tree.log))


def test_each_test_of_a_disabled_python_file_is_disabled_in_its_context(tree: Tree):
    tree.grow(
        {
            "test_a.py": "def test_1(): assert 0\ndef test_2(): assert 0\n",
            "test_a.py311.disable": "since Monday\n",
            "test_b.py": "import no_such_module",
            "test_b.py311.disable": "",
        }
    )
    ran = tree.run("--context", "py311", ".")
    assert ran.status == 0
    assert ran.statuses == {"test_a/test_1": "D", "test_a/test_2": "D", "test_b": "D"}
    assert ran.results["test_a/test_1"].result_attributes == {"skip": "test_a.py311.disable: since Monday"}
    assert tree.run("--context", "py313", "test_a.py").status == 1


def test_what_lies_beside_the_tests_does_not_stand_in_for_what_pytest_imports(tree: Tree):
    tree.grow({"pluggy.py": "raise RuntimeError", "test_a.py": "def test_1(): pass\n"})
    assert tree.run().statuses == {"test_a/test_1": "P"}


def test_bytes_of_a_files_name_that_are_no_text_are_recorded_as_the_format_says(tree: Tree):
    tree.grow({"d/" + os.fsdecode(b"test_\xff.py"): "def test_a(): assert 0", os.fsdecode(b"test_p\xfe.sh"): "exit 0"})
    ran = tree.run("-r", ".")
    assert ran.statuses == {"d/test_\\xff/test_a": "F", "test_p\\xfe": "P"}
    assert ran.results["d/test_\\xff/test_a"].location == f"{tree.path}/d/test_\\xff.py"
    assert "d/test_\\xff/test_a" in ran.out


def test_what_the_run_and_the_log_are_called_cannot_steer_the_terminal(tree: Tree):
    tree.grow({"test_a.sh": "exit 0"})
    log = tree.path / os.fsdecode(b"l\x1b\xff")
    ran = tree.run("--test_run", "e\x1b[31mv\ny", "--log", log, ".")
    assert ran.out.splitlines()[-1].startswith("1 result of e\\x1b[31mv\\ny in ")
    assert ran.out.endswith(f"{tree.path}/l\\x1b\\xff\n")


def test_no_tests_at_all_is_an_error_as_nothing_was_tested(tree: Tree):
    ran = tree.run("-r", ".")
    assert ran.status == 1
    assert "no tests in ." in ran.err


def test_results_of_one_name_are_told_of_as_an_import_keeps_only_one(tree: Tree):
    # Given two directories, each of which is where names begin, with a test of the same name
    (tree.path / "pandokia_top").unlink()
    tree.grow({f"{name}/test_x.py": f"def test_a(): assert {name!r} == 'da'" for name in ("da", "db")})
    tree.grow({f"{name}/test_y.sh": "exit 0" for name in ("da", "db")})
    done = subprocess.run(
        tree.command("-r", "da", "db", "--json"), cwd=tree.path, env=tree.environment, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("pdk: 2 results too many of one name, first test_x/test_a: an import keeps only one")
    assert json.loads(done.stdout)["named_alike"] == {"test_x/test_a": 1, "test_y": 1}
    # And even when all have passed it does not look like a run in which all went well
    again = subprocess.run(
        tree.command("da/test_y.sh", "db/test_y.sh"), cwd=tree.path, env=tree.environment, capture_output=True,
        text=True, timeout=100, check=False,
    )  # fmt: skip
    assert again.returncode == 1
    assert "1 result too many of one name, first test_y" in again.stderr
    # When names begin above both, there is nothing to tell
    tree.grow(pandokia_top="")
    tree.log.unlink()
    ran = tree.run("-r", "da", "db")
    assert ran.err == ""
    assert ran.statuses == {"da/test_x/test_a": "P", "da/test_y": "P", "db/test_x/test_a": "F", "db/test_y": "P"}


def test_a_path_that_is_not_there_is_a_mistake_in_the_command(tree: Tree):
    ran = tree.run("-r", "gone")
    assert ran.status == 2
    assert "gone" in ran.err


def test_a_log_that_cannot_be_written_is_told_of_before_any_test_runs(tree: Tree):
    tree.grow({"test_a.sh": "touch $HERE/ran"})
    tree.log = tree.path / "no" / "log"
    ran = tree.run(".")
    assert (ran.status, "No such file or directory" in ran.err) == (1, True)
    assert not (tree.path / "ran").exists()


def test_submitting_without_a_server_is_told_of_before_any_test_runs(tree: Tree):
    tree.grow({"test_a.sh": "touch $HERE/ran"})
    ran = tree.run("--submit", ".")
    assert (ran.status, "PDK_BROKER_URL" in ran.err) == (1, True)
    assert not (tree.path / "ran").exists()


def test_the_log_is_sent_to_the_server_when_all_is_done(tree: Tree, start_worker, broker_url: str):
    tree.grow({"test_a.sh": "exit 0\n", "test_b.sh": "exit 1\n"})
    start_worker("intake")
    ran = tree.run("--submit", ".", PDK_BROKER_URL=broker_url)
    assert "received, 2 results" in ran.out
    assert ran.status == 1
    # When nobody answers, the log stays where it is, and it is said
    tree.log.unlink()
    ran = tree.run("--submit", "test_a.sh", PDK_BROKER_URL="redis://127.0.0.1:1/0")
    assert (ran.status, "127.0.0.1:1" in ran.err, ran.statuses) == (1, True, {"test_a": "P"})


# Side by side ------------------------------------------------------------------------------------------------


def test_directories_run_side_by_side_and_never_two_tests_of_one(tree: Tree):
    # Given tests that fail when another of their directory runs, and that wait for one of the other directory
    alone = "mkdir $HERE/$PDK_DIRECTORY.busy || exit 1; {} rmdir $HERE/$PDK_DIRECTORY.busy\n".replace("$HERE/", "")
    meet = "touch $HERE/{}; while ! [ -e $HERE/{} ]; do sleep 0.01; done;"
    tree.grow(
        {f"a/test_{number}.sh": alone.format("") for number in range(5)}
        | {f"b/test_{number}.sh": alone.format("") for number in range(5)}
        | {"a/test_9.sh": alone.format(meet.format("a9", "b9")), "b/test_9.sh": alone.format(meet.format("b9", "a9"))}
    )
    ran = tree.run("--parallel", 2, "--timeout", 20, "-r", ".")
    assert ran.status == 0
    assert set(ran.statuses.values()) == {"P"}
    assert len(ran.statuses) == 12


# What tests are told, and what they can tell -----------------------------------------------------------------


def test_tests_find_in_their_environment_what_their_directory_and_the_run_say(tree: Tree):
    write = "env | grep -E '^(PDK_|podbay=)' | sort > $HERE/env.$PDK_FILE\n"
    tree.grow(
        {
            "pdk_environment": "[default]\npodbay = $HERE/podbay\n",
            "a/test_1.sh": write,
            "a/test_2.py": f"import os\ndef test_2(): os.system({write!r})\n",
        }
    )
    ran = tree.run("--host", "hal", "--context", "py311", "--project", "calib", "-r", ".", PDK_CUSTOM="blue")
    assert ran.status == 0
    for file in ("test_1.sh", "test_2.py"):
        lines = (tree.path / f"env.{file}").read_text().splitlines()
        told: dict[str, str] = dict(line.split("=", 1) for line in lines)
        log = told.pop("PDK_LOG")
        assert log != str(tree.log)
        told.pop("PDK_INSIDE_PYTEST", None)
        assert told == {
            "PDK_HOME": tree.environment["PDK_HOME"],
            "PDK_TEST_RUN": "night", "PDK_TESTRUN": "night", "PDK_PROJECT": "calib", "PDK_HOST": "hal",
            "PDK_CONTEXT": "py311", "PDK_CUSTOM": "blue", "PDK_PARALLEL": "1", "PDK_PROCESS_SLOT": "0",
            "PDK_TOP": str(tree.path), "PDK_DIRECTORY": str(tree.path / "a"), "PDK_TESTPREFIX": "a/", "PDK_FILE": file,
            "podbay": f"{tree.path}/podbay",
        }  # fmt: skip


def test_variables_stand_in_for_the_options(tree: Tree, pdk):
    tree.grow({"test_a.sh": "exit 0\n"})
    tree.environment |= {"PDK_LOG": str(tree.log), "PDK_PROJECT": "odyssey", "PDK_TEST_RUN": "tonight"}
    done = pdk("run", "tree", **tree.environment, PDK_PARALLEL="3", PDK_TESTPREFIX="calib")
    assert done.returncode == 0
    assert {name: result[:2] for name, result in tree.logged().items()} == {"calib/test_a": ("tonight", "odyssey")}
    assert pdk("run", "tree", **tree.environment, PDK_PARALLEL="many").returncode == 2
    # They are none of the settings, and do not disturb them.
    assert pdk("config", **tree.environment, PDK_PARALLEL="3", PDK_TIMEOUT="5", PDK_CONTEXT="x").returncode == 0


def test_daily_latest_is_todays_run_as_it_is_to_an_import(tree: Tree, pdk):
    tree.grow({"test_a.py": "def test_a(): pass", "test_b.sh": "exit 0"})
    ran = tree.run("--test_run", "daily_latest", ".")
    dated = re.compile(r"daily_\d{4}-\d\d-\d\d")
    assert [bool(dated.fullmatch(result.test_run)) for result in ran.results.values()] == [True, True]
    tree.log.unlink()
    told = pdk("run", "--log", tree.log, "--json", tree.path, PDK_TEST_RUN="daily_today")
    assert dated.fullmatch(json.loads(told.stdout)["test_run"])
    assert tree.run("--test_run", "daily_yesterday", ".").status == 2
    # In a directory's environment nobody can say which day is meant
    tree.log.unlink()
    tree.grow(pdk_environment="[default]\nPDK_TEST_RUN = daily_latest\n")
    done = pdk("run", "--log", tree.log, tree.path)
    assert done.returncode == 1
    assert {result.status for result in tree.logged().values()} == {"E"}
    assert "daily_latest is another one every day" in log_text(tree.logged()["test_b"])


def test_without_names_the_run_is_the_users_and_the_log_lies_where_it_was_started(tree: Tree):
    tree.grow({"test_a.sh": "exit 0\n"})
    done = subprocess.run(
        [*PDK, "run"], cwd=tree.path, env=tree.environment | {"LOGNAME": "ann"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    (tree.log,) = tree.path.glob("PDK_DEFAULT.LOG.*")
    (result,) = tree.logged().values()
    assert re.fullmatch(r"user_ann_\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d", result.test_run)
    assert tree.log.name == f"PDK_DEFAULT.LOG.{result.test_run}"
    assert str(tree.log) in done.stdout


def test_a_program_can_tell_attributes_of_its_test(tree: Tree):
    tree.grow({"test_a.sh": "echo tda__okfile=$PWD/a.okfile >> $PDK_LOG; echo tra_mean=3 >> $PDK_LOG; exit 1\n"})
    result = tree.run(".").results["test_a"]
    assert result.status == "F"
    assert result.definition_attributes == {"_okfile": f"{tree.path}/a.okfile"}
    assert result.result_attributes == {"mean": "3", "exitcode": "1"}


RECORD = 'printf "test_name=%s\\nstatus=%s\\nEND\\n" "${PDK_TESTPREFIX}$1" $2 >> $PDK_LOG'

OWN_RECORDS = {
    "all": ("record one P; record two P", {"one": "P", "two": "P"}),
    "explained": ("record one P; record two F; exit 1", {"one": "P", "two": "F"}),
    "unexplained": ("record one P; exit 1", {"one": "P", "test_own": "F"}),
    "killed": ("record one F; kill -9 $$", {"one": "F", "test_own": "E"}),
    "killed_in_one": (
        "record one P; echo test_name=${PDK_TESTPREFIX}two >> $PDK_LOG; kill -9 $$", {"one": "P", "two": "E"},
    ),
    "unfinished": ("record one P; echo test_name=${PDK_TESTPREFIX}two >> $PDK_LOG", {"one": "P", "two": "E"}),
    "bad": ("record one P; echo nonsense >> $PDK_LOG; record two P", {"one": "P", "test_own": "E"}),
    "nothing_else": ("echo nonsense >> $PDK_LOG", {"test_own": "E"}),
    "removed": ("rm $PDK_LOG", {"test_own": "P"}),
}  # fmt: skip


def test_a_program_can_write_records_of_its_own(tree: Tree):
    tree.grow(
        {f"{case}/test_own.sh": f"record() {{ {RECORD}; }}\n{script}\n" for case, (script, _) in OWN_RECORDS.items()}
    )
    ran = tree.run()
    for case, (_, expected) in OWN_RECORDS.items():
        found = {name.removeprefix(f"{case}/"): s for name, s in ran.statuses.items() if name.startswith(f"{case}/")}
        assert (case, found) == (case, expected)
    assert {result.test_run for result in ran.results.values()} == {"night"}
    for case in ("bad", "nothing_else"):
        assert "nonsense" in log_text(ran.results[f"{case}/test_own"])


def test_a_pytest_that_a_script_starts_adds_its_results_under_the_scripts_directory(tree: Tree):
    tree.grow(
        {
            "a/test_build.sh": "python3 -m pytest -p pdk build/check_it.py\n".replace("python3", PDK[0]),
            "a/build/check_it.py": "def test_1(): pass\n",
        }
    )
    ran = tree.run()
    assert ran.statuses == {"a/build/check_it/test_1": "P"}


def test_a_python_test_may_start_another_pytest_without_a_trace_in_the_log(tree: Tree):
    tree.grow(
        {
            "test_outer.py": (
                "import subprocess, sys\n"
                "def test_outer(tmp_path):\n"
                "    (tmp_path / 'test_inner.py').write_text('def test_inner(): assert 0')\n"
                "    inner = [sys.executable, '-m', 'pytest', '-p', 'pdk', str(tmp_path)]\n"
                "    assert subprocess.run(inner).returncode == 1\n"
            )
        }
    )
    assert tree.run().statuses == {"test_outer/test_outer": "P"}


def test_the_log_of_a_run_can_be_imported_as_it_is(tree: Tree, pdk):
    tree.grow({"a/test_1.py": "def test_a(): assert 0\n", "b/test_2.sh": "exit 0\n"})
    tree.run("--parallel", 2, "-r", ".")
    assert pdk("check", tree.log).returncode == 0
    assert pdk("initdb").returncode == 0
    done = pdk("import", "--json", tree.log)
    assert done.returncode == 0
    assert json.loads(done.stdout)["totals"]["accepted"] == 2


# On a terminal -----------------------------------------------------------------------------------------------


def test_a_terminal_shows_what_runs_and_the_counts_while_it_runs(tree: Tree):
    tree.grow(
        {
            "a/test_1.py": (
                "import os, time, pathlib\ndef test_quick(): pass\ndef test_slow():\n"
                "    while not pathlib.Path(os.environ['HERE'], 'seen').exists(): time.sleep(0.01)\n"
            )
        }
    )
    seen = on_terminal(tree, until=re.compile(r"file 1 of 1 +1 P.*a/test_1/test_slow", re.DOTALL), then="seen")
    assert re.search(r"2 results of night", seen)


def on_terminal(tree: Tree, until: re.Pattern[str], then: str) -> str:
    """Run on a pseudo terminal; when `until` is seen make the file `then`. Returns what was shown, without colours."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        tree.command("-r", "."), cwd=tree.path, env=tree.environment | {"TERM": "xterm", "COLUMNS": "100"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            piece: Any = os.read(ours, 65536)
        except OSError:  # the terminal's other end is closed
            break
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown + piece.decode())
        if until.search(shown):
            (tree.path / then).touch()
    os.close(ours)
    assert process.wait(60) == 0
    assert until.search(shown)
    return shown
