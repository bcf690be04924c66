"""Importing as tasks. Each takes several logs: a message costs as much as to import fifty results."""

from __future__ import annotations

import functools
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdk_pipeline import intake, quarantine, spool
from pdk_pipeline.config import settings
from pdk_pipeline.errors import PassingFault, PathRefused, PdkError, in_words
from workers import broker
from workers.app import Reporting, app
from workers.call import label
from workers.tasks import AGAIN_LATER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pdk_pipeline.intake import Log, Progress
    from pdk_pipeline.ledger import Outcome

PARTS = 1000
"""In how many parts the progress of one log is told."""


@app.task(**AGAIN_LATER, name="import_logs", bind=True, takes_several=True)
def import_logs(
    self: Reporting, logs: list[list[str]], options: dict[str, Any], archive: bool = False
) -> dict[str, Any]:
    """Import logs where they lie: of each its path and a delivery, unique to this handing-over."""
    taken = intake.Options.from_json(options)
    is_from_elsewhere = not self.request.called_directly and broker.is_networked(broker.address(settings()))
    paths = {delivery: Path(path) for path, delivery in logs if not is_from_elsewhere or _may_be_named(Path(path))}

    def take_in(one: list[str], progress: Progress) -> Outcome:
        path, delivery = one
        if delivery not in paths:
            raise PathRefused(path, advice="The setting import_roots names directories; `--local` needs none.")
        return intake.import_file(
            settings(), paths[delivery], taken, delivery=delivery, archive=archive, progress=progress, read=read
        )

    with intake.read_ahead(settings(), paths, taken) as read:
        return _each(self, logs, take_in)


def _may_be_named(path: Path) -> bool:
    """Whether another machine has a right to name a path."""
    roots = [settings().spool, *settings().import_roots]
    # Links are followed first: one in a shared directory may point anywhere.
    return any(path.resolve().is_relative_to(root.resolve()) for root in roots)


@app.task(**AGAIN_LATER, name="import_claimed", bind=True, takes_several=True)
def import_claimed(self: Reporting, claims: list[str], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """Import logs that the spool has claimed, and archive them."""
    taken = intake.Options.from_json(options) if options else intake.FROM_INCOMING

    def take_in(claim: str, progress: Progress) -> Outcome:
        return intake.import_claimed(settings(), claim, options=taken, progress=progress, read=read)

    with intake.read_claimed_ahead(settings(), claims, taken) as read:
        return _each(self, claims, take_in)


def hand_over(claims: Sequence[tuple[str, str]], **how: Any) -> None:
    """Have claimed logs imported, claim and name of each. `how`: what else the messages say."""
    for batch in intake.batches_of_claims(settings(), claims):
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
    return _each(self, items, lambda item, progress: intake.retry(settings(), item, progress=progress))


@app.task(**AGAIN_LATER, name="quarantine_drop")
def quarantine_drop(item: str) -> dict[str, Any]:
    """Delete a quarantined item for good."""
    quarantine.drop(settings(), item)
    return {"item": item}


def _each(task: Reporting, logs: Sequence[Log], take_in: Callable[[Log, Progress], Outcome]) -> dict[str, Any]:
    """Import each, whatever is wrong with another. Of each the outcome, or the error.

    Raises what may work later, when all have had their turn: those that are in already change nothing when it is tried
    again. A single log's error is its task's.
    """
    done: list[dict[str, Any]] = []
    later: Exception | None = None
    for number, one in enumerate(logs):
        progress = functools.partial(_tell_part, task, number, len(logs))
        try:
            done.append(take_in(one, progress).as_json())
        except (PassingFault, sqlite3.OperationalError, OSError) as error:
            later = error
            done.append({"error": in_words(error)})
        except PdkError as error:
            if len(logs) == 1:
                raise
            done.append({"error": in_words(error)})
    is_last = task.request.called_directly or task.request.retries >= task.max_retries
    if later is not None and (len(logs) == 1 or not is_last):
        raise later
    return {"logs": done}


def _tell_part(task: Reporting, number: int, logs: int, done: int, total: int) -> None:
    task.progress(number * PARTS + (done * PARTS // total if total else PARTS), logs * PARTS)
