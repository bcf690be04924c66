"""Results as a PDK log again, such that reading it gives the same results."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from pdk_pipeline.formats.text import dotted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pdk_pipeline.results import Result

_ONE_LINE = re.compile(r"[^\n]*(?<![ \t\r\n\x0b\x0c])")  # the reader takes white space off the end of a line
_UNSAFE_ENDINGS = (".xml", ".log", "\r", "\x0b", "\x0c")


def field_as_text(name: str, value: str) -> bytes:
    """One field, as `name=value` where that says the same, else as a multi-line field."""
    if _ONE_LINE.fullmatch(value):
        return f"{name}={value}\n".encode()
    # The name of a multi-line field can hold no colon; other formats know none of this.
    return f"{name.replace(':', '_')}:\n".encode() + _closed(dotted(value.encode()))


def fields_as_text(fields: Mapping[str, str], log: bytes) -> bytes:
    """Fields and the dotted `log`, if it has one."""
    text = b"".join(field_as_text(name, value) for name, value in fields.items())
    return text + log_as_text(log) if log else text


def log_as_text(log: bytes) -> bytes:
    """The log field of a record, from its dotted lines."""
    # A log without a line end was written on one line, and is read so again.
    return b"log:\n" + log + b"\n" if log.endswith(b"\n") else b"log=" + log[1:] + b"\n"


def _closed(lines: bytes) -> bytes:
    return lines + (b"\n" if lines.endswith(b"\n") or not lines else b"\n\n")


def record_as_text(result: Result) -> bytes:
    """The whole record of a result, its END and a blank line included."""
    fields = {
        "test_run": result.test_run,
        "project": result.project,
        "host": result.host,
        "context": result.context,
        "custom": result.custom,
        "test_runner": result.test_runner,
        # The reader takes one such ending off; another one protects what is part of the name.
        "test_name": result.test_name + (".log" if result.test_name.endswith(_UNSAFE_ENDINGS) else ""),
        "status": result.status,
        "attn": result.attn,
        "start_time": _time(result.start_time),
        "end_time": _time(result.end_time),
        "location": result.location,
    }
    present = {name: value for name, value in fields.items() if value}
    attributes = {f"tda_{name}": value for name, value in result.definition_attributes.items()}
    attributes |= {f"tra_{name}": value for name, value in result.result_attributes.items()}
    return fields_as_text(present | attributes, result.log) + b"END\n\n"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    exactly = repr(seconds).removesuffix(".0")
    # Never in the form 1e-05, which no reader of logs knows.
    return f"{Decimal(exactly):f}" if "e" in exactly else exactly
