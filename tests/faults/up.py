"""`pdk up` whose processes are hurried (see there), and started again at once when they die."""

from __future__ import annotations

import functools
import sys

from pdk_pipeline.cli import main
from workers import processes, standalone

FIRST_PAUSE = 0.1


def _celery(_self: object, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "celery", "-A", "tests.faults.hurried", "--quiet", *arguments)


if __name__ == "__main__":
    processes.FIRST_PAUSE = FIRST_PAUSE
    processes.LONGEST_PAUSE = 0.5
    standalone.Process = functools.partial(processes.Process, pause=FIRST_PAUSE)  # type: ignore[misc,assignment]
    standalone._Standalone._celery = _celery  # type: ignore[method-assign]
    main(["up", "--no-flower"])
