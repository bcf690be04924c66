"""What all results of one run of tests have in common, and where it is taken from."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

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


def default() -> Batch:
    """The batch of tests that somebody runs by hand, now: `user_ann_2026-11-23-12.30.05` on this machine."""
    test_run = f"user_{_user()}_{datetime.now().astimezone():%Y-%m-%d-%H.%M.%S}"
    return Batch(test_run, "default", socket.gethostname().partition(".")[0] or "unknown", "default", "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, a number without a name
        return str(os.getuid())
