"""Deleting, importing, checking and cleaning in any order, beside a simple model of what should be there.

The manual wonders whether `delete_run` of the last run, `import` of another and `clean` cause a bug. In the system that
it describes they do: the rows of the new run have the numbers of the old one's, and are cleaned with them.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pdk_pipeline import database, expected, runs
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import RunGone, RunNameTaken, ValuableRun
from pdk_pipeline.intake import ledger
from pdk_pipeline.purge import clean, deletion
from pdk_pipeline.selection import Selection
from tests.conftest import log_of, record
from tests.purged import Once, assert_whole, clean_all, delete, left_over
from tests.stored import is_sound, results, statuses, take_in

RUNS = ("daily_2026-11-23", "daily_2026-11-24")
HOSTS = ("apple", "banana")
TESTS = ("a", "b", "c", "d")
SMALL = {
    (deletion, "AT_ONCE"): 2,
    (clean, "BLOCKS_AT_ONCE"): 1,
    (clean, "TESTS_AT_ONCE"): 2,
    (clean, "ENVIRONMENTS_AT_ONCE"): 1,
    (clean, "PAGES_AT_ONCE"): 2,
    (ledger, "WINDOW"): 2,
}

Reported = dict[tuple[str, str], tuple[str, str]]
"""By host and test: status and log."""


class Site(RuleBasedStateMachine):
    """One home, and what should be seen of it."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.home = Settings(home=self.directory / "home", timezone="UTC")
        self.numbers = itertools.count(1)
        self.place = None
        # The model.
        self.seen: dict[str, Reported] = {}
        self.valuable: set[str] = set()
        self.deleted: list[tuple[int, str, Reported]] = []
        self.begun: set[int] = set()
        self.expected: set[tuple[str, str]] = set()
        self.kept_open = database.kept_open()
        self.kept_open.__enter__()
        with database.opened(self.home) as db:
            db.execute("PRAGMA synchronous = OFF")  # nobody pulls the plug here, and it is twice as quick
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(clean, "Time", Once)
        for (module, name), value in SMALL.items():
            self.patched.setattr(module, name, value)

    def teardown(self) -> None:
        try:
            self.all_is_clean()
            # And when all that may go has gone, what is expected is all there is left of it.
            for run in set(self.seen) - self.valuable:
                delete(self.home, run, now=float(next(self.numbers)))
                del self.seen[run]
            self.all_is_clean()
        finally:
            self.kept_open.__exit__(None, None, None)
            self.patched.undo()
            shutil.rmtree(self.directory)

    def all_is_clean(self) -> None:
        clean_all(self.home, now=1e9)
        assert left_over(self.home) == {}
        self.what_is_seen_is_what_should_be()
        assert is_sound(self.home)

    # What is done -----------------------------------------------------------------------------------------------

    @rule(
        run=st.sampled_from(RUNS),
        host=st.sampled_from(HOSTS),
        reported=st.dictionaries(st.sampled_from(TESTS), st.sampled_from("PFE"), min_size=1),
        replace=st.booleans(),
    )
    def import_log(self, run, host, reported, replace):
        number = next(self.numbers)
        log = self.directory / f"{number}"
        records = [record(test, status, log=f"{number}\n") for test, status in reported.items()]
        log.write_text(log_of(*records, test_run=run, host=host))
        take_in(self.home, log, delivery=f"{number}", replace=replace)
        there = self.seen.setdefault(run, {})
        for test, status in reported.items():
            if replace or there.get((host, test), ("M", ""))[0] == "M":
                there[host, test] = (status, f"{number}\n")

    @rule(run=st.sampled_from(RUNS))
    def delete_run(self, run):
        if run not in self.seen:
            return
        if run in self.valuable:
            with pytest.raises(ValuableRun):
                delete(self.home, run)
            return
        id_ = delete(self.home, run, now=float(next(self.numbers)))
        self.deleted.append((id_, run, self.seen.pop(run)))

    @precondition(lambda self: self.deleted)
    @rule(data=st.data())
    def undelete_run(self, data):
        entry = data.draw(st.sampled_from(self.deleted))
        id_, run, reported = entry
        with database.writing(self.home) as db:
            if id_ in self.begun:
                with pytest.raises(RunGone):
                    deletion.undelete(db, id_, now=time.time())
            elif run in self.seen:
                with pytest.raises(RunNameTaken):
                    deletion.undelete(db, id_, now=time.time())
            else:
                assert deletion.undelete(db, id_, now=time.time())
                self.deleted.remove(entry)
                self.seen[run] = reported

    @rule(run=st.sampled_from(RUNS), host=st.sampled_from(HOSTS), status=st.sampled_from([(), ("F",), ("M",)]))
    def delete_part(self, run, host, status):
        if run not in self.seen or run in self.valuable:
            return
        where = Selection(hosts=(host,), statuses=status)
        with database.writing(self.home) as db:
            part = deletion.part(db, runs.find(self.home, db, run), where)
        place, steps = None, 0
        while steps == 0 or place is not None:
            with database.writing(self.home) as db:
                place = deletion.delete_part(db, part, place, Once(), now=float(next(self.numbers))).next
            steps += 1
        there = self.seen[run]
        going = [key for key, (is_, _) in there.items() if key[0] == host and (not status or is_ in status)]
        for key in going:
            del there[key]
        if going and not there:
            self.deleted.append((part.run_id, run, self.seen.pop(run)))

    @rule(run=st.sampled_from(RUNS), is_valuable=st.booleans())
    def mark(self, run, is_valuable):
        if run in self.seen:
            with database.writing(self.home) as db:
                runs.set_valuable(db, runs.find(self.home, db, run), is_valuable=is_valuable)
            (self.valuable.add if is_valuable else self.valuable.discard)(run)

    @rule(run=st.sampled_from(RUNS))
    def gen_expected(self, run):
        if run in self.seen:
            with database.writing(self.home) as db:
                expected.learn(db, runs.find(self.home, db, run), "daily", Selection(), now=1.0)
            self.expected |= {key for key, (status, _) in self.seen[run].items() if status != "M"}

    @rule(run=st.sampled_from(RUNS))
    def check_expected(self, run):
        if run in self.seen and self.expected:
            with database.writing(self.home) as db:
                expected.check(db, runs.find(self.home, db, run), "daily", Selection())
            for key in self.expected - self.seen[run].keys():
                self.seen[run][key] = ("M", "")

    @rule(begins_anew=st.booleans(), steps=st.integers(1, 5))
    def clean_some_steps(self, begins_anew, steps):
        place = None if begins_anew else self.place
        for _ in range(steps):
            if place is None or place["phase"] == "deleted runs":
                oldest = self.deleted[:1]
                self.begun |= {id_ for id_, _, _ in oldest}
            step = clean.step(self.home, place, now=1e9)
            if step.removed["runs"]:
                del self.deleted[0]
            place = step.next
        self.place = place

    # What should be ---------------------------------------------------------------------------------------------

    @invariant()
    def what_is_seen_is_what_should_be(self):
        found = {(row[0], row[2], row[5]): (row[6], row[14]) for row in results(self.home)}
        assert found == {(run, *key): value for run, there in self.seen.items() for key, value in there.items()}
        with database.reading(self.home) as db:
            assert {run.name for run in runs.matching(self.home, db)} == set(self.seen)
            known = {(one.test.host, one.test.test_name) for one in expected.tests(db, "daily", Selection())}
            assert known == self.expected

    @invariant()
    def the_database_is_whole(self):
        assert is_sound(self.home)


TestSite = Site.TestCase
TestSite.settings = hypothesis_settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("order", list(itertools.permutations(["delete", "import", "clean"])), ids=" ".join)
def test_the_manuals_open_question(home, make_log, monkeypatch, order):
    """`delete_run` of the last run imported, `import` of another, `clean`, in all orders, a clean being many steps."""
    monkeypatch.setattr(clean, "Time", Once)
    for (module, name), value in SMALL.items():
        monkeypatch.setattr(module, name, value)
    take_in(home, make_log("old", *(record(f"old{n}", log="old\n") for n in range(5)), test_run=RUNS[0]))
    actions = {
        "delete": lambda: delete(home, RUNS[0]),
        "import": lambda: take_in(
            home, make_log("new", *(record(f"new{n}", log="new\n") for n in range(5)), test_run=RUNS[1])
        ),
        "clean": lambda: clean_all(home),
    }
    for name in order:
        actions[name]()
        assert_whole(home)
    clean_all(home)
    assert statuses(home) == {f"new{n}": "P" for n in range(5)}
    assert {row[14] for row in results(home)} == {"new\n"}
    assert left_over(home) == {}


def test_an_import_in_the_middle_of_a_clean_is_untouched_by_it(home, make_log, monkeypatch):
    # Given a run that is being cleaned away, with tests and a machine that nothing else refers to
    monkeypatch.setattr(clean, "Time", Once)
    for (module, name), value in SMALL.items():
        monkeypatch.setattr(module, name, value)
    records = [record(f"t{n}", log="old\n") for n in range(6)]
    length = _steps_of_a_clean(home, make_log("old", *records, test_run=RUNS[0]))
    # When the same tests of the same machine come in again, after whichever step
    for after in range(0, length, 2):
        take_in(home, make_log("old", *records, test_run=RUNS[0]))
        delete(home, RUNS[0])
        place = None
        for number, step in enumerate(clean.steps(home, now=1e9)):
            if number == after:
                take_in(home, make_log("new", *(record(f"t{n}", "F") for n in range(6)), test_run=RUNS[0]))
            place = step.next
        assert place is None
        assert_whole(home)
        # Then they are there, whole
        assert statuses(home) == {f"t{n}": "F" for n in range(6)}
        delete(home, RUNS[0])
        clean_all(home)
        assert left_over(home) == {}


def _steps_of_a_clean(home, log) -> int:
    take_in(home, log)
    delete(home, RUNS[0])
    return sum(1 for _ in clean.steps(home, now=1e9))
