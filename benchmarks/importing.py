"""Import: results a second, the processor's time against the floor, the queue, disk, memory."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from benchmarks import once
from benchmarks.generate import Site, host_names
from benchmarks.measuring import PDK, Measured, Workplace, in_memory, up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NIGHT = date(2026, 11, 23)
LARGE_LOG_BYTES = 1 << 30


def a_night(place: Workplace) -> Sequence[Path]:
    """The logs that everything here is measured with: 83 files, 16,000 results, 80 MB, unless others were named."""
    if place.logs:
        return place.logs
    logs = place.directory / "night"
    return sorted(logs.iterdir()) if logs.exists() else Site().night(NIGHT, logs)


def speed(place: Workplace) -> Iterator[Measured]:
    """Import, once started, against the floor; each in a process of its own."""
    logs = a_night(place)
    size = in_memory(logs)
    imports, floors = [], []
    for _ in range(place.repeats):
        home = place.fresh_home()
        imports.append(once.run("import", home, logs))
        floors.append(once.run("floor", place.fresh_home(), logs, imported=home))
        place.tidy()
    what = f"import of {imports[0].results:,} results in {len(logs)} logs, {size / 1e6:.0f} MB"
    yield Measured(
        f"{what}, once started", [one.results / one.seconds for one in imports], "results/s", at_least=60_000
    )
    yield Measured("the same, processor's time", [one.processor_seconds for one in imports], "s")
    yield Measured("the floor, the same rows and bytes", [one.results / one.seconds for one in floors], "results/s")
    yield Measured("the floor, processor's time", [one.processor_seconds for one in floors], "s")
    ratios = _ratios([one.processor_seconds for one in imports], [one.processor_seconds for one in floors])
    yield Measured("processor's time against the floor's", ratios, "times", at_most=2)


def whole_process(place: Workplace) -> Iterator[Measured]:
    """`pdk import --local`, the start of Python included, and Pandokia beside it."""
    logs = a_night(place)
    in_memory(logs)
    seconds, sizes = [], []
    theirs_seconds, theirs_sizes = [], []
    for _ in range(place.repeats):  # in turns, since a machine is not as quick at all times
        settings = place.fresh_home()
        seconds.append(place.run([*PDK, "import", "--local", "-q", *logs], settings).seconds)
        sizes.append(settings.database.stat().st_size / 1e6)
        if place.pandokia:
            theirs = place.directory / "pandokia.db"
            theirs_seconds.append(place.run([*place.pandokia, theirs, *logs]).seconds)
            theirs_sizes.append(theirs.stat().st_size / 1e6)
            theirs.unlink()
        place.tidy()
    yield Measured("pdk import --local, the whole process", seconds, "s")
    yield Measured("the database after it", sizes, "MB")
    if not place.pandokia:
        return
    yield Measured("Pandokia, the whole process", theirs_seconds, "s")
    yield Measured("Pandokia's database after it", theirs_sizes, "MB")
    yield Measured("faster than Pandokia", _ratios(theirs_seconds, seconds), "times", at_least=30)
    yield Measured("smaller than Pandokia", _ratios(theirs_sizes, sizes), "times", at_least=8)


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [one / other for one, other in zip(theirs, ours, strict=True)]


def through_the_queue(place: Workplace) -> Iterator[Measured]:
    """The same through the broker and the writer of `pdk up`."""
    logs = a_night(place)
    in_memory(logs)
    here, there, handed_over = [], [], []
    for _ in range(place.repeats):
        settings = place.fresh_home()
        here.append(place.run([*PDK, "import", "--local", "-q", *logs], settings).seconds)
        settings = place.fresh_home()
        with up(settings):
            first = settings.home / "first.pdklog"
            first.write_text("test_run=first\nproject=p\ntest_name=t\nstatus=P\nEND\n")
            place.run([*PDK, "import", "-q", first], settings)
            there.append(place.run([*PDK, "import", "-q", *logs], settings).seconds)
            handed_over.append(place.run([*PDK, "import", "--no-wait", first], settings).seconds * 1000)
        place.tidy()
    yield Measured("pdk import through pdk up, the whole process", there, "s")
    yield Measured("through pdk up against --local", _ratios(there, here), "times", at_most=1.25)
    yield Measured("pdk import --no-wait of one log", handed_over, "ms", at_most=500)


def memory(place: Workplace) -> Iterator[Measured]:
    """The most memory that the import of one log of 1 GB holds."""
    large = place.directory / "large.pdklog"
    if not large.exists():
        site = Site(hosts=host_names(1), tests=LARGE_LOG_BYTES // 5_000)
        with large.open("wb") as file:
            file.writelines(site.log(site.hosts[0], NIGHT))
    finished = []
    for _ in range(min(place.repeats, 3)):
        finished.append(place.run([*PDK, "import", "--local", "-q", large], place.fresh_home()))
        place.tidy()
    size = large.stat().st_size
    yield Measured(f"one log of {size / 1e9:.2f} GB: memory", [one.peak_mb for one in finished], "MB", at_most=200)
    yield Measured("the same, speed", [size / 1e6 / one.seconds for one in finished], "MB/s")
