"""Figures for a monitoring system, beside those of Flower: what was imported, quarantined, missing; how nights went."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline import database, nights, runs, status
from pdk_pipeline.errors import DatabaseTooOld, NoDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection


class Metric(NamedTuple):
    """One figure, in the words of Prometheus."""

    name: str
    meaning: str
    kind: str
    """gauge or counter."""
    value: float
    labels: dict[str, str]


def read(settings: Settings) -> list[Metric]:
    """Every figure as it is now."""
    now = status.look(settings)
    figures = [
        _gauge("pdk_logs_waiting", "Logs that wait for their import", now.incoming + now.processing),
        _gauge("pdk_quarantine_records", "Bad records and files in the quarantine", now.quarantine_records),
        _gauge("pdk_messages_pending", "Messages that are to be sent", now.pending_messages),
        _gauge("pdk_messages_failed", "Messages that were refused or given up", len(now.failed_messages)),
        _gauge("pdk_database_bytes", "Size of the database", now.database_bytes),
        _gauge("pdk_needs", "Things that need a person", len(now.needs)),
    ]
    if now.free_bytes is not None:
        figures.append(_gauge("pdk_disk_free_bytes", "Room left on its disk", now.free_bytes))
    with contextlib.suppress(NoDatabase, DatabaseTooOld), database.reading(settings) as db:
        figures.extend(_imports(db))
        figures.extend(_last_nights(settings, db))
    return figures


def _imports(db: Connection) -> Iterator[Metric]:
    # By the ledger, whose rows go one day: a monitoring system takes a counter that falls for one that began anew.
    logs, accepted, quarantined = db.execute(
        "SELECT count(*), coalesce(sum(accepted), 0), coalesce(sum(quarantined), 0) FROM import_file"
    ).fetchone()
    yield _counter("pdk_logs_imported", "Logs imported", logs)
    yield _counter("pdk_results_imported", "Results imported", accepted)
    yield _counter("pdk_records_quarantined", "Records that were no results", quarantined)


def _last_nights(settings: Settings, db: Connection) -> Iterator[Metric]:
    """Of the last night of each class that has ended."""
    seen = set()
    for night in nights.latest(db, most=50):
        if night.ended_at is None or night.class_name in seen:
            continue
        seen.add(night.class_name)
        of_class = {"class": night.class_name}
        seconds = night.ended_at - night.started_at
        failed = sum(step.state == "failed" for step in nights.steps(db, night))
        yield _gauge("pdk_night_seconds", "How long the last night took", seconds, of_class)
        yield _gauge("pdk_night_ended_at", "When it ended, in seconds since 1970", night.ended_at, of_class)
        yield _gauge("pdk_night_failed_steps", "Steps of it that failed", failed, of_class)
        for run in runs.matching(settings, db, night.run_name):
            for letter, count in runs.statuses(db, run).items():
                labels = of_class | {"status": letter}
                yield _gauge("pdk_night_results", "Results of its run by status; M is missing", count, labels)


def _gauge(name: str, meaning: str, value: float, labels: dict[str, str] | None = None) -> Metric:
    return Metric(name, meaning, "gauge", value, labels or {})


def _counter(name: str, meaning: str, value: float) -> Metric:
    return Metric(name, meaning, "counter", value, {})
