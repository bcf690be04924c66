"""A disk that is small enough to be filled, where this machine lets us have one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.faults.installation import filled, mounted
from tests.integration.conftest import (  # noqa: F401  (fixtures)
    broker_url,
    environment,
    pdk,
    start,
    start_up,
    start_worker,
)


class SmallDisk:
    """A file system of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def filled(self, *, but: int = 0) -> AbstractContextManager[None]:
        """Full, but for so many bytes."""
        return filled(self.place, but=but)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    place = tmp_path / "disk"
    place.mkdir()
    if not mounted(place, 16 << 20):
        pytest.skip("only the superuser may mount a small disk")
    yield SmallDisk(place)
    subprocess.run(["umount", "--lazy", place], check=True)
