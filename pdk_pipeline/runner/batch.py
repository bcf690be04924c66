"""What all results of one run of tests have in common, and where it is taken from."""

from __future__ import annotations

import getpass
import os
import re
import socket
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.errors import BadEnvironment

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {
    "test_run": ("PDK_TEST_RUN", "PDK_TESTRUN"),
    "project": ("PDK_PROJECT",),
    "host": ("PDK_HOST",),
    "context": ("PDK_CONTEXT",),
    "custom": ("PDK_CUSTOM",),
}
"""The environment variables of each part of a Batch; the first that is set counts.

Pandokia says PDK_TEST_RUN in one place and PDK_TESTRUN in another.
"""

_RELATIVE = re.compile(r"daily_(?:latest|today|yesterday)")


class Batch(NamedTuple):
    """The part of a result's identity that is the same for all tests that are run together."""

    test_run: str
    project: str
    host: str
    context: str
    custom: str

    def variables(self) -> dict[str, str]:
        """The environment variables that say the same."""
        return {variable: value for part, value in self._asdict().items() for variable in VARIABLES[part]}


def batch_of(given: Mapping[str, str | None], environment: Mapping[str, str], otherwise: Batch | None = None) -> Batch:
    """The batch that options say, else the environment, else `otherwise` (by default what `default` makes)."""
    otherwise = otherwise or default()
    parts = {}
    for part, variables in VARIABLES.items():
        set_ = next((environment[variable] for variable in variables if environment.get(variable)), "")
        parts[part] = given.get(part) or set_ or getattr(otherwise, part)
    return Batch(**parts)


def refuse_relative(batch: Batch) -> None:
    """Raises BadEnvironment when the test run is one that means another one every day, which nothing would find.

    Which one it is depends on the site's settings, and they are not known here: `pdk run` asks them.
    """
    if _RELATIVE.fullmatch(batch.test_run):
        raise BadEnvironment(f"the test run {batch.test_run} is another one every day", advice="Say which by its date.")


def default() -> Batch:
    """The batch of tests that somebody runs by hand, now: `user_ann_2026-11-23-12.30.05` on this machine."""
    test_run = f"user_{_user()}_{datetime.now().astimezone():%Y-%m-%d-%H.%M.%S}"
    return Batch(test_run, "default", socket.gethostname().partition(".")[0] or "unknown", "default", "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a number without a name
        return str(os.getuid())
