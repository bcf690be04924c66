"""Handing work over and waiting for it, with a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pdk_pipeline.cli.base import say
from pdk_pipeline.cli.tables import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pdk_pipeline.errors import PdkError
    from workers.dispatch import Call


def outcomes(
    calls: Sequence[Call], what: str, *, local: bool, is_quiet: bool = False
) -> Iterator[tuple[int, dict[str, Any] | PdkError]]:
    """What came of each call, as they finish: its index, and its outcome or the error that ended it."""
    from pdk_pipeline.config import settings
    from workers import dispatch

    parts = dict.fromkeys(range(len(calls)), 0.0)
    with progress_bar(what, is_wanted=not is_quiet and bool(calls)) as show:

        def on_progress(index: int, done: int, total: int) -> None:
            parts[index] = done / total if total else 1.0
            show(sum(parts.values()) / len(parts))

        try:
            for index, outcome in dispatch.run(settings(), calls, local=local, on_progress=on_progress, on_note=say):
                on_progress(index, 1, 1)
                yield index, outcome
        except KeyboardInterrupt:
            if not local:
                say("no longer waiting; what was handed to the workers goes on")
            raise


def outcome(call: Call, *, local: bool) -> dict[str, Any]:
    """What came of one call. Raises the error that ended it."""
    for _, result in outcomes([call], call.label, local=local):
        if isinstance(result, Exception):
            raise result
        return result
    raise AssertionError
