"""A run as a PDK log again: importing it gives the same results."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pdk_pipeline import database, export, runs
from pdk_pipeline.formats.pdk_writer import record_as_text
from pdk_pipeline.selection import Selection
from tests.conftest import record
from tests.stored import counts, home_in, results, take_in
from tests.unit.test_pdk_properties import RESULTS


def exported(home, run: str, selection: Selection | None = None) -> bytes:
    with database.reading(home) as db:
        return b"".join(export.export(db, runs.find(home, db, run), selection or Selection()))


def export_all(home, directory: Path) -> list[Path]:
    with database.reading(home) as db:
        names = [run.name for run in runs.matching(home, db)]
    paths = []
    for number, name in enumerate(names):
        paths.append(directory / f"export{number}")
        paths[-1].write_bytes(exported(home, name))
    return paths


def another(home, directory: Path):
    return evolve(home, home=directory)


def test_an_exported_run_gives_the_same_results(home, make_log, tmp_path):
    log = make_log(
        "a",
        record("flat/test_bias", log="one\n\n.two\nEND", tda__okfile="x", tra_text=" = spaces", custom="gpu"),
        record("test[a-1].log.xml", "F", start_time="1763881200.1234567", end_time="0.00001", attn="R"),
        record("c", "q", location="/a b/c", test_runner="pytest", project="other"),
        record("d", "M", start_time="-3600"),
        "test_name=e\nstatus=E\ntra_lines:\n.one\n.\n.two\n\nEND\n",
        "test_name=f\nstatus=E\nlog=on one line\nEND\n",
    )
    take_in(home, log)
    other = another(home, tmp_path / "other")
    (tmp_path / "export").write_bytes(exported(home, "daily_2026-11-23"))
    assert counts(take_in(other, tmp_path / "export")) == {"records": 6, "accepted": 6}
    assert results(other) == results(home)
    assert exported(other, "daily_2026-11-23") == exported(home, "daily_2026-11-23")


def test_importing_it_where_it_came_from_changes_nothing(home, make_log, tmp_path):
    take_in(home, make_log("a", record("a", log="text"), record("b", "F"), record("c", "M")))
    before = results(home)
    (tmp_path / "export").write_bytes(exported(home, "daily_2026-11-23"))
    assert counts(take_in(home, tmp_path / "export")) == {"records": 3, "duplicates": 3}
    take_in(home, tmp_path / "export", replace=True)
    assert results(home) == before


def test_only_what_was_selected_is_exported(home, make_log):
    take_in(home, make_log("a", record("a"), record("b", "F"), record("c", "F")))
    text = exported(home, "daily_2026-11-23", Selection(statuses=("F",))).decode()
    assert [line for line in text.splitlines() if line.startswith("test_name")] == ["test_name=b", "test_name=c"]


def test_an_empty_run_is_an_empty_log(home, tmp_path):
    with database.writing(home) as db:
        db.execute("INSERT INTO run (name, created_at) VALUES ('empty', 0)")
    (tmp_path / "export").write_bytes(exported(home, "empty"))
    assert counts(take_in(home, tmp_path / "export")) == {}


def test_a_large_run_is_exported_in_pieces(home, make_log, monkeypatch):
    monkeypatch.setattr(export, "PIECE_BYTES", 1000)
    take_in(home, make_log("a", *(record(f"t{number}", log="x" * 300) for number in range(50))))
    with database.reading(home) as db:
        pieces = list(export.export(db, runs.find(home, db, "daily_2026-11-23"), Selection()))
    assert 10 < len(pieces) < 25
    assert b"".join(pieces).count(b"\nEND\n") == 50


@pytest.fixture(scope="module")
def two_homes(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export")
    return [home_in(directory / name) for name in ("home", "other")]


@given(written=st.lists(RESULTS, max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_was_imported_is_exported_the_same(two_homes, tmp_path, written):
    home, other = two_homes
    for one in two_homes:  # each example begins with no run
        with database.writing(one) as db:
            db.execute("UPDATE run SET deleted_at = 1")
    (tmp_path / "log").write_bytes(b"START\n" + b"".join(record_as_text(result) for result in written))
    outcome = take_in(home, tmp_path / "log")
    assert (outcome.records, outcome.quarantined) == (len(written), 0)
    for path in export_all(home, tmp_path):
        take_in(other, path)
    assert results(other) == results(home)
