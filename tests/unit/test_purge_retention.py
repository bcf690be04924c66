"""What the settings say is old goes, by a rule that is named, and nothing else."""

from __future__ import annotations

import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from pdk_pipeline import config, database, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import BadSetting
from pdk_pipeline.intake import archive, quarantine
from pdk_pipeline.purge import retention, trim
from pdk_pipeline.purge.steps import Step
from tests.conftest import record, rows
from tests.purged import Once, assert_whole, clean_all
from tests.stored import results, take_in
from tests.typed import Terminal

DAY = 86_400.0
TODAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
NOW = TODAY.timestamp()


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


def day(back: int) -> str:
    return f"{TODAY - timedelta(days=back):%Y-%m-%d}"


@pytest.fixture
def report(home, make_log):
    def make(run: str, tests: int = 4, *, host: str = "banana", log: str = "words\n") -> None:
        records = [record(f"test_{n}", "PFPE"[n % 4], log=f"{log}{n} of {run} on {host}\n") for n in range(tests)]
        take_in(home, make_log(f"{host}.{run}", *records, test_run=run, host=host))

    return make


@pytest.fixture
def kept(home):
    """The settings with this in pdk.toml besides."""

    def make(toml: str) -> Settings:
        path = home.home / "pdk.toml"
        path.write_text(f'settle_seconds = 0\ntimezone = "UTC"\n{toml}')
        config.settings.cache_clear()
        return config.settings()

    return make


def retain(settings: Settings, *, now: float = NOW) -> Step:
    """Retention to the end."""
    done, place = Step(), None
    while True:
        step = retention.step(settings, place, now=now)
        done.removed.update(step.removed)
        done.runs += step.runs
        done.notes += step.notes
        place = step.next
        if place is None:
            return done


def going(settings: Settings, *, now: float = NOW) -> list[tuple[str, str, str]]:
    with database.reading(settings) as db:
        return [(one.what, one.name, one.rule) for one in retention.plan(settings, db, now=now)]


def names(settings: Settings) -> list[str]:
    with database.reading(settings) as db:
        return [run.name for run in runs.matching(settings, db)]


# Runs -----------------------------------------------------------------------------------------------------------


def test_without_a_rule_nothing_ever_goes(report, home):
    report("daily_1999-01-01")
    report("user_ann")
    (home.spool / "archive" / "1999" / "01" / "01").mkdir(parents=True)
    (home.spool / "archive" / "1999" / "01" / "01" / "log").touch()
    assert going(home) == []
    assert not retain(home).removed
    assert len(results(home)) == 8


def test_runs_go_when_they_are_older_than_their_days(report, kept):
    settings = kept("[keep.daily]\ndays = 30\n")
    for back in (0, 29, 30, 31, 400):
        report(f"daily_{day(back)}")
    report(f"weekly_{day(400)}")
    rule = "keep.daily: days = 30"
    gone = [f"daily_{day(400)}", f"daily_{day(31)}"]
    assert going(settings) == [("run", name, rule) for name in gone]
    assert len(names(settings)) == 6  # to look changes nothing
    assert retain(settings).runs == gone
    assert names(settings) == [f"weekly_{day(400)}", f"daily_{day(30)}", f"daily_{day(29)}", f"daily_{day(0)}"]
    assert going(settings) == []


def test_the_last_runs_stay_however_old_they_are(report, kept):
    settings = kept('[keep."user_*"]\nlast = 2\n[keep.daily]\ndays = 10\nlast = 3\n')
    for back in (400, 300, 200, 100, 5):
        report(f"daily_{day(back)}")
    for name in ("a", "b", "c"):
        report(f"user_{name}")
    assert going(settings) == [
        ("run", f"daily_{day(400)}", "keep.daily: days = 10, last = 3"),
        ("run", f"daily_{day(300)}", "keep.daily: days = 10, last = 3"),
        ("run", "user_a", "keep.user_*: last = 2"),
    ]


def test_the_first_table_that_fits_a_run_counts(report, kept):
    settings = kept('[keep."daily_2020-*"]\ndays = 10000\n[keep.daily]\ndays = 10\n[keep."*"]\nlast = 1\n')
    for name in ("daily_2020-01-01", "daily_2021-01-01", "other_1", "other_2"):
        report(name)
    assert [name for _, name, _ in going(settings)] == ["daily_2021-01-01", "other_1"]


def test_a_prefix_is_no_pattern_and_another_prefix_that_begins_so_is_another(report, kept):
    settings = kept("[keep.daily]\ndays = 1\n")
    for name in ("daily_2020-01-01", "dailyx_2020-01-01", "daily", "Daily_2020-01-01"):
        report(name)
    assert [name for _, name, _ in going(settings)] == ["daily_2020-01-01"]


def test_valuable_runs_stay_with_their_logs(report, kept, pdk):
    settings = kept("size_limit_gb = 0.000001\n[keep.daily]\ndays = 1\npassing_logs_days = 1\n")
    report("daily_2020-01-01")
    report("daily_2020-01-02")
    before = [row for row in results(settings) if row[0] == "daily_2020-01-01"]
    pdk("valuable", "daily_2020-01-01")
    assert retain(settings).runs == ["daily_2020-01-02"]
    clean_all(settings)
    assert results(settings) == before


def test_what_was_deleted_may_come_back_until_clean(report, kept, pdk):
    settings = kept("[keep.daily]\ndays = 30\n")
    report("daily_2020-01-01")
    retain(settings)
    assert names(settings) == []
    assert pdk("undelete_run", "daily_2020-01-01").status == 0
    assert names(settings) == ["daily_2020-01-01"]


# A limit --------------------------------------------------------------------------------------------------------


def test_beyond_the_limit_the_oldest_runs_go_first_and_only_as_many_as_must(report, kept, home):
    for back in (4, 3, 2, 1):
        report(f"daily_{day(back)}", 2000, log="\n".join(f"{n * back}" for n in range(20)))
    report("user_ann", 1)
    with database.reading(home) as db:
        one = retention._size(db, runs.find(home, db, f"daily_{day(3)}").id, {})
    used = rows(home, "SELECT * FROM pragma_page_count")[0][0] * 4096
    settings = kept(f"size_limit_gb = {(used - 1.5 * one) / 1e9}\n")
    oldest = [f"daily_{day(4)}", f"daily_{day(3)}"]
    assert [name for _, name, _ in going(settings)] == oldest
    assert all(rule.startswith("size_limit_gb = ") for _, _, rule in going(settings))
    # What is deleted already is as good as gone, so that the same is not deleted twice over.
    assert retain(settings).runs == oldest
    assert retain(settings).runs == []
    clean_all(settings)
    assert settings.database.stat().st_size <= (used - 1.5 * one) * 1.05
    assert retain(settings).runs == []


def test_the_newest_run_stays_whatever_the_limit_and_it_is_said_that_it_is_not_kept(report, kept, pdk):
    settings = kept("size_limit_gb = 0.000001\n")
    for back in (3, 2, 1):
        report(f"daily_{day(back)}")
    pdk("valuable", f"daily_{day(2)}")
    done = retain(settings)
    assert done.runs == [f"daily_{day(3)}"]
    assert len(done.notes) == 1
    assert "above its limit: what is left is valuable or new" in done.notes[0]


def test_a_size_is_estimated_well_enough(report, home):
    report("daily_2026-11-23", 5000)  # the names of the tests are there already
    small = rows(home, "SELECT * FROM pragma_page_count")[0][0] * 4096
    report("daily_2026-11-24", 5000, log="\n".join(f"{n * 7919 % 10007}" for n in range(30)))
    used = rows(home, "SELECT * FROM pragma_page_count")[0][0] * 4096 - small
    with database.reading(home) as db:
        estimated = retention._size(db, runs.find(home, db, "daily_2026-11-24").id, {})
    assert 0.6 * used < estimated < 1.2 * used


# Logs of passing results ----------------------------------------------------------------------------------------


def test_the_logs_of_passing_results_go_and_all_else_stays_as_it_was(report, kept):
    settings = kept("[keep.daily]\npassing_logs_days = 14\n")
    for back in (13, 15):
        report(f"daily_{day(back)}", 40)
        report(f"daily_{day(back)}", 3, host="apple")
    before = results(settings)
    assert going(settings) == [("passing logs", f"daily_{day(15)}", "keep.daily: passing_logs_days = 14")]
    done = retain(settings)
    assert done.runs == []
    assert done.removed["logs"] == 22
    expected = [(*row[:14], "") if row[0] == f"daily_{day(15)}" and row[6] == "P" else row for row in before]
    assert results(settings) == expected
    assert_whole(settings)
    assert going(settings) == []
    assert not retain(settings).removed


def test_whoever_looks_for_a_log_that_went_is_told_so(report, kept, pdk):
    settings = kept("[keep.daily]\npassing_logs_days = 14\n")
    run = f"daily_{day(20)}"
    report(run)
    assert pdk("show", run, "test_0").err == ""
    retain(settings)
    assert "logs of passing results of this run are gone" in pdk("show", run, "test_0").err
    failed = pdk("show", run, "test_1")
    assert failed.err == ""
    assert "words" in failed.out


def test_a_block_of_passing_logs_alone_goes_with_them(home, make_log, kept):
    settings = kept("[keep.daily]\npassing_logs_days = 14\n")
    run = f"daily_{day(20)}"
    take_in(home, make_log("a", *(record(f"t{n}", log="fine\n") for n in range(5)), test_run=run))
    retain(settings)
    assert rows(home, "SELECT count(*) FROM log_block") == [(0,)]
    assert len(results(home)) == 5


def test_logs_that_come_late_go_too(report, kept):
    settings = kept("[keep.daily]\npassing_logs_days = 14\n")
    run = f"daily_{day(20)}"
    report(run)
    retain(settings)
    report(run, host="late")
    assert going(settings) == [("passing logs", run, "keep.daily: passing_logs_days = 14")]
    retain(settings)
    assert all((row[14] == "") == (row[6] == "P") for row in results(settings))


def test_the_logs_of_many_blocks_go_in_steps(home, make_log):
    run = f"daily_{day(20)}"
    line = "x" * 5000
    for n in range(4):
        records = [record(f"t{n}_{m}", "PPPF"[m % 4], log=f"{line}{n}{m}\n") for m in range(60)]
        take_in(home, make_log(f"{n}", *records, test_run=run))
    blocks = rows(home, "SELECT count(*) FROM log_block")[0][0]
    assert blocks >= 8
    before = results(home)

    steps, done = 0, False
    while not done:
        with database.writing(home) as db:
            done = trim.trim(db, 1, Step(), Once())
        steps += 1
        assert_whole(home)
    assert steps == blocks + 1
    assert results(home) == [(*row[:14], "") if row[6] == "P" else row for row in before]


# Archive and quarantine -----------------------------------------------------------------------------------------


@pytest.fixture
def archived(home):
    """Archive a log on a day."""

    def put(back: int, name: str = "log") -> None:
        path = home.spool / "archive" / day(back).replace("-", "/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 1000)

    return put


def archive_of(settings: Settings) -> list[str]:
    place = settings.spool / "archive"
    return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())


def test_the_archive_keeps_its_days(archived, kept):
    settings = kept("keep_archive_days = 30\n")
    with database.opened(settings):
        pass
    for back in (0, 30, 31, 400):
        archived(back)
        archived(back, ".half-copied")
    (settings.spool / "archive" / "README").write_text("mine")
    (settings.spool / "archive" / "2020" / "01" / "01" / "of somebody").mkdir(parents=True)
    (settings.spool / "archive" / "2020" / "01" / "01" / "of somebody" / "file").touch()
    rule = "keep_archive_days = 30"
    assert going(settings)[-2:] == [("archive", day(400), rule), ("archive", day(31), rule)]
    assert retain(settings).removed["archived logs"] == 4
    left = [day(30).replace("-", "/"), day(0).replace("-", "/")]
    assert archive_of(settings) == [
        "2020/01/01/of somebody/file",
        *(f"{directory}/{name}" for directory in left for name in (".half-copied", "log")),
        "README",
    ]
    assert not (settings.spool / "archive" / day(400)[:4]).exists()


def test_nothing_leaves_the_quarantine_by_age(make_log, kept):
    settings = kept("keep_archive_days = 1\nsize_limit_gb = 0.000001\n[keep.daily]\ndays = 1\n")
    take_in(settings, make_log("half", record("t"), record("bad", "X"), test_run="daily_2001-01-01"))
    (note,) = quarantine.notes(settings)
    for path in quarantine.content_path(settings, note.id).parent.iterdir():
        os.utime(path, (0, 0))
    retain(settings, now=NOW + 10_000 * DAY)
    clean_all(settings, now=NOW + 10_000 * DAY)
    assert quarantine.notes(settings) == [note]
    assert rows(settings, "SELECT count(*) FROM import_file") == [(1,)]


def test_days_of_the_archive_are_the_sites(make_log, kept):
    settings = kept("keep_archive_days = 1\n")
    path = make_log("a", record())
    take_in(settings, path, archive=True)
    ((archived_on, directory),) = archive.days(settings)
    assert archived_on == datetime.now(tz=UTC).date()
    assert [file.name for file in archive.files_of(directory)] == ["a"]
    assert retain(settings, now=time.time() + DAY).removed == {}
    assert retain(settings, now=time.time() + 2 * DAY).removed["archived logs"] == 1


# The command ----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_go_and_changes_nothing(pdk, report, kept, archived, home):
    kept('keep_archive_days = 30\n[keep.daily]\ndays = 30\n[keep."*"]\npassing_logs_days = 1\n')
    report("daily_2020-01-01")
    report("weekly_2020-01-01")
    archived(2000)
    before = results(home)
    dry = pdk("retention", "--dry-run")
    assert dry.status == 0
    lines = [line.split() for line in dry.out.splitlines()]
    assert lines[1][:3] == ["run", "daily_2020-01-01", "4"]
    assert lines[1][-4:] == ["keep.daily:", "days", "=", "30"]
    assert lines[2][:4] == ["passing", "logs", "weekly_2020-01-01", "2"]
    assert lines[3][:4] == ["archive", day(2000), "1", "1.0"]
    assert lines[3][-3:] == ["keep_archive_days", "=", "30"]
    assert results(home) == before
    assert len(archive_of(home)) == 1
    # and without it, it goes
    done = pdk("retention", "--json").data
    assert done["runs"] == ["daily_2020-01-01"]
    assert (done["removed"]["logs"], done["removed"]["archived logs"]) == (2, 1)
    assert "nothing is older than the settings allow" in pdk("retention").err


# The settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[keep.daily]\ndays = 0", "keep.daily.days from {file}: 0: it must be 1 or more"),
        ("[keep.daily]\ndayz = 3", "keep.daily.dayz from {file}: there is no such setting"),
        ("[keep.daily]", "keep.daily from {file}: it needs days, last or passing_logs_days"),
        ("[keep.daily]\ndays = 'x'", "keep.daily.days from {file}: 'x': it must be a number"),
        ("keep = 3", "keep from {file}: 3: it must be tables by name"),
        ("size_limit_gb = 0", "size_limit_gb from {file}: 0: it must be more than 0"),
        ("keep_ledger_days = 1", "keep_ledger_days from {file}: 1: it must be 7 or more"),
    ],
)
def test_a_mistake_in_the_settings_is_one_line_that_says_where(home, toml, told):
    path = home.home / "pdk.toml"
    path.write_text(f"{toml}\n")
    with pytest.raises(BadSetting) as refused:
        config.load()
    assert str(refused.value).startswith(f"A setting cannot be used: {told.format(file=path)}")
    assert "\n" not in str(refused.value)


def test_tables_may_stand_in_the_environment(monkeypatch, pdk):
    monkeypatch.setenv("PDK_KEEP", '{daily = {days = 30}, "user_*" = {last = 3}}')
    shown = {setting["name"]: setting for setting in pdk("config", "--json").data}["keep"]
    assert shown["value"] == {"daily": {"days": 30}, "user_*": {"last": 3}}
    assert shown["origin"] == "the environment, PDK_KEEP"
    monkeypatch.setenv("PDK_KEEP", "daily = 30")
    assert (
        "keep from the environment, PDK_KEEP: 'daily = 30': tables are written as TOML has them in one line"
        in pdk("runs").err
    )


def test_a_run_imported_by_hand_for_its_night_is_as_old_as_its_night(report, kept):
    # So the database that is made anew from the archive loses what the old one had lost.
    settings = kept("[keep.daily]\ndays = 30\n[keep.mark]\ndays = 30\n")
    report(f"daily_{day(31)}")
    report("mark_25")
    with closing(database.connect(settings.database)) as db:
        db.execute("UPDATE run SET created_at = ?", (NOW,))
    assert [name for _, name, _ in going(settings)] == [f"daily_{day(31)}"]
