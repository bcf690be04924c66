"""Two runs → what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdk_pipeline.comparison.changes import Comparison
    from pdk_pipeline.database import Connection
    from pdk_pipeline.runs import Run


def previous(db: Connection, run: Run) -> Run | None:
    """The run that `run` is compared with when nobody says another: the newest earlier one of the same kind."""
    raise NotImplementedError


def compare(db: Connection, run: Run, against: Run | None) -> Comparison:
    """What changed in `run` since `against` (see `Category` for what is what).

    A few set operations, whatever the number of results; only what changed or is bad becomes an object.
    """
    raise NotImplementedError
