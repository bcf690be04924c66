"""A short trial: two nights under a dozen faults come to the same as without. Longer ones: `python -m tests.faults`."""

from __future__ import annotations

import pytest

from tests.faults.installation import SIGNS, Installation, workshop
from tests.faults.trial import Trial


def test_every_part_can_be_found_to_be_killed():
    with workshop() as directory, Installation(directory / "site") as site:
        site.insist(lambda: all(map(site.processes, SIGNS)), "finding all parts")
        found = [site.processes(part, with_children=False) for part in SIGNS]
        assert sorted(pid for pids in found for pid in pids) == sorted(site.up.children())
        assert {len(pids) for pids in found} == {1}


@pytest.mark.timeout(600)
def test_nights_under_faults_come_to_what_they_come_to_without():
    told: list[str] = []
    wrong = Trial(seed=1, faults=12, pause=0.25, tell=told.append).run()
    assert wrong == [], "\n".join(told)
