"""What a measurement is: a claim, the values of several runs, and the target that their median is held against."""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PDK = (sys.executable, "-P", str(Path(__file__).with_name("pdk.py")))

PIECE_BYTES = 1 << 24


class Measured(NamedTuple):
    """One line of the table."""

    what: str
    values: list[float]
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        """What counts."""
        return statistics.median(self.values)

    @property
    def is_reached(self) -> bool | None:
        """Whether the target is met; None when there is none."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return self.median >= self.at_least if self.at_least is not None else None


class Finished(NamedTuple):
    """A process that has ended well."""

    seconds: float
    peak_mb: float
    """The most memory that it held; 0 of another program than `pdk`."""


@dataclass
class Workplace:
    """Where measurements are made: a directory on a real disk, and how often each is repeated."""

    directory: Path
    repeats: int = 5
    logs: Sequence[Path] = ()
    """Logs to import instead of made-up ones."""
    pandokia: Sequence[str] = ()
    """A command that imports logs into a new database of Pandokia's: its arguments are the database, then the logs."""
    homes: list[Path] = field(default_factory=list)

    def fresh_home(self) -> Settings:
        """The settings of a home that nothing was done in yet."""
        home = Path(tempfile.mkdtemp(prefix="home-", dir=self.directory))
        self.homes.append(home)
        return Settings(home=home, timezone="UTC")

    def tidy(self) -> None:
        """Remove the homes that were made so far."""
        for home in self.homes:
            shutil.rmtree(home)
        self.homes.clear()

    def run(self, command: Sequence[str | Path], settings: Settings | None = None) -> Finished:
        """Run a program to its end, as quietly as it will be. Raises CalledProcessError."""
        environment = environment_of(settings)
        peak = self.directory / "peak"
        environment["PEAK_FILE"] = str(peak)
        peak.write_text("0")
        began = time.perf_counter()
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
        return Finished(time.perf_counter() - began, int(peak.read_text()) / 1024)


def environment_of(settings: Settings | None) -> dict[str, str]:
    """Ours, with no other settings than these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
    return environment | ({"PDK_HOME": str(settings.home), "PDK_TIMEZONE": "UTC"} if settings else {})


@contextlib.contextmanager
def up(settings: Settings) -> Iterator[None]:
    """A `pdk up` of a home, for as long as the inside lasts."""
    command = [*PDK, "up", "--no-flower"]
    with subprocess.Popen(
        command, env=environment_of(settings), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as one:
        assert one.stdout
        try:
            if not any("ready; Ctrl-C" in line for line in one.stdout):
                raise RuntimeError("pdk up has ended before it was ready")
            yield
        finally:
            one.terminate()
            one.communicate()


def in_memory(paths: Sequence[Path]) -> int:
    """Read files once, so that no measurement waits for the disk. Returns their bytes."""
    size = 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE_BYTES):
                size += len(piece)
    return size
