"""What kills its process each time does so a few times and not for ever, and holds up nobody else."""

from __future__ import annotations

from pdk_pipeline import database, nightly, nights
from pdk_pipeline.config import Settings
from tests.conftest import log_of, record

NOW = 1_795_000_000.0


def test_a_step_that_never_ends_fails_in_the_end_and_the_night_goes_on(home: Settings):
    # Given a night whose first step kills whoever does it
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True)
    (incoming / "a").write_text(log_of(record("t1")))
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=NOW)
    clock = NOW
    for _ in range(nights.MOST_ATTEMPTS):
        assert nightly.next_step(home, night.id, clock).name == "collect"
        clock += nights.LEASE_SECONDS + 1
    # When it has been begun often enough
    following = nightly.next_step(home, night.id, clock)
    # Then it has failed, with a word why, and the next one is due
    assert following.name == "import"
    with database.reading(home) as db:
        step = nights.steps(db, night)[0]
    assert step.state == "failed"
    assert step.error.startswith("begun 6 times and never ended")
