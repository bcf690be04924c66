"""Importing as tasks. Each takes several logs: a message costs as much as to import fifty results."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdk_pipeline.config import settings
from pdk_pipeline.errors import PassingFault, PathRefused, PdkError, in_words
from pdk_pipeline.intake import importing, spool
from pdk_pipeline.intake.deliveries import Options
from pdk_pipeline.intake.ledger import Outcome
from workers import broker
from workers.app import Reporting, app
from workers.call import label
from workers.tasks import AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pdk_pipeline.intake.importing import BatchProgress, Told

PARTS = 1000
"""In how many parts the progress of one log is told."""


@app.task(**AGAIN_LATER, name="import_logs", bind=True, takes_several=True)
def import_logs(
    self: Reporting, logs: list[list[str]], options: dict[str, Any], archive: bool = False
) -> dict[str, Any]:
    """Import logs where they lie: of each its path and a delivery, unique to this handing-over."""
    is_from_elsewhere = not self.request.called_directly and broker.is_networked(broker.address(settings()))
    refused = {path for path, _ in logs if is_from_elsewhere and not _may_be_named(Path(path))}
    told = iter(
        importing.import_files(
            settings(),
            [(Path(path), delivery) for path, delivery in logs if path not in refused],
            Options.from_json(options),
            is_to_archive=archive,
            progress=_progress(self, len(logs)),
        )
    )
    return _told(self, [_refusal(path) if path in refused else next(told) for path, _ in logs])


def _refusal(path: str) -> PathRefused:
    return PathRefused(path, advice="The setting import_roots names directories; `--local` needs none.")


def _may_be_named(path: Path) -> bool:
    """Whether another machine has a right to name a path."""
    roots = [settings().spool, *settings().import_roots]
    # Links are followed first: one in a shared directory may point anywhere.
    return any(path.resolve().is_relative_to(root.resolve()) for root in roots)


@app.task(**AGAIN_LATER, name="import_claimed", bind=True, takes_several=True)
def import_claimed(self: Reporting, claims: list[str]) -> dict[str, Any]:
    """Import logs that the spool has claimed, and archive them."""
    return _told(self, importing.import_claims(settings(), claims, progress=_progress(self, len(claims))))


def hand_over(claims: Sequence[tuple[str, str]], **how: Any) -> None:
    """Have claimed logs imported, claim and name of each. `how`: what else the messages say."""
    for batch in importing.batches_of_claims(settings(), claims):
        import_claimed.apply_async(
            ([claim for claim, _ in batch],),
            argsrepr=f"({label([name for _, name in batch])!r})",
            ignore_result=True,
            **how,
        )


@app.task(**AGAIN_LATER, name="collect")
def collect(import_them: bool = True) -> dict[str, Any]:
    """Claim the settled logs in incoming/ and have each one imported (or leave that to the caller)."""
    collected = spool.collect(settings())
    if import_them:
        hand_over(collected.claims)
    return {"claims": collected.claims, "growing": collected.growing, "left": collected.left}


@app.task(**AGAIN_LATER, name="quarantine_retry", bind=True, takes_several=True)
def quarantine_retry(self: Reporting, items: list[str]) -> dict[str, Any]:
    """Import quarantined items again."""
    return _told(self, importing.retry_all(settings(), items, progress=_progress(self, len(items))))


@app.task(**AGAIN_LATER, name="quarantine_drop")
def quarantine_drop(item: str) -> dict[str, Any]:
    """Delete a quarantined item for good."""
    importing.drop(settings(), item)
    return {"item": item}


def _progress(task: Reporting, logs: int) -> BatchProgress:
    return lambda done: task.progress(int(done * PARTS), logs * PARTS)


def _told(task: Reporting, told: Sequence[Told]) -> dict[str, Any]:
    """What came of each log. Raises what may work later: those that are in change nothing when it is tried again.

    A single log's error is its task's.
    """
    later: Exception | None = None
    for one in told:
        if isinstance(one, (PassingFault, sqlite3.OperationalError, OSError)):
            later = one
        elif isinstance(one, Exception) and (len(told) == 1 or not isinstance(one, PdkError)):
            raise one
    is_last = task.request.called_directly or task.request.retries >= task.max_retries
    if later is not None and (len(told) == 1 or not is_last):
        raise later
    return {"logs": [one.as_json() if isinstance(one, Outcome) else {"error": in_words(one)} for one in told]}
