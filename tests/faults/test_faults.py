"""A short trial: two nights under a dozen faults come to the same as without. Longer ones: `python -m tests.faults`."""

from __future__ import annotations

import pytest

from tests.faults.trial import Trial


@pytest.mark.timeout(600)
def test_nights_under_faults_come_to_what_they_come_to_without():
    told: list[str] = []
    wrong = Trial(seed=1, faults=12, pause=0.25, tell=told.append).run()
    assert wrong == [], "\n".join(told)
