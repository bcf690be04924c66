"""The night, driven in one process: what starts it, how it goes on, and what becomes of steps that fail."""

from __future__ import annotations

import random
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from pdk_pipeline import config, database, night_steps, nightly, nights, outbox
from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from tests.conftest import log_of, record, rows
from tests.stored import import_claimed
from tests.typed import Terminal

DAY = 86_400.0
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


def arrive(home: Settings, name: str, *records: str, **head: str) -> None:
    incoming = home.spool / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    (incoming / name).write_text(log_of(*records, **head))


def do_night(home: Settings, run: str = "daily_2026-11-23", **options):
    night, _ = nightly.start(home, "daily", run, reason="a test", now=NOON, **options)
    nightly.run_here(home, night.id, progress=lambda *_: None)
    with database.reading(home) as db:
        return nights.by_id(db, night.id), {step.name: step for step in nights.steps(db, night)}


def set_up(home: Settings, toml: str) -> Settings:
    (home.home / "pdk.toml").write_text(f'settle_seconds = 0\ntimezone = "UTC"\n{toml}')
    config.settings.cache_clear()
    return config.settings()


def states(steps) -> set[str]:
    return {step.state for step in steps.values()}


def test_a_night_imports_what_has_arrived_and_finds_what_is_missing(home: Settings):
    # Given a night in which two tests reported, and the next, in which one does
    arrive(home, "a", record("t1"), record("t2"))
    do_night(home)
    arrive(home, "b", record("t1"), test_run="daily_2026-11-24")
    night, steps = do_night(home, "daily_2026-11-24")
    # Then the second knows what the first had
    assert night.ended_at
    assert steps["import"].outcome == {
        "logs": 1, "records": 1, "accepted": 1, "replaced_missing": 0, "duplicates": 0, "skipped": 0, "quarantined": 0
    }  # fmt: skip
    assert steps["check_expected"].outcome == {"expected": 2, "missing": 1, "recorded": 1}
    assert rows(home, "SELECT test_name, status FROM result_scalar WHERE test_run LIKE '%24' ORDER BY 1") == [
        ("t1", "P"),
        ("t2", "M"),
    ]


def test_a_night_in_which_nothing_arrives_has_a_run_that_lacks_everything(home: Settings):
    arrive(home, "a", record("t1"))
    do_night(home)
    _, steps = do_night(home, "daily_2026-11-24")
    assert steps["gen_expected"].state == "left out"
    assert rows(home, "SELECT status FROM result_scalar WHERE test_run = 'daily_2026-11-24'") == [("M",)]


def test_a_night_that_is_started_twice_is_joined(home: Settings):
    first, is_new = nightly.start(home, "daily", "daily_2026-11-23", reason="it was time", now=NOON)
    assert is_new
    assert nightly.start(home, "daily", "daily_2026-11-23", reason="on demand", now=NOON + 9) == (first, False)


def test_a_bad_log_does_not_hold_up_the_night(home: Settings):
    arrive(home, "good", record("t1"))
    arrive(home, "bad", record("t2", "X"))
    night, steps = do_night(home)
    assert night.ended_at
    assert steps["import"].outcome["quarantined"] == 1
    assert "failed" not in states(steps)


def test_a_log_that_cannot_be_imported_is_named_and_the_rest_goes_on(home: Settings, monkeypatch):
    arrive(home, "good", record("t1"))
    arrive(home, "stuck", record("t2"), host="cherry")
    real = nightly.importing.take_in

    def full_disk(settings, db, delivery, *how):
        if delivery.name == "stuck":
            raise OSError(28, "No space left on device")
        return real(settings, db, delivery, *how)

    monkeypatch.setattr(nightly.importing, "take_in", full_disk)
    night, steps = do_night(home)
    assert night.ended_at
    assert steps["import"].state == "failed"
    assert "stuck" in steps["import"].error
    assert steps["check_expected"].state == "done"
    # and when there is room again, the next one takes it
    monkeypatch.undo()
    _, steps = do_night(home, "daily_2026-11-24")
    assert steps["import"].outcome["logs"] == 1


def test_a_step_that_fails_for_good_is_recorded_and_the_others_still_run(home: Settings, monkeypatch):
    def broken(_work):
        raise ZeroDivisionError("of course")

    monkeypatch.setitem(night_steps.STEPS, "gen_expected", night_steps.Kind(broken))
    arrive(home, "a", record("t1"))
    night, steps = do_night(home)
    assert night.ended_at
    assert (steps["gen_expected"].state, steps["gen_expected"].error) == ("failed", "ZeroDivisionError: of course")
    assert steps["close"].outcome["failed"] == ["gen_expected"]


def test_a_step_that_fails_for_a_passing_reason_is_tried_again_with_growing_pauses(home: Settings, monkeypatch):
    faults = iter([sqlite3.OperationalError("disk I/O error")] * 2)
    real = night_steps.STEPS["gen_expected"]

    def sometimes(work):
        for fault in faults:
            raise fault
        return real.do(work)

    monkeypatch.setitem(night_steps.STEPS, "gen_expected", night_steps.Kind(sometimes))
    arrive(home, "a", record("t1"))
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=NOON)
    clock = NOON
    pauses = []
    while True:
        step = nightly.next_step(home, night.id, clock)
        if step is None:
            with database.reading(home) as db:
                if nights.by_id(db, night.id).ended_at:
                    break
            clock += 1
            continue
        while again := nightly.perform(home, night.id, step.id, step.token, clock):
            for claim, _ in again.logs:
                import_claimed(home, claim)
            if not again.logs:
                pauses.append(again.pause)
                break
    assert pauses == [nights.FIRST_PAUSE_SECONDS, 2 * nights.FIRST_PAUSE_SECONDS]
    with database.reading(home) as db:
        assert {step.state for step in nights.steps(db, night)} == {"done", "left out"}  # there is no backup_directory


def test_a_step_whose_worker_was_killed_is_handed_out_again_when_its_lease_is_over(home: Settings):
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=NOON)
    lost = nightly.next_step(home, night.id, NOON)
    # Nobody else gets it meanwhile
    assert nightly.next_step(home, night.id, NOON + 1) is None
    # and once somebody does, what comes of the first after all changes nothing
    taken = nightly.next_step(home, night.id, NOON + nights.LEASE_SECONDS + 1)
    assert taken.id == lost.id
    nightly.perform(home, night.id, lost.id, lost.token, NOON + nights.LEASE_SECONDS + 2)
    with database.reading(home) as db:
        assert nights.steps(db, night)[0].state == "running"


@pytest.mark.parametrize("stop_after", range(6))
def test_a_night_that_was_cut_off_goes_on_where_it_was(home: Settings, stop_after):
    arrive(home, "a", record("t1"))
    night, _ = nightly.start(home, "daily", "daily_2026-11-23", reason="a test", now=NOON)
    for _ in range(stop_after):
        step = nightly.next_step(home, night.id, NOON)
        if step:
            again = nightly.perform(home, night.id, step.id, step.token, NOON)
            if again:
                break
    # A command that comes later does all that is left, at once: nobody else is at work on it
    night, steps = do_night(home)
    assert night.ended_at
    assert steps["import"].outcome["accepted"] == 1


def test_weeks_of_nights_with_a_beat_that_is_often_down(home: Settings):
    # Given a tick every few minutes for four weeks, but for hours, and once for days, in which nothing ran
    home = set_up(home, '[nights.daily]\nat = "06:00"\n[nights.weekly]\nat = "08:00"\ndays = ["sun"]\n')
    chance = random.Random(3)
    begin = datetime(2026, 3, 9, 5, tzinfo=UTC)
    clock, end = begin, begin + timedelta(days=28)
    started: list[str] = []
    ticked_on = set()
    while clock < end:
        for class_name, run, _ in nightly.due(home, clock.timestamp()):
            nightly.start(home, class_name, run, reason="it was time", now=clock.timestamp())
            started.append(run)
        if clock.hour >= 6:
            ticked_on.add(f"{clock:%Y-%m-%d}")
        clock += timedelta(minutes=20)
        if chance.random() < 0.004:
            clock += timedelta(hours=chance.choice([5, 20, 60]))
    # Then no night was started twice, and each day on which somebody ticked at or after six has its night
    assert len(started) == len(set(started))
    assert {run for run in started if run.startswith("daily")} >= {f"daily_{day}" for day in ticked_on}
    assert [run for run in started if run.startswith("weekly")] == [
        f"weekly_{day}" for day in ("2026-03-15", "2026-03-22", "2026-03-29", "2026-04-05")
    ]


def test_a_new_installation_does_not_make_up_for_the_night_before_it(home: Settings):
    assert nightly.due(home, NOON) == []
    assert [run for _, run, _ in nightly.due(home, NOON + DAY)] == ["daily_2026-11-24"]


def test_a_night_that_waits_for_its_machines_starts_when_all_have_reported(home: Settings):
    home = set_up(home, '[nights.daily]\nat = "02:00"\nhosts = ["banana", "cherry"]\ndeadline = "09:00"\n')
    two = datetime(2026, 11, 23, 2, tzinfo=UTC).timestamp()
    nightly.due(home, two - DAY)
    arrive(home, "a", record("t1"), host="banana")
    for claim in spool.collect(home).claims:
        import_claimed(home, claim[0])
    assert nightly.due(home, two + 3600) == []
    arrive(home, "b", record("t1"), host="cherry")
    for claim in spool.collect(home).claims:
        import_claimed(home, claim[0])
    assert nightly.due(home, two + 3700) == [("daily", "daily_2026-11-23", "every host has reported")]


def test_at_the_deadline_it_starts_without_them_and_names_them(home: Settings):
    home = set_up(home, '[nights.daily]\nat = "02:00"\nhosts = ["banana", "cherry"]\ndeadline = "09:00"\n')
    nine = datetime(2026, 11, 23, 9, tzinfo=UTC).timestamp()
    nightly.due(home, nine - DAY)
    assert nightly.due(home, nine - 1) == []
    ((_, _, reason),) = nightly.due(home, nine)
    assert reason == "the deadline came; not reported: banana, cherry"


def messages(home: Settings) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in rows(home, "SELECT recipient, kind, subject FROM notification ORDER BY id")]


def test_what_comes_after_the_night_is_told_of_as_an_addendum_and_only_once(home: Settings):
    home = set_up(home, 'fallback_address = "devs@example.org"\n')
    # Given a night that has ended, of which somebody was told
    arrive(home, "a", record("t1", "F"))
    night, _ = do_night(home)
    assert [kind for _, kind, _ in messages(home)] == ["report"]
    # When another log of its run comes later, and nothing more for a while
    arrive(home, "b", record("t2", "F"), host="cherry")
    for claim, _ in spool.collect(home).claims:
        import_claimed(home, claim)
    now = max(at for (at,) in rows(home, "SELECT imported_at FROM import_file"))
    with database.writing(home) as db:  # the night was long ago enough, but not forgotten
        db.execute("UPDATE night SET ended_at = ?, told_until = ?", (now - 7200, now - 7200))
    assert nightly.tell_late(home, now + 1) == []
    assert nightly.tell_late(home, now + nightly.LATE_SETTLE_SECONDS + 1) == ["daily_2026-11-23"]
    # Then its reader is told of that alone, and not again
    assert [kind for _, kind, _ in messages(home)] == ["report", "addendum"]
    assert nightly.tell_late(home, now + nightly.LATE_SETTLE_SECONDS + 2) == []
    assert night.run_name == "daily_2026-11-23"


def test_one_process_alone_tells_of_what_came_late_too(home: Settings):
    home = set_up(home, 'fallback_address = "devs@example.org"\n')
    arrive(home, "a", record("t1", "F"))
    do_night(home)
    arrive(home, "b", record("t2", "F"), host="cherry")
    arrive(home, "c", record("t1", "F"), test_run="daily_2026-11-24")
    with database.writing(home) as db:
        db.execute("UPDATE night SET told_until = told_until - 1")
    do_night(home, "daily_2026-11-24")
    assert sorted((kind, subject.partition(" daily_")[2][:10]) for _, kind, subject in messages(home)) == [
        ("addendum", "2026-11-23"), ("report", "2026-11-23"), ("report", "2026-11-24"),
    ]  # fmt: skip


def test_of_a_class_that_nobody_is_told_of_nothing_late_is_told_either(home: Settings):
    home = set_up(home, 'fallback_address = "devs@example.org"\n[nights.daily]\nnotify = false\n')
    arrive(home, "a", record("t1", "P"))
    do_night(home)
    arrive(home, "b", record("t2", "F"), host="cherry")
    for claim, _ in spool.collect(home).claims:
        import_claimed(home, claim)
    with database.writing(home) as db:
        db.execute("UPDATE night SET told_until = told_until - 1")
    (at,) = max(rows(home, "SELECT imported_at FROM import_file"))
    assert nightly.tell_late(home, at + nightly.LATE_SETTLE_SECONDS + 1) == []
    assert messages(home) == []


def test_a_class_that_is_known_before_its_hour_has_its_first_night(home: Settings):
    home = set_up(home, '[nights.daily]\nat = "02:00"\n')
    two = datetime(2026, 11, 23, 2, tzinfo=UTC).timestamp()
    nightly.know_classes(home, two - 1)
    assert [run for _, run, _ in nightly.due(home, two)] == ["daily_2026-11-23"]


def test_without_a_deadline_hosts_are_waited_for_all_the_same(home: Settings):
    home = set_up(home, '[nights.daily]\nat = "02:00"\nhosts = ["banana"]\n')
    two = datetime(2026, 11, 23, 2, tzinfo=UTC).timestamp()
    nightly.due(home, two - DAY)
    assert nightly.due(home, two + 3 * 3600 - 1) == []
    ((_, _, reason),) = nightly.due(home, two + 3 * 3600)
    assert reason == "the deadline came; not reported: banana"


def test_of_a_night_that_had_ended_it_is_said_that_nothing_was_done(home: Settings, capsys, monkeypatch):
    pdk = Terminal(home, capsys, monkeypatch)
    arrive(home, "a", record("t1"))
    assert "nothing was done now" not in pdk("nightly", "daily", "daily_2026-11-23").err
    seen = pdk("nightly", "daily", "daily_2026-11-23")
    assert "daily_2026-11-23: it had ended before, and nothing was done now; --again does it once more" in seen.err
    assert "nothing was done now" not in pdk("nightly", "--again", "daily", "daily_2026-11-23").err


def test_the_administrator_is_told_which_steps_failed_and_why(home: Settings, monkeypatch):
    home = set_up(home, 'administrator = "boss@example.org"\n')

    def broken(_work):
        raise ZeroDivisionError("of course")

    monkeypatch.setitem(night_steps.STEPS, "gen_expected", night_steps.Kind(broken))
    arrive(home, "a", record("t1"))
    do_night(home)
    assert messages(home) == [
        ("boss@example.org", "report", "[pdk] the night of daily_2026-11-23: gen_expected failed")
    ]
    (mail,) = (home.home / "outbox").glob("*.eml")
    assert "gen_expected: ZeroDivisionError: of course (1 attempts)" in mail.read_text()


def test_the_administrator_is_told_the_command_that_does_this_very_night_again(home: Settings, monkeypatch):
    home = set_up(home, 'administrator = "boss@example.org"\n')
    monkeypatch.setitem(night_steps.STEPS, "gen_expected", night_steps.Kind(lambda _work: 1 / 0))
    night, _ = nightly.start(home, "weekly", "weekly_2026-11-22", reason="a test", now=NOON)
    nightly.run_here(home, night.id, progress=lambda *_: None)
    (id_,) = max(rows(home, "SELECT id FROM notification"))
    with database.reading(home) as db:
        text = outbox.content(db, id_).text
    assert "`pdk nightly weekly weekly_2026-11-22 --again` does the night again." in text


def test_a_night_that_has_ended_is_done_again_when_asked(home: Settings):
    arrive(home, "a", record("t1"))
    do_night(home)
    arrive(home, "b", record("t2"))
    night, steps = do_night(home)
    assert steps["import"].outcome["logs"] == 1
    night, steps = do_night(home, again=True)
    assert night.ended_at
    assert steps["import"].outcome["logs"] == 2
