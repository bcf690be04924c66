"""From what stands in a report to what a PDK log's fields can hold, so that both say the same."""

from __future__ import annotations

import re
from array import array

from pdk_pipeline.errors import LacksFields
from pdk_pipeline.formats.fields import clean_name

_ENDS_OF_LINES = " \t\r\n\v\f"
_UNFIT_IN_NAMES = re.compile(r"[\s=:]+")
_SECONDS = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_DISTINGUISHES_OBJECTS = re.compile(r" at 0x[0-9a-fA-F]+|(?<=[\w$\]])(?:/0x[0-9a-f]+)?@[0-9a-f]{5,8}\b(?!\.)")
"""Addresses and hash codes of objects, which are others every night."""


def one_line(text: str) -> str:
    """Text for a field of one line."""
    return " ".join(text.split())


def field_value(text: str) -> str:
    """Text for an attribute: nothing white at the end of a line, and a line end behind several lines."""
    text = text.rstrip(_ENDS_OF_LINES)
    return f"{text}\n" if "\n" in text else text


def attribute_name(name: str, prefix: str = "tra_") -> str:
    """The field for an attribute of that name, which may say itself whether it is tda or tra; empty for none."""
    folded = _UNFIT_IN_NAMES.sub("_", name.strip().lower())
    return folded if folded.startswith(("tda_", "tra_")) else folded and prefix + folded


def seconds(text: str) -> float | None:
    """A duration; None when it cannot be read. 1,234.5 and 0,5 are numbers too, in other countries."""
    text = text.strip()
    text = text.replace(",", "") if "." in text else text.replace(",", ".")
    return float(text) if _SECONDS.fullmatch(text) else None


def same_every_night(name: str) -> str:
    """A name without the addresses of objects, as parameters have them."""
    return _DISTINGUISHES_OBJECTS.sub("", name) if "@" in name or " at 0x" in name else name


def require(fields: dict[str, str], advice: str) -> None:
    """Raise LacksFields, once for a log, when nothing says which run and project its results belong to."""
    missing = [f"no {name}" for name in ("test_run", "project") if not fields[name]]
    if missing:
        raise LacksFields(", ".join(missing), advice=advice)


class Numbering:
    """Names of tests, each given once: the second of a name gets ~2, in the order of the report."""

    def __init__(self) -> None:
        self._taken = _Hashes()
        self._repeated: dict[int, int] = {}

    def numbered(self, place: tuple[str, ...], name: str) -> str:
        """The name under which a test of that name in that place (run, host …) can be told from those before it."""
        cleaned = clean_name(name)
        key = hash((place, cleaned))
        if self._taken.add(key) or not cleaned:
            # A cleaned name is cleaned again, which does nothing to it but take another such ending off.
            return name if cleaned.endswith((".xml", ".log")) else cleaned
        number = self._repeated.get(key, 1)
        while True:
            number += 1
            numbered = f"{cleaned}~{number}"
            if self._taken.add(hash((place, numbered))):
                break
        self._repeated[key] = number
        return numbered


class _Hashes:
    """A set of hashes, in 16 bytes each: a report may have millions of names."""

    def __init__(self) -> None:
        self._slots = array("q", bytes(1 << 13))
        self._count = 0

    def add(self, number: int) -> bool:
        """Whether it is new."""
        number = number or 1  # 0 is a free slot
        slots, last = self._slots, len(self._slots) - 1
        slot = number & last
        while found := slots[slot]:
            if found == number:
                return False
            slot = (slot + 1) & last
        slots[slot] = number
        self._count += 1
        if 3 * self._count > 2 * len(slots):
            self._slots, self._count = array("q", bytes(16 * len(slots))), 0
            for each in filter(None, slots):
                self.add(each)
        return True
