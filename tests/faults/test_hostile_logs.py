"""Logs that are small and become large: bounded in memory, bounded on the disk, and told of in one line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import zstandard
from attrs import evolve

from pdk_pipeline.config import Settings
from pdk_pipeline.errors import UnreadableLog
from pdk_pipeline.intake import deliveries, quarantine, spool
from tests.conftest import log_of, record, rows
from tests.integration.processes import PDK
from tests.stored import import_claimed, is_sound, results, take_in


def with_defaults(attributes: int, records: int) -> str:
    """A log in which every record has attributes that stand there once."""
    head, _, rest = log_of(*(record(f"t{number}") for number in range(records))).partition("SETDEFAULT\n")
    return head + "".join(f"tda_{number}=x\n" for number in range(attributes)) + "SETDEFAULT\n" + rest


def undotted_lines(log: str) -> str:
    """What a multi-line field says."""
    return "".join(line[1:] for line in log.splitlines(keepends=True) if line.startswith("."))


MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
sys.exit(status)
"""


def measured(*command, environment) -> tuple[subprocess.CompletedProcess[str], int]:
    """What became of a command, and the megabytes that it needed.

    A small process starts it: whatever is forked begins as large as what it is forked from, and that would count.
    """
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], env=environment, check=False, capture_output=True, text=True
    )
    return done, int(done.stdout.split()[-1])


MANY = 50_000
LONG = "x" * 6_000_000


@pytest.mark.parametrize(
    ("field", "text"),
    {
        "attributes": ("tra", "".join(f"tra_{number}=x\n" for number in range(MANY))),
        "an attribute": ("tra", f"tra_a={LONG}\n"),
        "a log": ("log", f"log:\n.{LONG}\n\n"),
        "lines of a log": ("log", "log:\n" + ".x\n" * MANY + "\n"),
        "a place": ("location", f"location={LONG}\n"),
    }.values(),
    ids=["attributes", "attribute", "log", "lines", "location"],
)
def test_what_is_huge_is_stored_whole_as_long_as_it_is_no_larger_than_a_record_may_be(field, text, tmp_path, home):
    path = tmp_path / "a.pdklog"
    whole = log_of(record("huge").replace("END\n", f"{text}END\n"), record("after"))
    path.write_text(whole)
    assert take_in(home, path).accepted == 2
    ((*_, location, _, attributes, log), _) = sorted(results(home), key=lambda row: row[5] == "after")
    found = {"tra": sorted(f"tra_{name}={value}\n" for name, value in json.loads(attributes or "{}").items())}
    found |= {"log": log, "location": location}
    expected = {"tra": sorted(text.splitlines(keepends=True)), "log": undotted_lines(text), "location": LONG}
    assert found[field] == expected[field]
    # One that is larger goes to the quarantine, byte for byte, and what comes after it is imported
    small = evolve(home, record_limit_mb=1, home=tmp_path / "other")
    if len(text) > 5 << 20:  # whole pieces of 4 MB are read
        outcome = take_in(small, path)
        assert (outcome.accepted, outcome.quarantined) == (1, 1)
        (note,) = quarantine.notes(small)
        assert text.encode() in quarantine.content_path(small, note.id).read_bytes()


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(deliveries, "LARGEST_SWELL_BYTES", 1 << 20)
    monkeypatch.setattr(deliveries, "MOST_SWELL", 10)
    path = tmp_path / "bomb"
    path.write_text(with_defaults(2000, 1000))
    return path


def test_a_log_whose_defaults_are_many_takes_no_memory_for_each_record(tmp_path, environment):
    path = tmp_path / "a.pdklog"
    path.write_text(with_defaults(2000, 2500))
    done, megabytes = measured(*PDK, "import", "-q", path, environment=environment)
    assert done.returncode == 0
    assert megabytes < 250  # five million attributes would be twice that


@pytest.mark.parametrize("field", ["test_name=t{}{}", "tda_x={}{}", "location={}{}"])
def test_fields_that_are_large_in_every_record_are_never_all_in_memory(field, tmp_path, environment):
    path = tmp_path / "a.zst"
    with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as log:
        for number in range(700):
            huge = field.format(number, "x" * 1_000_000)
            log.write(f"test_run=r\nproject=p\ntest_name=t{number}\nstatus=P\n{huge}\nEND\n".encode())
    done, megabytes = measured(*PDK, "import", path, environment=environment)
    assert "it swells to more than" in done.stderr
    assert megabytes < 450  # all of them are 700 MB, and twice that as text and row


@pytest.mark.parametrize("field", [b"tda_x=" + b"\x01" * 200_000, b"test_name=" + b"\xff" * 200_000])
def test_a_single_record_that_swells_in_the_database_is_refused(field, tmp_path, home, monkeypatch):
    monkeypatch.setattr(deliveries, "LARGEST_SWELL_BYTES", 1 << 20)
    path = tmp_path / "a.zst"
    path.write_bytes(zstandard.compress(b"test_run=r\nproject=p\ntest_name=t\nstatus=P\n%b\nEND\n" % field))
    with pytest.raises(UnreadableLog, match="it swells to more than 1 MB in the database"):
        take_in(home, path)
    assert rows(home, "SELECT count(*) FROM test") == [(0,)]


def test_a_log_that_swells_in_the_database_is_refused_and_leaves_nothing_there(bomb, home: Settings):
    with pytest.raises(UnreadableLog, match=r"it swells to more than \d MB in the database"):
        take_in(home, bomb)
    assert rows(home, "SELECT (SELECT count(*) FROM result), (SELECT count(*) FROM import_file)") == [(0, 0)]
    assert is_sound(home)


def test_one_that_came_to_the_spool_goes_to_the_quarantine_whole(bomb, home: Settings):
    spool.prepare(home)
    bomb.rename(home.spool / "incoming" / "bomb")
    ((claim, _),) = spool.collect(home).claims
    outcome = import_claimed(home, claim)
    assert outcome.quarantine_item
    assert "it swells to more than " in outcome.messages[0]
    assert rows(home, "SELECT count(*) FROM result") == [(0,)]
    assert not spool.claims(home)
