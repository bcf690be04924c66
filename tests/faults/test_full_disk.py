"""A disk that is full: one line that says so, nothing half done, and all goes on when there is room."""

from __future__ import annotations

import pytest

from pdk_pipeline import database
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import DiskFull
from tests.conftest import log_of, record, rows
from tests.faults.conftest import SmallDisk
from tests.stored import home_in, is_sound, take_in

ROOM_BYTES = [0, 4096, 40_960, 200_000]


@pytest.fixture
def home(small_disk: SmallDisk) -> Settings:
    home = small_disk.place / "home"
    home.mkdir()
    return home_in(home)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "a.pdklog"
    path.write_text(log_of(*(record(f"t{number}", log=f"{number:x}" * 200) for number in range(3000))))
    return path


@pytest.mark.parametrize("room", ROOM_BYTES)
@pytest.mark.parametrize("is_new", [True, False])
def test_an_import_on_a_full_disk_says_so_and_stores_all_or_nothing(room, is_new, home, log, small_disk):
    if not is_new:
        with database.writing(home):
            pass
    with small_disk.filled(but=room), pytest.raises(DiskFull, match="make room and do it again"):
        take_in(home, log)
    assert take_in(home, log).accepted == 3000
    assert rows(home, "SELECT count(*), count(DISTINCT test_name) FROM result_scalar") == [(3000, 3000)]
    assert is_sound(home)


def test_a_log_is_not_to_blame_for_a_full_disk_however_often_it_is_tried(home, log, small_disk):
    with database.writing(home):
        pass
    # Given room enough to note that an import begins, and none to note that it failed
    for _ in range(home.most_attempts + 1):
        with small_disk.filled(but=40_960), pytest.raises(DiskFull):
            take_in(home, log, delivery="the same")
    # Then it is imported when there is room, and not put into the quarantine
    assert take_in(home, log, delivery="the same").accepted == 3000
    assert rows(home, "SELECT * FROM import_attempt") == []


def test_reading_on_a_full_disk_either_works_or_says_so(home, log, small_disk):
    take_in(home, log)
    with small_disk.filled(), pytest.raises(DiskFull), database.reading(home):
        pass
