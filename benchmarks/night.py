"""A whole night: a million results in 200 logs from the intake to the readers, the night before in the database too."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks.generate import Site, host_names
from benchmarks.importing import NIGHT
from benchmarks.measuring import PDK, Measured, Workplace, in_memory
from pdk_pipeline import database, nights, subscriptions
from pdk_pipeline.subscriptions import EVERY_PROJECT, Kind, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.config import Settings

MILLION = Site(hosts=host_names(200), tests=1_000_000, log_bytes=120)

_STEPS = {
    "import": ("collect", "import"),
    "gen_expected": ("gen_expected",),
    "check_expected": ("check_expected",),
    "comparison, reports, outbox": ("notify",),
    "retention, clean, backup, close": ("retention", "clean", "backup", "close"),
}


def million(place: Workplace, site: Site = MILLION) -> Iterator[Measured]:
    """`pdk nightly --local` of the second of two nights. Once: it takes long enough to be steady.

    A contact for each project's tests and two subscribers are told of it; without a mail server their messages
    are written as files.
    """
    settings = place.fresh_home()
    (settings.home / "pdk.toml").write_text("settle_seconds = 0\n")
    for night in (NIGHT - timedelta(days=1), NIGHT):
        logs = site.night(night, settings.spool / "incoming")
        size = in_memory(logs)
        finished = place.run([*PDK, "nightly", "--local", "daily", f"daily_{night}"], settings)
        if night != NIGHT:
            _have_readers(settings)
    with database.reading(settings) as db:
        ((results,),) = db.execute("SELECT sum(accepted) FROM import_file WHERE name LIKE ?", (f"%{NIGHT}%",))
        steps = {step.name: step for step in nights.steps(db, nights.latest(db, 1)[0])}
        sent = "SELECT count(*) FROM notification WHERE run = ? AND state = 'sent'"
        ((messages,),) = db.execute(sent, (f"daily_{NIGHT}",))
    what = f"a night of {results:,} results in {len(logs)} logs, {size / 1e6:.0f} MB, and {messages} readers"
    yield Measured(what, [finished.seconds], "s", at_most=60)
    rest = finished.seconds
    for what, names in _STEPS.items():
        seconds = sum((steps[name].ended_at or 0) - (steps[name].started_at or 0) for name in names)
        rest -= seconds
        yield Measured(f"… {what}", [seconds], "s")
    yield Measured("… start, delivery", [rest], "s")
    yield Measured("its memory", [finished.peak_mb], "MB")
    yield Measured("the database with both nights", [settings.database.stat().st_size / 1e6], "MB")
    place.tidy()


def _have_readers(settings: Settings) -> None:
    """A contact for the tests of each project, and two who are sent everything."""
    with database.writing(settings) as db:
        db.execute(
            """
            INSERT INTO contact_rule (project, prefix, address)
            SELECT DISTINCT project, '', project || '@example.org' FROM test
            """
        )
        for kind in (Kind.FULL, Kind.CHANGES):
            subscriptions.subscribe(db, Subscription(f"{kind}@example.org", EVERY_PROJECT, kind, 200))
