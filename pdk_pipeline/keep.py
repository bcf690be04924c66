"""How long runs of one kind are kept: the settings under `[keep.NAME]`. See `retention` for what is made of them."""

from __future__ import annotations

import attrs

from pdk_pipeline.values import optional, setting, whole

MOST_DAYS = 100_000
"""The calendar does not go back much further than that."""

_DAYS = optional(whole(1, MOST_DAYS))


@attrs.frozen(kw_only=True)
class Keep:
    """What is kept of the runs of one kind. A run stays while one of `days` and `last` keeps it."""

    days: int | None = setting(_DAYS, None, "runs that are no older than so many days")
    last: int | None = setting(optional(whole(1)), None, "the newest so many runs, whatever their age")
    passing_logs_days: int | None = setting(
        _DAYS, None, "after so many days the logs of passing results go; the results stay"
    )

    def __attrs_post_init__(self) -> None:
        """Raises ValueError."""
        if self.days is None and self.last is None and self.passing_logs_days is None:
            raise ValueError("it needs days, last or passing_logs_days")

    @property
    def deletes_runs(self) -> bool:
        """Whether whole runs go at all."""
        return self.days is not None or self.last is not None
