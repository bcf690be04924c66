"""A disk that is small enough to be filled, where this machine lets us have one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.installation import mounted
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

    @contextlib.contextmanager
    def filled(self, *, but: int = 0) -> Iterator[None]:
        """Full, but for so many bytes."""
        filler = self.place / "filler"
        with filler.open("wb") as file:
            about = os.statvfs(self.place)
            os.posix_fallocate(file.fileno(), 0, max(about.f_bavail * about.f_frsize - but, 1))
        try:
            yield
        finally:
            filler.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    place = tmp_path / "disk"
    place.mkdir()
    if not mounted(place, 16 << 20):
        pytest.skip("only the superuser may mount a small disk")
    yield SmallDisk(place)
    subprocess.run(["umount", "--lazy", place], check=True)
