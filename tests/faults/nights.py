"""The nights that are done: which logs come, in which way, and what people do besides. All of it from the seed."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

from benchmarks.generate import Site, host_names

FIRST = date(2026, 11, 1)
HOSTS = host_names(6)
WAYS = ("submit", "submit twice", "incoming", "below incoming", "import", "import --archive", "stdin")

CONTACTS = """\
calib,,calib@example.org
drizzle,,drizzle@example.org
spectro,,spectro@example.org
spectro,,deputy@example.org
"""
SUBSCRIBERS = (("ann@example.org", "full"), ("bob@example.org", "changes"), ("eve@example.org", "summary"))


class Log(NamedTuple):
    """A log on its way."""

    path: Path
    way: str


class Night(NamedTuple):
    """One night: logs in time, and one that is late."""

    run: str
    in_time: list[Log]
    late: Log


class Nights:
    """Night after night of a small site."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.seed = seed
        self.directory = directory
        self.site = Site(seed, HOSTS, tests=240, log_bytes=600)

    @staticmethod
    def run(number: int) -> str:
        """What the run of that night is called."""
        return f"daily_{FIRST + timedelta(days=number)}"

    def night(self, number: int) -> Night:
        """The night of that number, its logs written anew."""
        chance = random.Random(f"{self.seed} {number}")
        day = FIRST + timedelta(days=number)
        paths = self.site.night(day, self.directory / f"{number}")
        chance.shuffle(paths)
        # A log that was cut off, and one with a record that is none; in a night now and then.
        if chance.random() < 0.5:
            paths[0].write_bytes(paths[0].read_bytes()[: -chance.randrange(1, 2000)])
        if chance.random() < 0.5:
            paths[1].write_bytes(paths[1].read_bytes() + b"test_name=odd/one\nstatus=Z\nEND\n\n")
        silent = chance.random() < 0.3
        late, *rest = paths[silent:]
        logs = [Log(path, chance.choice(WAYS)) for path in rest]
        if chance.random() < 0.3:
            odd = self.directory / f"{number}" / "what.daily"
            odd.write_bytes(b"this is no log at all\n" * 3)
            logs.append(Log(odd, "incoming"))
        return Night(self.run(number), logs, Log(late, chance.choice(["submit", "incoming", "import"])))
