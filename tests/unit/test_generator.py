"""The made-up nights that benchmarks and demonstrations stand on."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta

import pytest

from benchmarks.generate import Site, host_names
from tests.conftest import rows
from tests.stored import take_in

SITE = Site(seed=7, hosts=host_names(4), tests=800, log_bytes=300)
NIGHT = date(2026, 11, 23)


def contents(site, night, directory):
    return {path.name: path.read_bytes() for path in site.night(night, directory)}


def statuses(site, night):
    """Of every result: what it is of, and how it ended."""
    found = {}
    for host in site.hosts:
        section = ""
        for record in b"".join(site.log(host, night)).decode().split("\nEND\n"):
            fields = dict(line.split("=", 1) for line in record.splitlines() if "=" in line and line[0] != ".")
            section = fields.get("context", section)
            if "status" in fields:
                found[host, section, fields["test_name"]] = fields["status"]
    return found


def test_a_site_writes_the_same_bytes_every_time_and_another_seed_writes_others(tmp_path):
    first = contents(SITE, NIGHT, tmp_path / "a")
    assert first == contents(Site(7, host_names(4), 800, 300), NIGHT, tmp_path / "b")
    assert first != contents(Site(8, host_names(4), 800, 300), NIGHT, tmp_path / "c")


def test_every_record_of_a_night_is_imported(home, tmp_path):
    for path in SITE.night(NIGHT, tmp_path / "logs"):
        outcome = take_in(home, path)
        assert outcome.accepted == outcome.records > 150
        assert not outcome.warnings
    assert rows(home, "SELECT count(*) FROM result")[0][0] == len(statuses(SITE, NIGHT))


def test_nights_are_alike_but_for_a_few_tests():
    before, after = statuses(SITE, NIGHT - timedelta(days=1)), statuses(SITE, NIGHT)
    both = before.keys() & after.keys()
    changed = sum(before[key] != after[key] for key in both)
    assert 0 < changed < 0.05 * len(both)
    assert before.keys() - after.keys()
    assert after.keys() - before.keys()
    assert Counter(after.values())["P"] > 0.85 * len(after)


@pytest.mark.parametrize("log_bytes", [100, 3000])
def test_logs_are_as_long_on_the_average_as_asked(log_bytes):
    site = Site(hosts=host_names(2), tests=3000, log_bytes=log_bytes)
    text = b"".join(piece for host in site.hosts for piece in site.log(host, NIGHT))
    lines = sum(len(line) + 1 for line in text.splitlines() if line.startswith(b"."))
    assert lines == pytest.approx(3000 * log_bytes, rel=0.25)
