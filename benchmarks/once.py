"""One import, or what no import can avoid, in a process of its own, as a command is one.

In a process that has done the same before, memory lies ready that each command must ask for first, and a reader's fork
copies what others have left behind.

    python -m benchmarks.once import LOG...                  # into the home that PDK_HOME names, once started
    python -m benchmarks.once floor IMPORTED_HOME LOG...     # the rows that lie in that other home
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import floor
from benchmarks.measuring import environment_of
from pdk_pipeline import config, database
from pdk_pipeline.cli import NEW_OBJECTS
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import importing
from pdk_pipeline.intake.deliveries import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Once(NamedTuple):
    """What it came to and took."""

    results: int
    seconds: float
    processor_seconds: float
    """Of the process and of the readers that it has started."""


def run(what: str, settings: Settings, logs: Sequence[Path], imported: Settings | None = None) -> Once:
    """Do it in a new process, into the home of `settings`. Raises CalledProcessError."""
    homes = [imported.home] if imported else []
    command = [sys.executable, "-m", "benchmarks.once", what, *homes, *logs]
    told = subprocess.run(command, env=environment_of(settings), stdout=subprocess.PIPE, check=True).stdout
    return Once(*json.loads(told))


def _measured(do: Callable[[], int]) -> Once:
    began, began_processor = time.perf_counter(), _processor_seconds()
    results = do()
    return Once(results, time.perf_counter() - began, _processor_seconds() - began_processor)


def _processor_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _import(settings: Settings, logs: Sequence[Path]) -> int:
    """As `pdk import --local` does it, once it has started."""
    results = 0
    with database.kept_open():
        for batch in importing.batches(logs, lambda log: log.stat().st_size):
            for told in importing.import_files(settings, [(log, uuid.uuid4().hex) for log in batch], Options()):
                if isinstance(told, Exception):
                    raise told
                results += told.accepted
    return results


def main() -> None:
    """Do what the command line says, and print what it took."""
    what, *paths = sys.argv[1:]
    settings = config.settings()
    with database.opened(settings):
        pass
    gc.set_threshold(NEW_OBJECTS)  # as in a command
    if what == "import":
        once = _measured(lambda: _import(settings, list(map(Path, paths))))
    else:
        imported, *logs = map(Path, paths)
        rows = floor.rows_of(Settings(home=imported))
        once = _measured(lambda: floor.load(settings, logs, rows))
    print(json.dumps(once))


if __name__ == "__main__":
    main()
