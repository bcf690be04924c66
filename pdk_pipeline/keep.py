"""How long runs of one kind are kept: the settings under `[keep.NAME]`. See `retention` for what is made of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_DAYS = 100_000
"""The calendar does not go back much further than that."""

Count = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=MOST_DAYS)]


class Keep(BaseModel):
    """What is kept of the runs of one kind. A run stays while one of `days` and `last` keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: Days | None = Field(default=None, description="runs that are no older than so many days")
    last: Count | None = Field(default=None, description="the newest so many runs, whatever their age")
    passing_logs_days: Days | None = Field(
        default=None, description="after so many days the logs of passing results go; the results stay"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Keep:
        if self.days is None and self.last is None and self.passing_logs_days is None:
            raise ValueError("it needs days, last or passing_logs_days")
        return self

    @property
    def deletes_runs(self) -> bool:
        """Whether whole runs go at all."""
        return self.days is not None or self.last is not None
