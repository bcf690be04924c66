"""`pdk run` when tests die, hang, or it is itself stopped or killed: nothing ends in silence."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.trees import Tree
from tests.unit.reading import log_text


@pytest.fixture
def tree(tmp_path: Path, environment: dict[str, str]) -> Tree:
    return Tree(tmp_path / "tree", environment)


def test_whatever_a_test_does_to_its_process_leaves_a_result(tree: Tree):
    tree.grow(
        {
            "test_exit.py": "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)\ndef test_c(): pass\n",
            "test_kill.py": "import os\ndef test_d():\n    print('here', flush=True)\n    os.kill(os.getpid(), 9)\n",
            "test_import.py": "import os\nos._exit(0)\n",
            "test_quit.py": "import pytest\npytest.exit('enough')\n",
            "conf/conftest.py": "import no_such_module",
            "conf/test_conf.py": "def test_e(): pass\n",
            "test_segv.sh": "#!/bin/sh\necho last words; kill -SEGV $$\n",
            "test_shell_says.sh": "sh -c 'kill -9 $$'\n",
            "test_gone": "#!/no/such/interpreter\n",
            "test_none.py": "def not_a_test(): pass\n",
        }
    )
    ran = tree.run()
    assert ran.status == 1
    assert ran.statuses == {
        "test_exit/test_a": "P", "test_exit/test_b": "E", "test_kill/test_d": "E", "test_import": "E",
        "test_quit": "E", "conf/test_conf": "E", "test_segv": "E", "test_shell_says": "E", "test_gone": "E",
    }  # fmt: skip
    assert "killed by SIGKILL" in log_text(ran.results["test_kill/test_d"])
    assert ran.results["test_kill/test_d"].result_attributes == {"signal": "9"}
    assert "no_such_module" in log_text(ran.results["conf/test_conf"])
    assert "last words" in log_text(ran.results["test_segv"])
    assert "cannot be started" in log_text(ran.results["test_gone"])
    assert ran.results["test_shell_says"].result_attributes == {"exitcode": "137"}


def test_a_time_limit_ends_all_that_a_file_has_started_and_keeps_what_was_printed(tree: Tree):
    # Given a Python test and a script that hang, the script with a child, each with a limit of their directory
    tree.grow(
        {
            "py/test_hang.py": (
                "import time\ndef test_a(): pass\ndef test_b():\n    print('so far')\n    time.sleep(600)\n"
            ),
            "sh/test_hang.sh": "echo so far; (trap '' TERM; exec sleep 600) & echo $! > $HERE/child; sleep 600\n",
            "sh/pdk_environment": "[default]\nPDK_TIMEOUT = 0.5\n",
            "pdk_environment": "[default]\nPDK_TIMEOUT = 4\n",
        }
    )
    began = time.monotonic()
    ran = tree.run("--parallel", 2, "-r", ".")
    assert time.monotonic() - began < 30
    assert ran.statuses == {"py/test_hang/test_a": "P", "py/test_hang/test_b": "E", "sh/test_hang": "E"}
    python, script = (log_text(ran.results[name]) for name in ("py/test_hang/test_b", "sh/test_hang"))
    assert "The time limit of 4 s was reached." in python
    assert "time.sleep(600)" in python
    assert "so far" in python
    assert "The time limit of 0.5 s was reached." in script
    assert "so far" in script
    assert not is_running(int((tree.path / "child").read_text()))


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_the_option_wins_over_the_time_limits_of_directories(tree: Tree):
    tree.grow({"test_a.sh": "sleep 600\n", "pdk_environment": "[default]\nPDK_TIMEOUT = 500\n"})
    assert tree.run("--timeout", "0.3", ".").statuses == {"test_a": "E"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_run_that_is_stopped_keeps_what_it_had_and_says_what_was_running(tree: Tree, start, number, status):
    tree.grow(
        {
            "a/test_1.sh": "exit 0\n",
            "a/test_2.sh": "echo so far; echo $$ > $HERE/shell; sleep 600\n",
            "a/test_3.sh": "exit 0\n",
            "b/test_4.py": (
                "import os, time, pathlib\ndef test_5():\n"
                "    pathlib.Path(os.environ['HERE'], 'python').touch()\n    time.sleep(600)\n"
            ),
        }
    )
    run = tree.start(start, "--parallel", 2, "-r")
    tree.wait_for("shell")
    tree.wait_for("python")
    os.kill(run.pid, number)
    assert run.popen.wait(60) == status
    found = tree.logged()
    assert {name: result.status for name, result in found.items()} == {
        "a/test_1": "P", "a/test_2": "E", "b/test_4/test_5": "E",
    }  # fmt: skip
    assert f"The run was ended by {number.name}." in log_text(found["a/test_2"])
    assert "so far" in log_text(found["a/test_2"])
    assert f"The run was ended by {number.name}." in log_text(found["b/test_4/test_5"])
    assert not is_running(int((tree.path / "shell").read_text()))


def test_a_run_that_is_killed_keeps_what_it_had(tree: Tree, start):
    tree.grow({"test_1.py": "def test_a(): pass\n", "test_2.sh": "echo $$ > $HERE/shell; sleep 600\n"})
    run = tree.start(start)
    tree.wait_for("shell")
    os.kill(run.pid, signal.SIGKILL)
    run.popen.wait(60)
    os.killpg(int((tree.path / "shell").read_text()), signal.SIGKILL)
    assert {name: result.status for name, result in tree.logged().items()} == {"test_1/test_a": "P"}


def test_an_environment_that_cannot_be_made_costs_only_the_tests_of_its_directory(tree: Tree):
    tree.grow({"a/test_1.sh": "exit 0\n", "a/pdk_environment": "[nonsense]\n", "b/test_2.sh": "exit 0\n"})
    ran = tree.run()
    assert ran.statuses == {"a/test_1": "E", "b/test_2": "P"}
    assert "a/pdk_environment: [nonsense]" in log_text(ran.results["a/test_1"])


def test_a_run_in_which_no_test_was_found_does_not_look_like_one_in_which_all_went_well(tree: Tree):
    tree.grow({"test_none.py": "def not_a_test(): pass\n"})
    ran = tree.run()
    assert (ran.status, ran.results) == (1, {})
    assert "no tests in the files that were run" in ran.err
