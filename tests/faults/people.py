"""People who give commands: each a process of its own, forked from one that has loaded everything already."""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from pdk_pipeline.cli import commands

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *(f"pdk_pipeline.cli.{name}" for name in set(commands.MODULE_OF.values())),
        "workers.dispatch",
        "workers.submission",
        "redis",
        "rich.table",
        "rich.progress",
        "tests.faults.people",
    ]
)


class Command:
    """A command that is under way."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str], directory: Path, stdin: Path | None
    ) -> None:
        handle, name = tempfile.mkstemp(dir=directory, prefix="said-")
        os.close(handle)
        self._said = Path(name)
        arguments = (list(words), dict(environment), str(directory), str(stdin or os.devnull), name)
        self.process: BaseProcess = _context.Process(target=_run, args=arguments, daemon=True)
        self.process.start()

    def wait(self, seconds: float) -> int | None:
        """Its exit status, or the signal's number below nought; None when it has not ended by then."""
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def said(self) -> str:
        """What it has said to the person, once it has ended."""
        text = self._said.read_text(errors="replace")
        self._said.unlink()
        return text


def _run(words: list[str], environment: dict[str, str], directory: str, stdin: str, said: str) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for number, (place, flags) in enumerate([(stdin, os.O_RDONLY), (os.devnull, os.O_WRONLY), (said, os.O_WRONLY)]):
        os.dup2(os.open(place, flags), number)
    sys.stdin = open(0)  # noqa: SIM115  (the one that there was leads nowhere)
    from pdk_pipeline.cli import main

    main(words)
