"""`pdk up` on a disk that is full, its own output too: it goes on, and all goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import log_of, record, rows
from tests.faults.conftest import SmallDisk
from tests.integration.processes import PATIENCE_SECONDS, PDK
from tests.stored import home_in
from workers import broker


def wait_for(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_up_survives_a_full_disk_its_own_output_too(small_disk: SmallDisk, pdk):
    home = home_in(small_disk.place / "home")
    home.home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
    with Path("/dev/full").open("wb") as full:
        up = subprocess.Popen(
            [*PDK, "up", "--no-flower"],
            env=environment | {"PDK_HOME": str(home.home)},
            stdout=full,
            stderr=full,
            start_new_session=True,
        )

    def give_import():
        return pdk("import", "-", input=log_of(record("t1")), PDK_HOME=str(home.home))

    try:
        wait_for(lambda: "started_at" in (broker.holder(home) or {}))
        # Given a disk that is full, on which everybody wants to write something
        with small_disk.filled():
            done = give_import()
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) <= 3
            assert "Traceback" not in done.stderr
        # When there is room again, then it is the same one that does what is to be done
        wait_for(lambda: give_import().returncode == 0)
        assert up.poll() is None
        assert rows(home, "SELECT count(*) FROM result") == [(1,)]
    finally:
        up.terminate()
        up.wait(timeout=PATIENCE_SECONDS)
