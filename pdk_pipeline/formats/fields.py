"""From a record's fields to a result: the rules of the fields, whatever format they came in."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.formats.times import parse_time
from pdk_pipeline.results import STATUSES, Attention, Result, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

DEFAULTABLE = ("host", "context", "custom", "project", "test_runner", "test_run")
"""Fields that the command line can give for logs that lack them."""

BLANK = dict.fromkeys(
    (
        *("test_run", "project", "host", "context", "custom", "test_name", "name", "status", "attn"),
        *("start_time", "end_time", "test_runner", "location"),
    ),
    "",
)
"""Every field with a meaning of its own, not given: what the fields of a record begin with."""

LONGEST_REMEMBERED = 1024
"""Letters of a name that is kept in memory once it has been cleaned: of longer ones thousands would take gigabytes."""

_known = itemgetter(*BLANK)
_CLEAN = re.compile(r"[^ \t\n/.][^ \t\n/]*+(?:/[^ \t\n/]++)*/?")
_ENDINGS = (".xml", ".log")
_BLANKS = str.maketrans(" \t\n", "___")
ATTENTION = frozenset(Attention)
"""What the field `attn` may say."""
# Plain strings: sqlite3 looks for an adapter whenever it meets a subclass of one.
_PASS, _NEEDED, _NOT_NEEDED = Status.PASS.value, Attention.NEEDED.value, Attention.NOT_NEEDED.value
NOT_A_TEST = "nose.failure.Failure.runTest"
"""How the name of something ends that is by rule not a test."""


class Unfit(NamedTuple):
    """Fields that make no result, and why."""

    reason: str
    is_skipped: bool = False
    """By rule not a test, rather than bad."""


def clean_name(name: str) -> str:
    """A test's name as it is kept. Source: the PDK log format, "Test names are cleaned on the way in"."""
    return _remembered(name) if len(name) <= LONGEST_REMEMBERED else _cleaned(name)


def _cleaned(name: str) -> str:
    if _CLEAN.fullmatch(name) and not name.endswith(_ENDINGS):
        return name
    name = name.translate(_BLANKS).lstrip("/.")
    while "//" in name:
        name = name.replace("//", "/")
    return name[:-4] if name.endswith(_ENDINGS) else name


def attention(status: str) -> str:
    """Whether somebody should look at a result that does not say it itself."""
    return _NOT_NEEDED if status == _PASS else _NEEDED


_remembered = lru_cache(maxsize=8192)(_cleaned)  # the next machine runs the same tests


def interpret(fields: Mapping[str, str], log: bytes, zone: tzinfo | None, warnings: list[str]) -> Result | Unfit:
    """The result that `fields` (BLANK, the defaults, then its own, names in lower case) and the dotted `log` say.

    What costs only itself (an unreadable time) is appended to `warnings`.
    Source: the PDK log format, Fields.
    """
    test_run, project, host, context, custom, name, alias, status, attn, start, end, runner, location = _known(fields)
    name = clean_name(name or alias)
    if not (name and test_run and project and status):
        required = {"test_run": test_run, "project": project, "test_name": name, "status": status}
        return Unfit("no " + ", no ".join(field for field, value in required.items() if not value))
    if status not in STATUSES:
        return Unfit(f"status {status[:40]!r} is not one of P F E D M, nor a lower-case letter")
    if name.endswith(NOT_A_TEST):
        return Unfit(f"{name} is not a test", is_skipped=True)

    start_time = parse_time(start, zone) if start else None
    end_time = parse_time(end, zone) if end else None
    for field, text, seconds in (("start_time", start, start_time), ("end_time", end, end_time)):
        if seconds is None and text:
            warnings.append(f"{field} {text[:40]!r} cannot be read; {name} is kept without it")
    if attn and attn not in ATTENTION:
        warnings.append(f"attn {attn[:40]!r} is not one of Y N R; it is taken from the status")
        attn = ""
    tda: dict[str, str] = {}
    tra: dict[str, str] = {}
    for field, value in islice(fields.items(), len(BLANK), None):
        prefix = field[:4]
        if prefix == "tra_":
            tra[field[4:]] = value
        elif prefix == "tda_":
            tda[field[4:]] = value
    return Result(
        test_run,
        project,
        host or "unknown",
        context or "default",
        custom,
        name,
        status,
        attn or attention(status),
        start_time,
        end_time,
        runner,
        location,
        tda,
        tra,
        log,
    )
