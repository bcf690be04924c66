"""Death at a chosen step, for a worker that is started with `--include=tests.integration.mortal`.

DIES names the step, "after pdk_pipeline.intake.spool.receive": where that function is called the process kills itself.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import signal


def arm(step: str) -> None:
    when, target = step.split()
    place, _, name = target.rpartition(".")
    home = pkgutil.resolve_name(place)
    function = getattr(home, name)

    @functools.wraps(function)
    def mortal(*args, **kwargs):
        if when == "before":
            die()
        result = function(*args, **kwargs)
        if when == "after":
            die()
        return result

    setattr(home, name, mortal)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if os.environ.get("DIES"):
    arm(os.environ["DIES"])
