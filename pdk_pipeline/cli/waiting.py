"""Handing work over and waiting for it, with a progress bar."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from pdk_pipeline.cli.base import say
from pdk_pipeline.cli.tables import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pdk_pipeline.errors import PdkError
    from workers.dispatch import Call


def outcomes(
    calls: Sequence[Call], what: str, *, local: bool, is_quiet: bool = False
) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
    """What came of each call, as they finish: its index, and its outcome or the error that ended it."""
    from pdk_pipeline.config import settings
    from workers import dispatch

    parts = [0.0] * len(calls)
    whole = 0.0
    with progress_bar(what, is_wanted=not is_quiet and bool(calls)) as show:

        def on_progress(index: int, done: int, total: int) -> None:
            nonlocal whole
            part = done / total if total else 1.0
            whole += part - parts[index]
            parts[index] = part
            show(whole / len(parts))

        try:
            for index, outcome in dispatch.run(settings(), calls, local=local, on_progress=on_progress, on_note=say):
                on_progress(index, 1, 1)
                yield index, outcome
        except KeyboardInterrupt:
            if dispatch.broker_for(settings(), local=local) is None:
                say("what was finished before stays; the same command again does the rest")
            else:
                say("no longer waiting; what was handed to the workers goes on")
            raise


def outcome(call: Call, *, local: bool) -> dict[str, Any]:
    """What came of one call. Raises the error that ended it."""
    for _, result in outcomes([call], call.label, local=local):
        if isinstance(result, Exception):
            raise result
        return result
    raise AssertionError


def in_steps(
    make_call: Callable[[Any], Call],
    what: str,
    *,
    total: int,
    local: bool,
    is_quiet: bool = False,
    max_seconds: float | None = None,
) -> Iterator[dict[str, Any]]:
    """What came of each step of long work (`purge.steps`): a call at a time, so that others get their turn.

    `make_call` is told where to go on. `total`: about how much there is to remove. After `max_seconds` no further step
    is begun. Raises the error that ended one.
    """
    from pdk_pipeline import database
    from pdk_pipeline.config import settings
    from workers import dispatch

    began = time.monotonic()
    done = 0
    place = None
    # A connection stays open throughout, or SQLite would tidy up after every step that is done in this process.
    with progress_bar(what, is_wanted=not is_quiet) as show, contextlib.ExitStack() as until_the_end:
        while True:
            for _, step in dispatch.run(
                settings(), [make_call(place)], local=local, on_progress=lambda *_: None, on_note=say
            ):
                if isinstance(step, Exception):
                    raise step
                done += sum(count for name, count in step["removed"].items() if name != "bytes")
                show(min(done / total, 1.0) if total else 1.0)
                yield step
                is_first = place is None
                place = step["next"]
            if place is None or (max_seconds is not None and time.monotonic() - began >= max_seconds):
                return
            if is_first:
                connection = database.connect(settings().database, read_only=True)
                until_the_end.enter_context(contextlib.closing(connection))
