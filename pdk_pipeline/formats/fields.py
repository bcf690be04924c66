"""From a record's fields to a result: the rules of the fields, whatever format they came in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.formats.times import parse_time
from pdk_pipeline.results import STATUSES, Attention, Result, Status

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

DEFAULTABLE = ("host", "context", "custom", "project", "test_runner", "test_run")
"""Fields that the command line can give for logs that lack them."""

_UNCLEAN = re.compile(r"[ \t\n]|//|^[/.]|\.(?:xml|log)$")
_BLANKS = str.maketrans(" \t\n", "___")
_ATTENTION = frozenset(Attention)
_NOT_A_TEST = "nose.failure.Failure.runTest"


class Unfit(NamedTuple):
    """Fields that make no result, and why."""

    reason: str
    is_skipped: bool = False
    """By rule not a test, rather than bad."""


def clean_name(name: str) -> str:
    """A test's name as it is kept. Source: the PDK log format, "Test names are cleaned on the way in"."""
    if not _UNCLEAN.search(name):
        return name
    name = name.translate(_BLANKS).lstrip("/.")
    while "//" in name:
        name = name.replace("//", "/")
    return name[:-4] if name.endswith((".xml", ".log")) else name


def interpret(fields: Mapping[str, str], log: bytes, zone: tzinfo | None, warnings: list[str]) -> Result | Unfit:
    """The result that `fields` (defaults included, names in lower case) and the dotted `log` say.

    What costs only itself (an unreadable time) is appended to `warnings`.
    Source: the PDK log format, Fields.
    """
    get = fields.get
    name = clean_name(get("test_name") or get("name") or "")
    test_run, project, status = get("test_run"), get("project"), get("status")
    if not (name and test_run and project and status):
        required = {"test_run": test_run, "project": project, "test_name": name, "status": status}
        return Unfit("no " + ", no ".join(field for field, value in required.items() if not value))
    if status not in STATUSES:
        return Unfit(f"status {status[:40]!r} is not one of P F E D M, nor a lower-case letter")
    if name.endswith(_NOT_A_TEST):
        return Unfit(f"{name} is not a test", is_skipped=True)

    start, end = get("start_time"), get("end_time")
    tda: dict[str, str] = {}
    tra: dict[str, str] = {}
    for field, value in fields.items():
        prefix = field[:4]
        if prefix == "tra_":
            tra[field[4:]] = value
        elif prefix == "tda_":
            tda[field[4:]] = value
    result = Result(
        test_run,
        project,
        get("host") or "unknown",
        get("context") or "default",
        get("custom") or "",
        name,
        status,
        _attention(get("attn"), status, warnings),
        parse_time(start, zone) if start else None,
        parse_time(end, zone) if end else None,
        get("test_runner") or "",
        get("location") or "",
        tda,
        tra,
        log,
    )
    if (start and result.start_time is None) or (end and result.end_time is None):
        for field, text, seconds in (("start_time", start, result.start_time), ("end_time", end, result.end_time)):
            if text and seconds is None:
                warnings.append(f"{field} {text[:40]!r} cannot be read; {name} is kept without it")
    return result


def _attention(attn: str | None, status: str, warnings: list[str]) -> str:
    if attn in _ATTENTION:
        return attn
    if attn:
        warnings.append(f"attn {attn[:40]!r} is not one of Y N R; it is taken from the status")
    return Attention.NOT_NEEDED if status == Status.PASS else Attention.NEEDED
