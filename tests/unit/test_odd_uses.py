"""Commands given oddly: outputs that are no files, streams that are closed, numbers without measure."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pdk_pipeline import config
from pdk_pipeline.config import Settings
from pdk_pipeline.errors import BadSetting
from tests.conftest import log_of, record
from tests.integration.processes import PDK
from tests.typed import Terminal


@pytest.fixture
def pdk(home: Settings, capsys, monkeypatch) -> Terminal:
    return Terminal(home, capsys, monkeypatch)


# What is written to -------------------------------------------------------------------------------------------


def read_in_background(fifo: Path) -> tuple[threading.Thread, list[bytes]]:
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    return reader, found


def test_an_output_that_is_no_file_is_written_into_and_keeps_its_name(pdk: Terminal, make_log, tmp_path: Path):
    pdk("import", make_log("a.pdklog", record("t1", "F")))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader, found = read_in_background(fifo)
    assert pdk("export", "daily_2026-11-23", "-o", fifo).status == 0
    reader.join(timeout=10)
    assert b"test_name=t1" in found[0]
    assert fifo.is_fifo()


def test_the_link_of_an_output_stays_and_what_it_leads_to_is_written(pdk: Terminal, make_log, tmp_path: Path):
    pdk("import", make_log("a.pdklog", record("t1", "F")))
    (tmp_path / "page.html").symlink_to("there.html")
    assert pdk("report", "daily_2026-11-23", "--html", tmp_path / "page.html").status == 0
    assert (tmp_path / "page.html").is_symlink()
    assert "t1" in (tmp_path / "there.html").read_text()


def test_an_output_in_no_directory_is_named_as_it_was_given(pdk: Terminal, make_log, tmp_path: Path):
    pdk("import", make_log("a.pdklog", record()))
    seen = pdk("report", "daily_2026-11-23", "--html", tmp_path / "none" / "page.html")
    assert seen.status == 1
    assert f"{tmp_path}/none/page.html cannot be written: there is no directory {tmp_path}/none" in seen.err


def test_a_backup_never_takes_the_name_of_a_device(pdk: Terminal, make_log, tmp_path: Path):
    pdk("import", make_log("a.pdklog", record()))
    (tmp_path / "null").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "fifo")
    for name in ("null", "fifo"):
        seen = pdk("backup", tmp_path / name)
        assert seen.status == 1
        assert "neither a file nor a directory" in seen.err
    assert (tmp_path / "null").is_symlink()
    assert (tmp_path / "fifo").is_fifo()


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_command_whose_streams_are_closed_does_its_work_all_the_same(home: Settings, make_log, closed: str):
    log = make_log("a.pdklog", record("t1"))
    script = f'"{sys.executable}" -c "from pdk_pipeline.cli import main; main()"'
    for command in (f"import {log}", "runs --json", "export daily_2026-11-23"):
        done = subprocess.run(f"{script} {command} {closed}", shell=True, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert home.database.read_bytes().startswith(b"SQLite format 3")


@pytest.mark.parametrize("command", ["runs", "runs --json", "--help", "config"])
@pytest.mark.usefixtures("home")
def test_who_has_read_enough_of_the_output_makes_no_error_of_it(make_log, command: str):
    script = [sys.executable, "-c", "from pdk_pipeline.cli import main; main()"]
    subprocess.run([*script, "import", make_log("a.pdklog", record("t1"))], check=True, capture_output=True)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run([*script, *command.split()], stdout=nobody, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "pdk_pipeline.cli.base":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from pdk_pipeline.cli import main
main(["runs"])
"""


def test_a_command_that_is_interrupted_while_it_is_being_loaded_ends_without_a_traceback():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_report_names_its_run_as_a_shell_takes_it(pdk: Terminal, make_log):
    pdk("import", make_log("a.pdklog", record("t1", "F"), test_run="of $(ann)"))
    assert "`pdk show 'of $(ann)' TEST`" in pdk("report", "of $(ann)").out


def test_letters_that_turn_the_direction_of_reading_are_shown_as_what_they_are(pdk: Terminal, make_log):
    pdk("import", make_log("a.pdklog", record("ok\u202ekcatta", "F", log="log\u2066text")))
    pdk("gen_expected", "daily", "daily_2026-11-23")
    for seen in (pdk("show", "daily_2026-11-23", "ok*"), pdk("expected", "list", "daily")):
        assert "ok\\u202ekcatta" in seen.out
        assert not {"\u202e", "\u2066"} & set(seen.out)


def test_a_night_of_an_odd_name_is_shown_in_its_line_and_one_without_a_name_is_a_mistake(pdk: Terminal):
    assert pdk("nightly", "daily", "").status == 2
    seen = pdk("nightly", "daily", "daily\nx\x1b[31m")
    assert seen.out.startswith("daily\\nx\\x1b[31m: started ")


def test_a_note_and_the_name_of_a_log_that_cannot_be_sent_are_shown_in_their_line(pdk: Terminal, make_log, tmp_path):
    pdk("import", make_log("a.pdklog", record("t1")))
    seen = pdk("note", "daily_2026-11-23", "down\n\x1b[31muntil 3")
    assert seen.out == "daily_2026-11-23: down\\n\\x1b[31muntil 3\n"
    seen = pdk("submit", tmp_path / "no\n\x1b[31m")
    assert (seen.status, seen.err.count("\n"), "\x1b" in seen.err) == (1, 1, False)
    assert f"{tmp_path}/no\\n\\x1b[31m" in seen.err


@pytest.mark.parametrize("charset", ["C.UTF-8", "C"])
def test_a_name_that_is_no_text_means_what_a_log_calls_so(home: Settings, tmp_path: Path, charset: str):
    (tmp_path / "a").write_bytes(log_of(record("r\u00fcn"), test_run="RUN").encode().replace(b"RUN", b"x\xffy"))
    environment = {
        "PATH": os.environ["PATH"],
        "PDK_HOME": str(home.home),
        "LC_ALL": charset,
        "PYTHONCOERCECLOCALE": "0",
    }

    def pdk(*words: str | bytes) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "utf8=0", "-c", "from pdk_pipeline.cli import main; main()", *words]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    assert pdk("import", str(tmp_path / "a")).returncode == 0
    shown = pdk("show", b"x\xffy", "r\u00fcn".encode())
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "x\\xffy" in shown.stdout
    assert "no such test run: none\\xff" in pdk("delete_run", b"none\xff").stderr


# Numbers ------------------------------------------------------------------------------------------------------

HUGE = "9" * 25


@pytest.mark.parametrize(
    "command",
    ["nights --most", "show daily_2026-11-23 t1 --most", "history t1 --runs", "subscribe a@b.org --most-lines"],
)
@pytest.mark.parametrize("number", [HUGE, "-1", "0"])
def test_a_number_that_counts_nothing_is_a_mistake_in_the_command(pdk: Terminal, make_log, command: str, number: str):
    pdk("import", make_log("a.pdklog", record("t1")))
    seen = pdk(*command.split(), number)
    assert seen.status == 2
    assert f"{number} is not in the range" in seen.err


@pytest.mark.parametrize("command", ["run --timeout", "submit a.pdklog --wait", "clean --max-seconds"])
@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", HUGE])
def test_a_time_that_nobody_can_wait_for_is_a_mistake_in_the_command(pdk: Terminal, command: str, seconds: str):
    seen = pdk(*command.split(), seconds)
    assert seen.status == 2
    assert len(seen.err.splitlines()) == 2  # what is wrong, and where to read more


def test_a_port_that_none_can_be_is_a_mistake_in_the_command(pdk: Terminal):
    for listen in (HUGE, "127.0.0.1:65536", "\u0663"):
        assert pdk("metrics", "--listen", listen).status == 2


@pytest.mark.parametrize(
    "text", ["keep_archive_days = {}", "[keep.daily]\ndays = {}", "[keep.x]\npassing_logs_days = {}"]
)
@pytest.mark.parametrize("days", [HUGE, "4000000"])
def test_more_days_than_the_calendar_has_are_refused_where_they_are_set(home: Settings, text: str, days: str):
    (home.home / "pdk.toml").write_text(text.format(days))
    with pytest.raises(BadSetting, match=r"it must be 100000 or less|TOML"):
        config.load()


# Places -------------------------------------------------------------------------------------------------------


def test_files_that_variables_name_are_the_same_for_a_process_in_another_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PDK_BACKUP_DIRECTORY", "safe")
    monkeypatch.setenv("PDK_IMPORT_ROOTS", "logs:/srv/logs,more")
    monkeypatch.setenv("PDK_SMTP_PASSWORD_FILE", "secrets/mail")
    monkeypatch.setenv("PDK_CONFIG", "site.toml")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "mail").write_text("secret")
    (tmp_path / "site.toml").write_text('mail_domain = "example.org"')
    here = config.load()
    for name, value in config.named_from_here().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    assert config.load() == here
    assert here.backup_directory == tmp_path / "safe"
    assert here.import_roots == [tmp_path / "logs", Path("/srv/logs"), tmp_path / "more"]


def test_a_home_without_a_database_is_said_to_need_one_in_one_sentence(pdk: Terminal):
    seen = pdk("status")
    assert seen.status == 1
    assert "the first `pdk import`.\n" in seen.out


# What is told -------------------------------------------------------------------------------------------------


def test_files_that_are_not_there_are_told_to_programs_too(pdk: Terminal, make_log, tmp_path: Path):
    seen = pdk("import", "--json", make_log("a.pdklog", record("t1")), tmp_path / "none.pdklog")
    assert seen.status == 1
    assert [Path(one["file"]).name for one in seen.data["files"]] == ["a.pdklog"]
    assert seen.data["failed"] == [{"file": str(tmp_path / "none.pdklog"), "error": "there is no such file"}]


def test_what_the_doctor_finds_and_what_to_do_are_sentences_of_their_own(pdk: Terminal):
    pdk("initdb")
    told = " ".join(pdk("doctor").out.split())
    assert "outbox. PDK_SMTP_HOST names one." in told
    assert ".." not in told


@pytest.mark.parametrize("command", ["clean", "nightly", "runs"])
def test_who_works_on_a_damaged_database_is_told_what_to_do(pdk: Terminal, make_log, command: str):
    first = make_log("a.pdklog", *[record(f"t{number}", log="text" * 50) for number in range(300)])
    second = make_log("b.pdklog", *[record(f"t{number}", "F") for number in range(300)], test_run="daily_2026-11-24")
    pdk("import", first, second)
    pdk("gen_expected", "daily", "daily_2026-11-24")
    pdk("delete_run", "daily_2026-11-23")
    content, size = pdk.home.database.read_bytes(), 4096
    failed = 0
    for place in range(size, len(content), 2 * size):  # whichever page it is
        pdk.home.database.write_bytes(content[:place] + b"\xff" * size + content[place + size :])
        seen = pdk(command)
        told = " ".join((seen.out + seen.err).split())
        failed += seen.status
        assert not seen.status or "A backup, or importing archive/ again, brings it back." in told
    assert failed


def test_what_was_dropped_is_told_to_programs_too(pdk: Terminal, make_log):
    pdk("import", make_log("a.pdklog", record("t1", "nonsense")))
    (item,) = pdk("quarantine", "list", "--json").data
    assert pdk("quarantine", "drop", item["id"], "--json").data == {"dropped": [item["id"]]}


def test_ctrl_c_where_there_are_no_workers_speaks_of_none(pdk: Terminal, make_log, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.dispatch.run", interrupted)
    seen = pdk("import", make_log("a.pdklog", record("t1")))
    assert seen.status == 130
    assert "what was finished before stays; the same command again does the rest" in seen.err
    assert "workers" not in seen.err


def test_a_run_is_not_compared_with_itself(pdk: Terminal, make_log):
    pdk("import", make_log("a.pdklog", record("t1", "F")))
    seen = pdk("report", "daily_2026-11-23", "--against", "daily_2026-11-23")
    assert seen.status == 2
    assert "a run is compared with another one" in seen.err


def test_a_directory_of_backups_that_is_not_there_does_not_become_a_file(pdk: Terminal, tmp_path: Path):
    pdk("initdb")
    seen = pdk("backup", f"{tmp_path}/backups/")
    assert seen.status == 1
    assert f"{tmp_path}/backups is no directory. Make it first." in seen.err
    assert not (tmp_path / "backups").exists()


def test_an_address_that_flower_cannot_listen_at_is_told_before_anything_is_started(home: Settings):
    environment = os.environ | {"PDK_HOME": str(home.home), "PDK_FLOWER_ADDRESS": "192.0.2.1"}
    done = subprocess.run([*PDK, "up"], check=False, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "flower_address: 192.0.2.1: Cannot assign requested address. It is one of this machine's.\n"
    )
    assert done.stdout == ""
