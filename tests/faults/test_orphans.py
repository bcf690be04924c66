"""What a supervisor that was killed leaves behind: nothing."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

from workers import processes


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the kernel does not tell a process of its parent's death"
)
@pytest.mark.parametrize(("parent", "status"), [(os.getpid(), 0), (0, 1)], ids=["it lives", "it is gone"])
def test_a_process_whose_supervisor_was_killed_while_it_was_started_ends_at_once(parent, status):
    started = functools.partial(processes._die_with, parent)
    assert subprocess.run([sys.executable, "-c", ""], preexec_fn=started, check=False).returncode == status
