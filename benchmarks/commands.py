"""How long a person waits for a command to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import PDK, Measured, Workplace

if TYPE_CHECKING:
    from collections.abc import Iterator


def start(place: Workplace) -> Iterator[Measured]:
    """`pdk --help`, the start of Python included."""
    place.run([*PDK, "--help"])
    milliseconds = [place.run([*PDK, "--help"]).seconds * 1000 for _ in range(4 * place.repeats)]
    yield Measured("pdk --help", milliseconds, "ms", at_most=150)
