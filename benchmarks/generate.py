"""Nights of tests at a made-up site, as the PDK logs that its machines would write.

The same site gives the same bytes: for a seed, what a machine reports on a date never changes. From night to night a
few tests change their status, some come and go, and everything measured is a little different.

    python -m benchmarks.generate logs --hosts 5 --tests 1000 --nights 3
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import passages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHARED = 4
"""A test is run on so many machines, about."""

SKEW = 1.3
"""Sigma of the log-normal lengths of the logs: most are short, few are very long."""

EPISODE_NIGHTS = 20
"""A test keeps its status for so many nights, about."""

ABSENCE_NIGHTS = 40
"""A test that is taken out comes back after so many."""

BUFFER_BYTES = 4 << 20


def _words(text: str) -> list[str]:
    return text.split()


_GODS = _words("thor loki odin freya baldr heimdall tyr idun bragi njord sif ran ull hel vidar vali forseti mimir")
_CONTEXTS = ("py311", "py312", "py313-dev", "py311-numpy1", "conda-stable", "py312-lto")
_PROJECTS = ("calib", "drizzle", "spectro", "astrometry", "pipeline", "viewer")
_RUNNERS = {"pipeline": "shell_runner", "viewer": "nose"}
_PACKAGES = _words("bias flat dark wcs photom extract resample background catalog saturation linearity cosmic")
_INSTRUMENTS = _words("ACS WFC3 STIS COS NIRCam")
_MODULES = _words("level mask reference tables headers units corner_cases regression io association groups limits")
_FUNCTIONS = _words(
    "default null_input one_row many_rows full_frame subarray wrong_shape missing_keyword round_trip overscan_03 "
    "nan_values negative_counts large_offset small_offset unit_conversion reopened_file empty_table two_detectors "
    "uncalibrated against_truth in_memory from_disk with_errors without_errors float32 float64 masked_pixels "
    "readonly compressed duplicate_rows"
)


class Test(NamedTuple):
    """One test of the site's catalogue; what is here is the same every night."""

    project: str
    name: str
    head: bytes
    """The fields that never change, as they stand in a log."""
    log_bytes: int
    number: int
    """Of 64 bits, its own: whatever else differs between tests is taken from it."""


def host_names(count: int) -> list[str]:
    """Names for so many machines."""
    return [f"{_GODS[number % len(_GODS)]}{number // len(_GODS) or ''}" for number in range(count)]


@dataclass(frozen=True)
class Site:
    """Machines, and what they run every night."""

    seed: int = 1
    hosts: Sequence[str] = tuple(host_names(83))
    tests: int = 16_000
    """Results a night, of all machines together."""
    log_bytes: int = 4_700
    """Length of a result's log, on the average."""
    absent: float = 0.01
    """Share of the results that do not come in a given night."""

    def night(self, day: date, directory: Path, *, prefix: str = "daily") -> list[Path]:
        """Write the logs of a night, one a machine. Returns their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for host in self.hosts:
            paths.append(directory / f"{host}.{prefix}_{day}.pdklog")
            with paths[-1].open("wb") as file:
                for piece in self.log(host, day, prefix=prefix):
                    file.write(piece)
        return paths

    def log(self, host: str, day: date, *, prefix: str = "daily") -> Iterator[bytes]:
        """What a machine reports, in pieces of some MB."""
        rng = random.Random(_number(self.seed, host, day))
        writer = passages.Writer(rng.getrandbits(64), day)
        clock = datetime(day.year, day.month, day.day, 1, tzinfo=UTC).timestamp() + rng.randrange(3600)
        parts: list[bytes] = []
        held = 0
        setting = None
        for context, test in self._assignment(host):
            chance = rng.random()
            if chance < self.absent or not _exists(test, day):
                continue
            if setting != (context, test.project):
                setting = context, test.project
                runner = _RUNNERS.get(test.project, "pytest")
                parts.append(
                    f"\n\nSTART\ntest_run={prefix}_{day}\nproject={test.project}\nhost={host}\ncontext={context}\n"
                    f"test_runner={runner}\nSETDEFAULT\n\n".encode()
                )
            status = _status(self.seed, test, host, context, day)
            seconds = (0.5 + chance) * test.log_bytes / 3000
            parts.append(
                b"%bstatus=%b\nstart_time=%.3f\nend_time=%.3f\ntra_peak_memory_mb=%d\ntra_mean_counts=%.4f\n"
                % (test.head, status, clock, clock + seconds, 60 + chance * 61, 1000 + chance * 45)
            )
            clock += seconds + 0.02
            text = writer.log(test.name.encode(), test.number, test.log_bytes, fails=status in b"FE")
            parts.append(b"log:\n%b\nEND\n\n" % text if text else b"END\n\n")
            held += len(text)
            if held > BUFFER_BYTES:
                yield b"".join(parts)
                parts.clear()
                held = 0
        yield b"".join(parts)

    def _assignment(self, host: str) -> Iterator[tuple[str, Test]]:
        """What a machine runs, and in which contexts."""
        index = self.hosts.index(host)
        share = self.tests * (index + 1) // len(self.hosts) - self.tests * index // len(self.hosts)
        number = _number(self.seed, host)
        contexts = [_CONTEXTS[(number + step) % len(_CONTEXTS)] for step in range(1 + number % 2)]
        in_catalogue = max(self.tests // SHARED, math.ceil(self.tests / len(self.hosts)))
        catalogue = _catalogue(self.seed, in_catalogue, self.log_bytes)
        first = len(catalogue) * index // len(self.hosts)
        each = math.ceil(share / len(contexts))
        for position in range(share):
            context, step = divmod(position, each)
            yield contexts[context], catalogue[(first + step) % len(catalogue)]


def _number(*of: object) -> int:
    """64 bits that look random and depend on `of` alone."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, of)).encode(), digest_size=8).digest())


def _exists(test: Test, day: date) -> bool:
    """A few tests are written, taken out and put back again, weeks later."""
    return bool(test.number % 200 or (day.toordinal() + test.number) // ABSENCE_NIGHTS % 2)


def _status(seed: int, test: Test, host: str, context: str, day: date) -> bytes:
    """How a test ends: mostly it passes; what breaks does so everywhere or on one machine, and for some nights."""
    night = day.toordinal() + test.number % 1009
    everywhere = _trouble(seed, test.number, night // EPISODE_NIGHTS)
    if everywhere < 20:
        return b"F"
    if everywhere < 45:
        return b"D"
    here = _number(seed, test.number, host, context, night // (EPISODE_NIGHTS // 2 + test.number % 11)) % 1000
    return b"F" if here < 18 else b"E" if here < 26 else b"P"


@functools.lru_cache(maxsize=1 << 20)
def _trouble(seed: int, test: int, episode: int) -> int:
    return _number(seed, test, episode) % 1000


@functools.cache
def _catalogue(seed: int, count: int, mean_log_bytes: int) -> tuple[Test, ...]:
    """The site's tests, project by project, along the tree of their names."""
    lengths = _lengths(mean_log_bytes)
    tests = []
    for index in range(count):
        number = _number(seed, "test", index)
        project = _PROJECTS[index * len(_PROJECTS) // count]
        rest, step = divmod(index, 12)
        rest, module = divmod(rest, len(_MODULES))
        rest, package = divmod(rest, len(_PACKAGES))
        # Twelve neighbours out of the list: no name comes twice in a module.
        function = _FUNCTIONS[(index // 12 * 5 + step) % len(_FUNCTIONS)]
        place = f"{_PACKAGES[package]}{rest or ''}/test_{_MODULES[module]}"
        head = f"test_name={place}/{function}\nlocation=/srv/tests/{project}/{place}.py\n"
        if number % 3:
            head += f"tda_instrument={_INSTRUMENTS[number % 5]}\ntda_exposure={number % 1200}\n"
        if number % 7 == 0:
            head += f"tda__okfile=/srv/tests/{project}/{place}.okfile\n"
        tests.append(Test(project, f"{place}/{function}", head.encode(), lengths[number % len(lengths)], number))
    return tuple(tests)


@functools.cache
def _lengths(mean: int) -> list[int]:
    """Lengths of logs: log-normal, 4,096 quantiles of it, with just that mean."""
    normal = NormalDist(0, SKEW)
    raw = [math.exp(normal.inv_cdf((step + 0.5) / 4096)) for step in range(4096)]
    return [round(mean * value * len(raw) / sum(raw)) for value in raw]


def main() -> None:
    """Write nights of logs, from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate", description="Write nights of made-up logs.")
    parser.add_argument("directory", type=Path, help="where to; every night gets a directory of its own if several")
    parser.add_argument("--date", type=date.fromisoformat, default=date(2026, 11, 23), help="the last night")
    parser.add_argument("--nights", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1, help="another site")
    parser.add_argument("--hosts", type=int, default=83)
    parser.add_argument("--tests", type=int, default=16_000, help="results a night, of all hosts together")
    parser.add_argument("--log-bytes", type=int, default=Site.log_bytes, help="mean length of a log")
    parser.add_argument("--prefix", default="daily", help="of the run's name")
    wanted = parser.parse_args()
    site = Site(wanted.seed, host_names(wanted.hosts), wanted.tests, wanted.log_bytes)
    for before in reversed(range(wanted.nights)):
        day = wanted.date - timedelta(days=before)
        directory = wanted.directory / str(day) if wanted.nights > 1 else wanted.directory
        paths = site.night(day, directory, prefix=wanted.prefix)
        size = sum(path.stat().st_size for path in paths)
        print(f"{directory}: {len(paths)} logs, {size / 1e6:,.1f} MB")


if __name__ == "__main__":
    main()
