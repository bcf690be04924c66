"""A log is taken in once, whatever comes between: repeated, killed, cut off, compressed, or no log at all."""

from __future__ import annotations

import gzip
import itertools
import json
import lzma
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zstandard
from attrs import evolve

from pdk_pipeline import database
from pdk_pipeline.errors import UnknownClaim, UnreadableLog
from pdk_pipeline.intake import archive, deliveries, importing, ingest, ledger, quarantine, reading, spool
from tests.conftest import log_of, record, rows
from tests.machine import needs_permissions
from tests.stored import counts, import_claimed, is_sound, results, spooled, statuses, tables, take_in

BAD = "test_name=bad\nstatus=?\nEND\n\n"


@pytest.fixture
def claimed(home):
    """Put a log into incoming/ and claim it."""

    def claim(content: str | bytes, name: str = "a.pdklog") -> str:
        spool.prepare(home)
        data = content.encode() if isinstance(content, str) else content
        (home.spool / "incoming" / name).write_bytes(data)
        ((claim, _),) = spool.collect(home).claims
        return claim

    return claim


# Once -----------------------------------------------------------------------------------------------------------


def test_an_import_says_what_it_did_and_the_ledger_keeps_it(home, make_log):
    log = make_log("a.pdklog", record("a"), record("b", "F"), BAD)
    outcome = take_in(home, log, delivery="one")
    assert counts(outcome) == {"records": 3, "accepted": 2, "quarantined": 1}
    assert (outcome.file, outcome.sender, outcome.format) == (str(log), "tests", "pdk")
    assert outcome.size == log.stat().st_size
    assert outcome.runs == ["daily_2026-11-23"]
    assert rows(home, "SELECT delivery, name, sha256, size, records, accepted, quarantined FROM import_file") == [
        ("one", str(log), outcome.sha256, outcome.size, 3, 2, 1)
    ]
    assert rows(home, "SELECT * FROM import_attempt") == []
    assert log.exists()


def test_the_same_delivery_again_changes_nothing(home, make_log):
    log = make_log("a.pdklog", record("a"), BAD)
    first = take_in(home, log, delivery="one")
    before = tables(home), spooled(home)
    again = take_in(home, log, delivery="one", replace=True)
    assert again.is_repeated
    assert not first.is_repeated
    assert counts(again) == counts(first)
    assert (tables(home), spooled(home)) == before


def test_the_same_log_in_another_delivery_adds_nothing(home, make_log):
    log = make_log("a.pdklog", record("a", log="text"), record("b"), BAD)
    take_in(home, log)
    before = results(home), spooled(home)
    assert counts(take_in(home, log)) == {"records": 3, "duplicates": 2, "quarantined": 1}
    assert (results(home), spooled(home)) == before


def test_a_log_without_records_is_taken_in_and_said_to_be_empty(home, make_log, tmp_path):
    (tmp_path / "empty").touch()
    for log in (tmp_path / "empty", make_log("head only")):
        outcome = take_in(home, log)
        assert counts(outcome) == {}
        assert outcome.messages == ["no record stands in it"]
    assert rows(home, "SELECT count(*) FROM import_file") == [(2,)]


def test_archiving_moves_the_log_afterwards(home, make_log):
    log = make_log("a.pdklog", record("a"))
    content = log.read_bytes()
    outcome = take_in(home, log, archive=True)
    assert not log.exists()
    assert Path(outcome.archived_as).read_bytes() == content
    assert Path(outcome.archived_as).is_relative_to(home.spool / "archive")


def test_a_delivery_that_was_killed_before_archiving_archives_when_it_comes_again(home, make_log):
    log = make_log("a.pdklog", record("a"))
    take_in(home, log, delivery="one")
    assert take_in(home, log, delivery="one", archive=True).archived_as
    assert not log.exists()
    assert take_in(home, log, delivery="one", archive=True).is_repeated


def test_another_log_of_the_same_name_and_size_is_not_archived_unread(home, make_log):
    log = make_log("a.pdklog", record("a"))
    take_in(home, log, delivery="one", archive=True)
    make_log("a.pdklog", record("b"))
    again = take_in(home, log, delivery="one", archive=True)
    assert again.is_repeated
    assert again.messages == ["not archived: it has changed since it was read"]
    assert log.exists()


def test_archiving_a_link_archives_the_log_that_it_leads_to(home, make_log, tmp_path):
    log = make_log("a.pdklog", record("a"))
    (tmp_path / "link").symlink_to(log)
    outcome = take_in(home, tmp_path / "link", archive=True)
    assert Path(outcome.archived_as).read_bytes() == log.read_bytes()
    assert not Path(outcome.archived_as).is_symlink()
    assert not (tmp_path / "link").is_symlink()


# Claimed logs ---------------------------------------------------------------------------------------------------


def test_a_claimed_log_is_imported_and_archived(home, claimed):
    claim = claimed(log_of(record("a")))
    outcome = import_claimed(home, claim)
    assert counts(outcome) == {"records": 1, "accepted": 1}
    assert (outcome.file, outcome.sender) == ("a.pdklog", "incoming")
    assert [name.split("/")[0::4] for name in spooled(home)] == [["archive", "a.pdklog"]]
    assert not list((home.spool / "processing").iterdir())


def test_a_claim_that_is_finished_with_changes_nothing_and_is_remembered(home, claimed):
    claim = claimed(log_of(record("a")))
    first = import_claimed(home, claim)
    before = tables(home), spooled(home)
    again = import_claimed(home, claim)
    assert again.is_repeated
    assert counts(again) == counts(first)
    assert (tables(home), spooled(home)) == before


def test_a_claim_that_never_was_is_an_error(home):
    with pytest.raises(UnknownClaim) as unknown:
        import_claimed(home, "20261123T060000Z-0123456789ab")
    assert str(unknown.value) == (
        f"There is no such claimed log: 20261123T060000Z-0123456789ab. Was it claimed in another home than {home.home}?"
    )
    for odd in ("..", "../incoming", "", "/etc"):
        with pytest.raises(UnknownClaim):
            import_claimed(home, odd)


def test_a_log_that_grew_while_it_was_imported_goes_back_and_nothing_is_lost(home, claimed, monkeypatch):
    whole = log_of(record("a"), record("b", "F", log="some\ntext"), record("c"))
    for cut in range(0, len(whole) - 20, 11):
        run = f"run{cut}"
        text = whole.replace("daily_2026-11-23", run)
        claim = claimed(text[:cut], "growing.pdklog")
        # It grows after the import has read it, through the handle that its writer still has.
        with next((home.spool / "processing" / claim).iterdir()).open("a") as writer:
            taken = importing.take_in

            def take_in_and_grow(*args, writer=writer, text=text, cut=cut, taken=taken):
                outcome = taken(*args)
                writer.write(text[cut:])
                writer.flush()
                return outcome

            monkeypatch.setattr(importing, "take_in", take_in_and_grow)
            import_claimed(home, claim)
            monkeypatch.setattr(importing, "take_in", taken)
        assert (home.spool / "incoming" / "growing.pdklog").exists(), cut
        ((claim, _),) = spool.collect(home).claims
        import_claimed(home, claim)
        assert [row[5:7] for row in results(home) if row[0] == run] == [("a", "P"), ("b", "F"), ("c", "P")]


def test_a_claimed_link_is_not_followed(home, claimed, tmp_path):
    claim = claimed(log_of(record("a")))
    (tmp_path / "secret").write_text(log_of(record("secret")))
    log = spool.claimed_file(home, claim)
    log.unlink()
    log.symlink_to(tmp_path / "secret")
    with pytest.raises(UnreadableLog):
        import_claimed(home, claim)
    assert results(home) == []
    assert quarantine.notes(home) == []


@needs_permissions
def test_a_claimed_log_that_may_not_be_read_stays_until_it_may(home, claimed):
    claim = claimed(log_of(record("a")))
    log = spool.claimed_file(home, claim)
    log.chmod(0)
    for _ in range(4):
        with pytest.raises(UnreadableLog, match="Permission denied"):
            import_claimed(home, claim)
    log.chmod(0o600)
    assert import_claimed(home, claim).accepted == 1


# Cut off --------------------------------------------------------------------------------------------------------


def test_a_log_cut_at_any_byte_loses_no_complete_record(home, tmp_path):
    whole = record("a") + record("b", "F", log="END\n\ntext") + record("c", tra_x="1")
    ends = [match.end() for match in re.finditer(r"^END\n", whole, re.MULTILINE)]
    with database.opened(home):  # kept open, or every import would tidy up behind itself
        for cut in range(len(whole) + 1):
            (tmp_path / "log").write_text(whole[:cut])
            outcome = take_in(home, tmp_path / "log", defaults={"test_run": f"run{cut:03}", "project": "calib"})
            complete = sum(end - 1 <= cut for end in ends)
            begun = whole[ends[complete - 1] if complete else 0 : cut].strip()
            assert counts(outcome).get("accepted", 0) == complete, cut
            assert outcome.quarantined == bool(begun), cut
            if begun:
                (note,) = quarantine.notes(home)
                assert note.reason.endswith("no END at the end of the file")
                assert begun in quarantine.content_path(home, note.id).read_text()
                quarantine.drop(home, note.id)
    found: dict[str, list] = {}
    for row in results(home):
        found.setdefault(row[0], []).append(row[1:])
    complete = found[f"run{len(whole)}"]
    assert len(complete) == 3
    assert all(part == complete[: len(part)] for part in found.values())


# Compressed -----------------------------------------------------------------------------------------------------

COMPRESS = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_a_compressed_log_gives_the_same_results(home, tmp_path, compress):
    text = log_of(record("a", log="text"), record("b", "F"), BAD).encode()
    (tmp_path / "any name").write_bytes(compress(text[:50]) + compress(text[50:]))
    outcome = take_in(home, tmp_path / "any name")
    assert counts(outcome) == {"records": 3, "accepted": 2, "quarantined": 1}
    assert outcome.size == (tmp_path / "any name").stat().st_size
    assert statuses(home) == {"a": "P", "b": "F"}


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_of_a_damaged_one_everything_before_the_damage_is_imported(home, tmp_path, compress):
    text = log_of(*(record(f"t{number}") for number in range(4))).encode()
    (tmp_path / "log").write_bytes(compress(text) + compress(b"more")[:-6])
    outcome = take_in(home, tmp_path / "log")
    assert outcome.accepted == 4
    assert outcome.quarantined == 1
    assert "the compressed file is damaged or cut off" in quarantine.notes(home)[0].reason


@pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
def test_one_that_is_damaged_from_the_start_is_not_taken_for_empty(home, tmp_path, compress):
    (tmp_path / "log").write_bytes(compress(log_of(record("a")).encode())[:12])
    assert counts(take_in(home, tmp_path / "log")) == {"records": 1, "quarantined": 1}


def test_a_bomb_is_quarantined_as_it_came_and_not_unpacked(home, claimed, monkeypatch):
    monkeypatch.setattr(deliveries, "LARGEST_SWELL_BYTES", 4 << 20)
    monkeypatch.setenv("PDK_RECORD_LIMIT_MB", "1")
    settings = evolve(home, record_limit_mb=1)
    bomb = gzip.compress(bytes(40 << 20))
    outcome = import_claimed(settings, claimed(bomb, "bomb"))
    assert counts(outcome) == {"records": 1, "quarantined": 1}
    (note,) = quarantine.notes(home)
    assert note.is_whole_file
    assert re.fullmatch(r"it swells to more than \d+ MB that are no results", note.reason)
    assert quarantine.content_path(home, note.id).read_bytes() == bomb
    assert sum(map(len, spooled(home).values())) < 3 * len(bomb)
    assert not any(path.name.startswith(".") for path in quarantine.directory(home).iterdir())


def test_many_bad_records_that_compress_well_are_no_bomb(home, tmp_path):
    (tmp_path / "log").write_bytes(gzip.compress(b"nonsense\nEND\n" * 5_000))
    assert counts(take_in(home, tmp_path / "log")) == {"records": 5_000, "quarantined": 5_000}


# No log at all --------------------------------------------------------------------------------------------------


def test_what_is_no_file_is_refused_and_leaves_no_trace(home, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for name in ("fifo", "directory", "nothing"):
        for _ in range(4):
            with pytest.raises(UnreadableLog, match=name):
                take_in(home, tmp_path / name, delivery=name)
    assert rows(home, "SELECT * FROM import_attempt") == []
    assert rows(home, "SELECT * FROM import_file") == []


def test_random_bytes_are_quarantined_and_every_byte_is_kept(home, tmp_path):
    noise = random.Random(1).randbytes(50_000)
    (tmp_path / "log").write_bytes(noise)
    outcome = take_in(home, tmp_path / "log")
    assert outcome.accepted == 0
    assert outcome.quarantined == outcome.records > 0
    kept = spooled(home)[f"quarantine/{outcome.quarantine_item}/content"]
    assert noise.strip() in kept


# Killed and broken ----------------------------------------------------------------------------------------------


class Broken(Exception):
    """A fault in the middle."""


def everything(home) -> tuple:
    """All that an import leaves behind; where it archived to is today's directory."""
    return tables(home), spooled(home), sorted(path.name for path in home.spool.glob("*/.*"))


POINTS = [
    (ledger, "next_entry"), (reading._Gathered, "_add"), (reading.Packer, "finish"), (ingest._Rows, "store"),
    (quarantine.Staging, "add"), (quarantine.Staging, "settle"), (quarantine, "_install"), (ledger, "enter"),
    (spool, "archive_claimed"), (archive, "_link"),
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "name"), POINTS, ids=[name for _, name in POINTS])
def test_broken_off_at_any_point_and_done_again_it_is_as_done_once(
    home, tmp_path, claimed, monkeypatch, owner, name, when
):
    text = log_of(record("a", log="text"), BAD, record("b", "F", tra_x="1"))
    clean = evolve(home, home=tmp_path / "clean")
    spool.prepare(clean)
    (clean.spool / "incoming" / "a.pdklog").write_text(text)
    ((claim, _),) = spool.collect(clean).claims
    import_claimed(clean, claim)

    claim = claimed(text)
    real = getattr(owner, name)

    def broken(*args, **kwargs):
        if when == "after":
            real(*args, **kwargs)
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        with pytest.raises(Broken):
            import_claimed(home, claim)
    outcome = import_claimed(home, claim)
    assert counts(outcome) == {"records": 3, "accepted": 2, "quarantined": 1}
    assert _without_delivery(everything(home)) == _without_delivery(everything(clean))
    assert is_sound(home)


def _without_delivery(found: tuple) -> tuple:
    stored, files, hidden = found
    ledger_rows = [
        tuple(value for value in row if not str(value).startswith("spool:")) for row in stored["import_file"]
    ]
    names = {name: content for name, content in files.items() if not name.endswith("note.json")}
    notes = [json.loads(content) for name, content in files.items() if name.endswith("note.json")]
    told = [{key: note[key] for key in note.keys() - {"delivery", "quarantined_at"}} for note in notes]
    return stored | {"import_file": ledger_rows}, names, told, hidden


KILL = """
import os, signal, sys, time
from pathlib import Path
from attrs import evolve
from pdk_pipeline import config
from pdk_pipeline.intake import importing
for line in sys.stdin:
    home, claim, seconds = line.split()
    child = os.fork()
    if not child:
        try:
            importing.import_claims(evolve(config.settings(), home=Path(home)), [claim])
        finally:
            os._exit(0)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Imports a claimed log in a process of its own, and kills that after so many seconds."""


def test_killed_at_random_moments_and_done_again_it_is_as_done_once(home, tmp_path):
    noise = random.Random(7)
    logs = (record(f"t{number}", "PF"[number % 2], log=noise.randbytes(300).hex()) for number in range(2000))
    text = log_of(*logs, BAD)

    def prepared(name: str) -> tuple:
        settings = evolve(home, home=tmp_path / name, most_attempts=1000)
        spool.prepare(settings)
        (settings.spool / "incoming" / "a.pdklog").write_text(text)
        ((claim, _),) = spool.collect(settings).claims
        return settings, claim

    clean, claim = prepared("clean")
    began = time.perf_counter()
    import_claimed(clean, claim)
    seconds = time.perf_counter() - began
    expected = _without_delivery(everything(clean))

    killed = 0
    with subprocess.Popen(
        [sys.executable, "-c", KILL],
        env=os.environ | {"PDK_MOST_ATTEMPTS": "1000"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as killer:
        for number in range(8):
            settings, claim = prepared(f"home{number}")
            for _ in range(4):
                killer.stdin.write(f"{settings.home} {claim} {noise.uniform(0, seconds)}\n")
                killer.stdin.flush()
                killed += int(killer.stdout.readline()) == signal.SIGKILL
            import_claimed(settings, claim)
            assert _without_delivery(everything(settings)) == expected
            assert is_sound(settings)
    assert killed > 3


def test_a_log_that_kills_its_import_every_time_is_quarantined_whole_in_the_end(home, claimed):
    content = log_of(record("a"))
    claim = claimed(content)
    for attempt in range(1, home.most_attempts):
        with database.opened(home) as db:
            assert ledger.begin_attempt(db, f"spool:{claim}") == (attempt, "")  # and then it was killed
    outcome = import_claimed(home, claim)
    assert counts(outcome) == {"records": 1, "quarantined": 1}
    (note,) = quarantine.notes(home)
    assert note.is_whole_file
    assert note.reason == "2 imports of it came to nothing, the process was killed"
    assert quarantine.content_path(home, note.id).read_text() == content
    assert results(home) == []
    assert [name for name in spooled(home) if name.startswith("archive")]
    assert rows(home, "SELECT format, quarantined FROM import_file") == [("none", 1)]
    assert rows(home, "SELECT * FROM import_attempt") == []


def test_a_log_that_breaks_its_import_every_time_is_quarantined_with_how(home, claimed, monkeypatch):
    claim = claimed(log_of(record("a")))

    def broken(*_args, **_kwargs):
        raise MemoryError("too much")

    monkeypatch.setattr(ingest._Rows, "store", broken)
    for _ in range(home.most_attempts - 1):
        with pytest.raises(MemoryError):
            import_claimed(home, claim)
    import_claimed(home, claim)
    assert quarantine.notes(home)[0].reason == (
        "2 imports of it came to nothing, the last one ended with MemoryError: too much"
    )


@pytest.mark.parametrize(
    "fault", [OSError("no space"), sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()]
)
def test_a_fault_that_is_not_the_logs_is_not_counted_against_it(home, claimed, monkeypatch, fault):
    claim = claimed(log_of(record("a")))

    def broken(*_args, **_kwargs):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(ingest._Rows, "store", broken)
        for _ in range(5):
            with pytest.raises(type(fault)):
                import_claimed(home, claim)
    assert import_claimed(home, claim).accepted == 1


# Two at once ----------------------------------------------------------------------------------------------------


def test_two_imports_of_one_claim_at_once_are_one(home, claimed):
    for number in range(10):
        claim = claimed(log_of(*(record(f"t{n}", log="x" * n) for n in range(50)), BAD, test_run=f"run{number}"))
        start = threading.Barrier(2)
        outcomes = []

        def work(claim=claim, start=start, outcomes=outcomes):
            start.wait()
            outcomes.append(import_claimed(home, claim))

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(outcome.is_repeated for outcome in outcomes) == [False, True]
        assert {outcome.accepted for outcome in outcomes} == {50}
    assert rows(home, "SELECT count(*) FROM import_file") == [(10,)]
    assert rows(home, "SELECT * FROM import_attempt") == []
    assert len([name for name in spooled(home) if name.startswith("archive")]) == 10
    assert is_sound(home)


def test_different_logs_at_once_wait_for_one_another(home, make_log):
    logs = [make_log(f"{n}", *(record(f"t{k}", log="y" * k) for k in range(100)), host=f"h{n}") for n in range(6)]
    workers = [threading.Thread(target=take_in, args=(home, log)) for log in itertools.chain(logs, logs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert rows(home, "SELECT count(*), sum(accepted), sum(duplicates) FROM import_file") == [(12, 600, 600)]
    assert len(results(home)) == 600
    assert is_sound(home)
