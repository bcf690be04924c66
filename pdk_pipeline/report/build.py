"""A comparison → the document that one reader gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdk_pipeline.report.document import Document, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from pdk_pipeline.comparison import Comparison


def build(
    comparison: Comparison,
    *,
    projects: Collection[str] | None = None,
    tests: Callable[[str, str], bool] | None = None,
    results: Collection[int] | None = None,
    kind: Kind = Kind.FULL,
    most_lines: int | None = None,
) -> Document:
    """What a reader is told who is concerned with some results only.

    `projects`: None is all of them. `tests(project, test name)`: whether the reader wants to hear of a test.
    `results`: ids of the run's results that the reader is concerned with (what is gone has none, and is left out).
    All that are given must hold. A silent host is told with the number of the reader's own tests.
    `most_lines`: so many lines of tests at most, the most urgent of every project first; None is no limit.
    """
    raise NotImplementedError


def addendum(
    comparison: Comparison,
    told: Iterable[Sequence[str | None]],
    *,
    projects: Collection[str] | None = None,
    tests: Callable[[str, str], bool] | None = None,
    results: Collection[int] | None = None,
    kind: Kind = Kind.FULL,
    most_lines: int | None = None,
) -> Document:
    """Only what changed since a first document of the same run, whose `told` is given.

    What is new is listed as always; what was told and is so no more (a host's log arrived late) is listed as settled.
    `document.is_empty` says that there is nothing to send.
    """
    raise NotImplementedError
