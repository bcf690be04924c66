"""What could not be imported is kept, shown, mended, tried again, and dropped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pdk_pipeline import database
from pdk_pipeline.errors import UnknownQuarantineItem
from pdk_pipeline.intake import archive, importing, ledger, quarantine, spool
from tests.conftest import log_of, record, rows
from tests.stored import counts, import_claimed, results, spooled, statuses, take_in
from tests.typed import Terminal
from tests.unit.reading import read, rejections
from tests.unit.test_pdk_properties import LOGS

BAD = "test_name=bad\nstatus=?\nlog:\n.some text\n\nEND\n\n"
CUT = "test_name=cut\nstatus=F\nlog:\n.half a"


@pytest.fixture
def item(home, make_log) -> str:
    """The item of a log with a good record and a bad one."""
    return take_in(home, make_log("a.pdklog", record("good"), BAD)).quarantine_item


def content(home, item: str) -> Path:
    return quarantine.content_path(home, item)


def mend(home, item: str, old: str = "status=?", new: str = "status=E") -> None:
    path = content(home, item)
    path.write_text(path.read_text().replace(old, new))


# Kept -----------------------------------------------------------------------------------------------------------


def test_a_bad_record_is_kept_byte_for_byte_with_where_it_came_from_and_why(home, tmp_path):
    log = log_of(record("good"), BAD).encode() + b"\xff\xfe\nEND\n" + CUT.encode()
    (tmp_path / "log").write_bytes(log)
    outcome = take_in(home, tmp_path / "log")
    assert outcome.quarantined == 3
    (note,) = quarantine.notes(home)
    assert note.id == outcome.quarantine_item
    assert (note.file, note.records, note.sha256, note.is_whole_file) == (
        str(tmp_path / "log"), 3, outcome.sha256, False
    )  # fmt: skip
    line = log[: log.index(b"test_name=bad")].count(b"\n") + 1
    assert note.reason == f"line {line}: status '?' is not one of P F E D M, nor a lower-case letter"
    told = list(quarantine.records(home, note.id))
    kept = content(home, note.id).read_bytes()
    for place, text in told:
        raw = log[place.offset : place.offset + place.length]
        assert kept[place.start : place.start + place.length] == raw
        assert text == raw.decode("utf-8", "backslashreplace")
        assert log[: place.offset].count(b"\n") + 1 == place.line
    assert [text.split("\n")[0] for _, text in told] == ["test_name=bad", "\\xff\\xfe", "test_name=cut"]


def test_it_is_tried_again_with_the_options_of_the_last_import_that_reported_it(home, tmp_path):
    log = tmp_path / "log"
    log.write_text(f"START\ntest_run=daily_2026-11-23\nproject=p\nSETDEFAULT\n{BAD}")
    item = take_in(home, log, defaults={"host": "wrong"}).quarantine_item
    mend(home, item)
    assert take_in(home, log, defaults={"host": "banana"}).quarantine_item == item
    importing.retry(home, item)
    assert rows(home, "SELECT host, test_name FROM result_scalar") == [("banana", "bad")]


@pytest.mark.parametrize("odd", [{"file": 5}, {"records": "x"}, {"quarantined_at": "y"}, {"options": []}])
def test_a_note_that_somebody_has_spoiled_hides_no_other_item(home, item, odd):
    place = quarantine.directory(home) / "spoiled"
    place.mkdir()
    good = json.loads((quarantine.directory(home) / item / "note.json").read_text())
    (place / "note.json").write_text(json.dumps(good | {"id": "spoiled"} | odd))
    assert {note.id for note in quarantine.notes(home)} == {item, "spoiled"}
    assert quarantine.note(home, "spoiled").reason == "its note cannot be read"


def test_an_item_that_is_named_twice_is_dropped_once(home, item, capsys, monkeypatch):
    seen = Terminal(home, capsys, monkeypatch)("quarantine", "drop", "--json", item, item[:6])
    assert (seen.status, seen.data) == (0, {"dropped": [item]})


def test_nothing_bad_leaves_no_item(home, make_log):
    assert take_in(home, make_log("a.pdklog", record("good"))).quarantine_item is None
    assert quarantine.notes(home) == []


def test_the_same_bad_record_of_one_log_is_one_item(home, make_log):
    log = make_log("a.pdklog", BAD)
    first = take_in(home, log).quarantine_item
    mend(home, first, "some text", "somebody is at it")
    assert take_in(home, log).quarantine_item == first
    assert "somebody is at it" in content(home, first).read_text()
    assert len(quarantine.notes(home)) == 1


def test_the_same_bad_record_of_two_logs_is_two_items(home, make_log):
    first = take_in(home, make_log("a.pdklog", BAD)).quarantine_item
    second = take_in(home, make_log("b.pdklog", BAD, record("more"))).quarantine_item
    assert first != second
    assert len(quarantine.notes(home)) == 2


def test_a_record_too_large_to_hold_is_kept_whole(home, tmp_path):
    small = evolve(home, record_limit_mb=1)
    large = "test_name=large\nstatus=F\nlog:\n" + "".join(f".line {number}\n" for number in range(400_000)) + "\nEND\n"
    (tmp_path / "log").write_text(log_of(record("a"), large, record("b")))
    outcome = take_in(small, tmp_path / "log")
    assert counts(outcome) == {"records": 3, "accepted": 2, "quarantined": 1}
    assert large in content(home, outcome.quarantine_item).read_text()
    ((place, text),) = quarantine.records(home, outcome.quarantine_item)
    assert place.reason == "the record is larger than 1 MB"
    assert len(text) == quarantine.SHOWN_BYTES
    # With a limit that it fits into it is a result.
    assert counts(importing.retry(home, outcome.quarantine_item)) == {"records": 1, "accepted": 1}
    assert quarantine.notes(home) == []


# Listed and shown -----------------------------------------------------------------------------------------------


def test_items_are_listed_the_oldest_first(home, make_log):
    items = [take_in(home, make_log(f"{number}", BAD, record(f"{number}"))).quarantine_item for number in range(5)]
    assert [note.id for note in quarantine.notes(home)] == items


def test_without_a_spool_there_is_nothing(home):
    assert quarantine.notes(home) == []
    with pytest.raises(UnknownQuarantineItem):
        quarantine.note(home, "abc")


def test_the_beginning_of_an_id_is_enough_when_it_is_one_items(home):
    for name in ("abc123", "abc456", "b", "bb"):
        (quarantine.directory(home) / name).mkdir(parents=True)
    assert quarantine.note(home, "abc1").id == "abc123"
    assert quarantine.note(home, "b").id == "b"
    with pytest.raises(UnknownQuarantineItem) as several:
        quarantine.note(home, "abc")
    assert str(several.value) == (
        "There is nothing of that id in the quarantine: abc (several begin so). `pdk quarantine list` shows them."
    )
    for unknown in ("", "x", "abc1234", "../quarantine", ".", "*"):
        with pytest.raises(UnknownQuarantineItem):
            quarantine.note(home, unknown)


@pytest.mark.parametrize("note", ["", "[]", "{", '{"id": "x"}', None])
def test_a_damaged_note_does_not_hide_the_other_items(home, make_log, item, note):
    path = quarantine.directory(home) / item / "note.json"
    path.unlink() if note is None else path.write_text(note)
    other = take_in(home, make_log("b", BAD, record("b"))).quarantine_item
    assert {note.id: note.reason.partition(":")[0] for note in quarantine.notes(home)} == {
        item: "its note cannot be read",
        other: "line 10",
    }
    mend(home, item)
    assert counts(importing.retry(home, item)) == {"records": 1, "accepted": 1}
    assert [note.id for note in quarantine.notes(home)] == [other]


def test_what_else_lies_there_disturbs_nobody(home, item):
    (quarantine.directory(home) / "README").write_text("somebody's own")
    (quarantine.directory(home) / ".staging-abc").mkdir()
    assert [note.id for note in quarantine.notes(home)] == [item]


@pytest.mark.parametrize("name", ["records.jsonl", "content"])
def test_an_item_that_somebody_took_apart_can_be_shown_and_dropped(home, item, name):
    (quarantine.directory(home) / item / name).unlink()
    assert list(quarantine.records(home, item)) == []
    quarantine.drop(home, item)
    assert quarantine.notes(home) == []


def test_once_edited_the_texts_are_not_cut_out_of_the_wrong_places(home, item):
    assert [text for _, text in quarantine.records(home, item)] == [BAD.removesuffix("\n")]
    mend(home, item, "some text", "some other text")
    ((place, text),) = quarantine.records(home, item)
    assert text == ""
    assert "status" in place.reason


# Tried again ----------------------------------------------------------------------------------------------------


def test_a_mended_record_is_imported_and_archived(home, item):
    mend(home, item)
    outcome = importing.retry(home, item)
    assert counts(outcome) == {"records": 1, "accepted": 1}
    assert outcome.file.endswith("a.pdklog (mended)")
    assert statuses(home) == {"good": "P", "bad": "E"}
    assert results(home)[0][:4] == ("daily_2026-11-23", "calib", "banana", "py311")  # by the defaults of its log
    assert quarantine.notes(home) == []
    assert Path(outcome.archived_as).name == f"mended-{item}"
    assert [name for name in spooled(home) if name.startswith("quarantine")] == []


def test_an_unmended_record_stays_and_can_be_mended_later(home, item):
    for _ in range(5):
        outcome = importing.retry(home, item)
        assert counts(outcome) == {"records": 1, "quarantined": 1}
        assert outcome.quarantine_item == item
        assert not outcome.is_repeated
    (note,) = quarantine.notes(home)
    assert note.file.endswith("a.pdklog")
    mend(home, item)
    assert counts(importing.retry(home, item)) == {"records": 1, "accepted": 1}
    assert rows(home, "SELECT * FROM import_attempt") == []


def test_of_a_half_mended_item_the_rest_stays_as_a_new_item(home, make_log):
    log = make_log("a.pdklog", BAD, BAD.replace("bad", "worse").replace("?", "!"), CUT)
    item = take_in(home, log).quarantine_item
    mend(home, item)
    outcome = importing.retry(home, item)
    assert counts(outcome) == {"records": 3, "accepted": 1, "quarantined": 2}
    (note,) = quarantine.notes(home)
    assert note.id == outcome.quarantine_item != item
    assert note.file.endswith("a.pdklog (mended)")
    mend(home, note.id, "status=!", "status=F")
    outcome = importing.retry(home, note.id)
    assert counts(outcome) == {"records": 2, "accepted": 1, "quarantined": 1}
    (note,) = quarantine.notes(home)
    assert note.file.endswith("a.pdklog (mended)")
    content(home, note.id).write_text(content(home, note.id).read_text() + "\n\nEND\n")
    importing.retry(home, note.id)
    assert statuses(home) == {"bad": "E", "worse": "F", "cut": "F"}
    assert quarantine.notes(home) == []


def test_the_options_of_the_import_hold_when_it_is_tried_again(home, make_log, tmp_path):
    take_in(home, make_log("first", record("bad", "P"), host="cherry"))
    (tmp_path / "log").write_text("project=calib\nhost=cherry\ntest_name=bad\nstatus=?\nEND\n")
    defaults = {"test_run": "daily_2026-11-23", "context": "py311"}
    item = take_in(home, tmp_path / "log", defaults=defaults, replace=True).quarantine_item
    mend(home, item)
    assert counts(importing.retry(home, item)) == {"records": 1, "duplicates": 1, "replaced": 1}
    assert statuses(home) == {"bad": "E"}


def test_a_retry_that_comes_twice_is_one(home, item):
    mend(home, item)
    first = importing.retry(home, item)
    again = importing.retry(home, item)
    assert again.is_repeated
    assert counts(again) == counts(first)
    with pytest.raises(UnknownQuarantineItem):
        importing.retry(home, "000000000000")


@pytest.mark.parametrize("point", ["take_in", "put", "unlink", "drop"])
def test_a_retry_that_was_killed_is_ended_by_the_next_one(home, item, monkeypatch, point):
    mend(home, item)

    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    def take_in_and_be_killed(*args, taken=importing.take_in):
        taken(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if point == "take_in":
            patch.setattr(importing, point, take_in_and_be_killed)
        else:
            owner = {"put": archive, "unlink": Path, "drop": quarantine}[point]
            patch.setattr(owner, point, killed)
        with pytest.raises(KeyboardInterrupt):
            importing.retry(home, item)
    outcome = importing.retry(home, item)
    assert outcome.is_repeated
    assert statuses(home) == {"good": "P", "bad": "E"}
    assert quarantine.notes(home) == []
    assert [name.rpartition("/")[2] for name in spooled(home)] == [f"mended-{item}"]


def test_what_is_edited_while_it_is_imported_stays_to_be_tried_again(home, item, monkeypatch):
    mend(home, item)
    taken = importing.take_in

    def take_in_and_edit(*args):
        outcome = taken(*args)
        mend(home, item, "test_name=bad", "test_name=other")
        os.utime(content(home, item), ns=(1, 1))
        return outcome

    monkeypatch.setattr(importing, "take_in", take_in_and_edit)
    outcome = importing.retry(home, item)
    assert outcome.messages == ["edited while it was imported: it stays here, to be tried again"]
    monkeypatch.setattr(importing, "take_in", taken)
    importing.retry(home, item)
    assert statuses(home) == {"good": "P", "bad": "E", "other": "E"}
    assert quarantine.notes(home) == []


def test_an_item_without_content_is_told_of(home, item):
    content(home, item).unlink()
    with pytest.raises(UnknownQuarantineItem, match=f"{item} has lost its content. `pdk quarantine drop` removes it"):
        importing.retry(home, item)


def test_a_whole_file_is_tried_again_like_any_other(home):
    spool.prepare(home)
    (home.spool / "incoming" / "log").write_text(log_of(record("a"), BAD))
    ((claim, _),) = spool.collect(home).claims
    with database.opened(home) as db:
        for _ in range(home.most_attempts - 1):
            ledger.begin_attempt(db, f"spool:{claim}")
    item = import_claimed(home, claim).quarantine_item
    (note,) = quarantine.notes(home)
    assert note.is_whole_file
    assert list(quarantine.records(home, item)) == []
    outcome = importing.retry(home, item)
    assert counts(outcome) == {"records": 2, "accepted": 1, "quarantined": 1}
    (note,) = quarantine.notes(home)
    assert not note.is_whole_file
    mend(home, note.id)
    importing.retry(home, note.id)
    assert statuses(home) == {"a": "P", "bad": "E"}
    assert quarantine.notes(home) == []


# The ledger -----------------------------------------------------------------------------------------------------


def test_the_ledger_tells_what_is_still_bad(home, make_log, item):
    def bad() -> list[tuple[str, str]]:
        with database.opened(home) as db:
            return [(Path(log.file).name, log.item) for log in ledger.quarantined(db)]

    log = make_log("b.pdklog", BAD, BAD.replace("?", "!"), host="cherry")
    other = take_in(home, log).quarantine_item
    assert bad() == [("a.pdklog", item), ("b.pdklog", other)]
    importing.retry(home, item)
    assert bad()[0] == ("a.pdklog", item)
    mend(home, item)
    importing.retry(home, item)
    assert bad() == [("b.pdklog", other)]
    mend(home, other)
    rest = importing.retry(home, other).quarantine_item
    assert bad() == [("b.pdklog (mended)", rest)]


# Dropped --------------------------------------------------------------------------------------------------------


def test_an_item_is_dropped_for_good(home, item):
    quarantine.drop(home, item[:5])
    assert quarantine.notes(home) == []
    assert list(quarantine.directory(home).iterdir()) == []
    with pytest.raises(UnknownQuarantineItem):
        quarantine.drop(home, item)
    with pytest.raises(UnknownQuarantineItem):
        importing.retry(home, item)


def test_a_drop_that_was_killed_leaves_no_half_item(home, item, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(quarantine.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            quarantine.drop(home, item)
    assert quarantine.notes(home) == []


def test_what_was_dropped_comes_back_with_its_log(home, make_log, item):
    quarantine.drop(home, item)
    assert take_in(home, make_log("a.pdklog", record("good"), BAD)).quarantine_item == item
    assert json.loads((quarantine.directory(home) / item / "note.json").read_text())["records"] == 1


# Whatever it is -------------------------------------------------------------------------------------------------


def rejected(home, log: bytes) -> tuple[list, bytes]:
    """What a reader makes of a log, and the content of the item that its bad records make."""
    readings = read(log)
    staging = quarantine.Staging(home, "test")
    for rejection in rejections(readings):
        staging.add(rejection)
    item = staging.settle("log", "sum", {})
    kept = content(home, item).read_bytes() if item else b""
    if item:
        quarantine.drop(home, item)
    return readings, kept


@given(log=LOGS | st.binary(max_size=200))
@example(log=b":\nSETDEFAULT\nSTART\ntest_run=r")  # a bad block of defaults that the next record was not under
@example(log=b"START\n\xef\xbb\xbfhost=bom")  # what at the beginning of a file would be its byte order mark
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_unmended_item_read_again_is_the_same_item(home, log):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quarantine, "sync", lambda _: None)
        first, kept = rejected(home, log)
        again, kept_again = rejected(home, kept)
    assert again == rejections(again)
    assert len(again) == len(rejections(first))
    assert kept_again == kept
