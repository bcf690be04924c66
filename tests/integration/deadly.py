"""Death at a chosen step: a process that has this armed kills itself, and its worker with it, there and for good.

A worker arms it with `--include=tests.integration.deadly` and the step in the variable DEADLY: "when MODULE NAME".
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from typing import NoReturn

FIRST = "before", "after"


def arm(step: str) -> None:
    """From now on die `before` or `after` a function: "after pdk_pipeline.channels send"."""
    when, module, name = step.split()
    assert when in FIRST
    home = importlib.import_module(module)
    function = getattr(home, name)

    @functools.wraps(function)
    def deadly(*args, **kwargs):
        if when == "after":
            function(*args, **kwargs)
        die()

    setattr(home, name, deadly)


def die() -> NoReturn:
    if os.environ.get("DEADLY"):  # a worker: its processes are a session of their own
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


if os.environ.get("DEADLY"):
    arm(os.environ["DEADLY"])
