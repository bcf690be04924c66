"""Why tests are missing, where that can be told: a collection error, or a log in the quarantine."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

from pdk_pipeline.comparison.changes import Cause, CauseKind
from pdk_pipeline.intake import ledger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run

_BOUNDARY = re.compile(r"[/.:\[]")
"""Where a part of a test's name ends."""

_NEAR_SECONDS = 86_400
"""A log whose run is not known belongs to the run whose results came within a day of it."""


def collection_error(test: str, errors: Collection[str]) -> Cause | None:
    """The test that ended with an error and whose name is a beginning of `test`'s: it could not be collected.

    `errors`: names of the tests of the same project and environment that ended so.
    """
    for boundary in _BOUNDARY.finditer(test):
        if test[: boundary.start()] in errors:
            return Cause(CauseKind.COLLECTION_ERROR, test[: boundary.start()])
    return None


def quarantined_logs(db: Connection, run: Run, hosts: Iterable[str]) -> dict[str, Cause]:
    """By host: the log of it for this run that is in the quarantine, whole or in part.

    A log is a host's when the host sent it or its name has the host's in it, as in `thor.daily_2026-11-23`.
    """
    found: dict[str, Cause] = {}
    logs = [log for log in ledger.quarantined(db) if _is_of(log, run)]
    for host in set(hosts) - {""} if logs else ():
        named = re.compile(rf"(?<![A-Za-z0-9]){re.escape(host)}(?![A-Za-z0-9])")
        for log in logs:
            if log.sender == host or named.search(PurePath(log.file).name):
                found[host] = Cause(CauseKind.QUARANTINED, PurePath(log.file).name)
    return found


def _is_of(log: ledger.Quarantined, run: Run) -> bool:
    if log.runs:
        return run.name in log.runs
    kind = f"{run.name.rpartition('_')[0]}_"
    if kind in PurePath(log.file).name:
        return run.name in log.file
    return abs(log.imported_at - run.created_at) < _NEAR_SECONDS
