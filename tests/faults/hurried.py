"""The workers' app with short waits, `celery -A tests.faults.hurried`: what heals in minutes heals in seconds.

Logs are read ahead however small they are, so that readers can be killed too.
"""

from __future__ import annotations

import beat_schedule
from pdk_pipeline import nightly, nights
from pdk_pipeline.intake import reading_ahead
from workers import receiving
from workers.app import app

__all__ = ["app"]

for _entry in beat_schedule.SCHEDULE.values():
    _entry["schedule"] = 1.0
reading_ahead.LEAST_BYTES = 0
nights.LEASE_SECONDS = 30.0
nights.FIRST_PAUSE_SECONDS = 0.5
nights.MOST_ATTEMPTS = 100
nightly.LATE_SETTLE_SECONDS = 2.0
receiving.FORGOTTEN_SECONDS = 3
