"""Two hundred test machines that submit their logs at the same moment, all from this one machine."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING

from benchmarks.generate import Site, host_names
from benchmarks.importing import NIGHT
from benchmarks.measuring import PDK, Measured, Workplace, in_memory, up
from pdk_pipeline import database
from workers import submission

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from pdk_pipeline.config import Settings

MACHINES = Site(hosts=host_names(200))
PATIENCE_SECONDS = 300


def at_once(place: Workplace, site: Site = MACHINES) -> Iterator[Measured]:
    """Each packs and sends a log as `pdk submit` does, in a process of its own that has started already. Once."""
    logs = site.night(NIGHT, place.directory / "submitted")
    size = in_memory(logs)
    settings = place.fresh_home()
    (settings.home / "pdk.toml").write_text("settle_seconds = 0\n")
    with up(settings):
        waited = _submit(settings, logs)
        took_in = place.run([*PDK, "collect", "-q"], settings).seconds
    with database.reading(settings) as db:
        ((entries, different),) = db.execute("SELECT count(*), count(DISTINCT sha256) FROM import_file")
    what = f"{len(logs)} submitters at once, {size / 1e6:.0f} MB: until the last is told that its log is safe"
    yield Measured(what, [max(waited)], "s")
    yield Measured("how long each waits", waited, "s")
    yield Measured("until all are imported, further", [took_in], "s")
    yield Measured("logs lost or doubled", [len(logs) - different + entries - different], "logs", at_most=0)
    place.tidy()


def _submit(settings: Settings, logs: list[Path]) -> list[float]:
    """Have all submitted at the same moment. Returns the seconds after which each was told that the server has it."""
    context = multiprocessing.get_context("forkserver")  # forked from a process that has loaded all it needs
    context.set_forkserver_preload([__name__, "redis"])
    begin = context.Event()
    machines = []
    for log in logs:
        hears, tells = context.Pipe(duplex=False)
        process = context.Process(target=_machine, args=(settings, log, begin, tells), daemon=True)
        process.start()
        tells.close()
        machines.append((process, hears))
    for _, hears in machines:
        hears.recv()
    began = time.perf_counter()
    begin.set()
    waited = [hears.recv() - began for _, hears in machines]  # the clock is the same for all processes
    for process, hears in machines:
        process.join()
        hears.close()
    return waited


def _machine(settings: Settings, log: Path, begin: Event, tells: Connection) -> None:
    tells.send(None)
    begin.wait()
    parcel = submission.pack(settings, log)
    received = submission.submit(settings, parcel, wait_seconds=PATIENCE_SECONDS, on_note=lambda _: None)
    assert received
    tells.send(time.perf_counter())
