"""Telling people: who is told what of a night, in how many messages, and what a second time brings."""

from __future__ import annotations

import contextlib
import time

import pytest
from attrs import evolve

from pdk_pipeline import config, contacts, database, expected, notify, outbox, runs, subscriptions
from pdk_pipeline.cli import main
from pdk_pipeline.selection import Selection
from pdk_pipeline.subscriptions import Kind, Subscription
from tests.conftest import record, rows
from tests.mail_server import MailServer
from tests.stored import take_in

YESTERDAY = "daily_2026-11-22"
TODAY = "daily_2026-11-23"
ANN, BOB, EVE = "ann@example.org", "bob@example.org", "eve@example.org"


@pytest.fixture
def night(home, make_log):
    """A night's log of one project and host: `night(TODAY, a="P", b="F")`."""

    def night(run=TODAY, *, project="calib", host="banana", replace=False, **results):
        name = f"{run}.{project}.{host}.{time.monotonic_ns()}"
        log = make_log(
            name,
            *(record(test.replace("__", "/"), status) for test, status in results.items()),
            test_run=run,
            project=project,
            host=host,
        )
        take_in(home, log, replace=replace)

    return night


@pytest.fixture
def contact(home):
    def contact(*rules):
        with database.writing(home) as db:
            contacts.replace(db, "".join(f"{rule}\n" for rule in rules), "")

    return contact


@pytest.fixture
def subscribe(home):
    def subscribe(address, kind, project="", most_lines=None):
        with database.writing(home) as db:
            subscriptions.subscribe(db, Subscription(address, project, Kind(kind), most_lines))

    return subscribe


@pytest.fixture
def tell(home):
    """Tell everybody of a run; returns what each is sent now, by address."""

    def tell(run=TODAY, **options):
        with database.writing(home) as db:
            told = notify.tell(home, db, runs.find(home, db, run), now=time.time(), **options)
        with database.reading(home) as db:
            entries = outbox.entries(db, ids=told.messages)
            texts = {entry.recipient: outbox.content(db, entry.id) for entry in entries}
        assert len(texts) == len(entries), "somebody is sent two messages"
        return texts

    return tell


def check(home, run=TODAY, class_="daily"):
    with database.writing(home) as db:
        expected.check(db, runs.find(home, db, run), class_, Selection())


def learn(home, run=YESTERDAY, class_="daily"):
    with database.writing(home) as db:
        expected.learn(db, runs.find(home, db, run), class_, Selection(), now=time.time())


def states(home):
    with database.reading(home) as db:
        return [(entry.recipient, entry.kind, str(entry.state)) for entry in outbox.entries(db)]


# Who ---------------------------------------------------------------------------------------------------------


def test_contacts_are_told_of_their_own_tests_and_of_no_others(night, contact, tell):
    contact(f"calib,flat,{ANN}", f"calib,dark,{BOB}", f"drizzle,,{EVE}")
    night(flat__one="F", flat__two="P", dark__one="E")
    told = tell()
    assert told.keys() == {ANN, BOB}
    assert "flat/one" in told[ANN].text
    assert "dark/one" not in told[ANN].text
    assert "flat/two" not in told[ANN].text
    assert "dark/one" in told[BOB].text


@pytest.mark.parametrize("status", ["F", "E", "M"])
def test_each_kind_of_problem_is_told(status, night, contact, tell):
    contact(f"calib,,{ANN}")
    night(one=status, two="P")
    assert "one" in tell()[ANN].text


@pytest.mark.parametrize("status", ["P", "D", "x"])
def test_contacts_are_not_told_of_what_is_no_problem(status, night, contact, tell):
    contact(f"calib,,{ANN}")
    night(one=status)
    assert tell() == {}


def test_a_silent_host_is_told_to_the_contacts_of_its_tests(night, contact, tell, home):
    contact(f"calib,,{ANN}")
    night(YESTERDAY, host="thor", one="P", two="P")
    night(YESTERDAY, host="banana", three="P")
    learn(home)
    night(host="banana", three="P")
    check(home)
    assert "1 host silent" in tell()[ANN].subject


@pytest.mark.parametrize(
    ("kind", "when_well", "when_the_same", "when_new"),
    [
        (Kind.NONE, False, False, False),
        (Kind.SUMMARY, True, True, True),
        (Kind.FULL, False, True, True),
        (Kind.FULL_ALWAYS, True, True, True),
        (Kind.CHANGES, False, False, True),
    ],
)
def test_subscribers_are_told_when_they_wish(kind, when_well, when_the_same, when_new, night, subscribe, tell):
    subscribe(ANN, kind)
    night("daily_2026-11-20", one="P", two="P")
    night("daily_2026-11-21", one="P", two="P")
    assert (ANN in tell("daily_2026-11-21")) is when_well
    night("daily_2026-11-22", one="P", two="F")
    assert (ANN in tell("daily_2026-11-22")) is when_new
    night("daily_2026-11-23", one="P", two="F")
    assert (ANN in tell("daily_2026-11-23")) is when_the_same


def test_what_subscribers_see(night, subscribe, tell):
    for kind in (Kind.SUMMARY, Kind.FULL, Kind.CHANGES):
        subscribe(f"{kind}@example.org", kind)
    night(YESTERDAY, old="F", new="P")
    night(old="F", new="F")
    told = tell()
    listed = {
        address.partition("@")[0]: {name for name in ("old", "new") if f" {name} " in message.text}
        for address, message in told.items()
    }
    assert listed == {"summary": set(), "full": {"old", "new"}, "changes": {"new"}}
    assert "1 newly failing" in told["summary@example.org"].text


def test_a_subscription_to_a_project_is_of_no_other_and_counts_before_the_one_to_all(night, subscribe, tell):
    subscribe(ANN, Kind.FULL, "calib")
    subscribe(BOB, Kind.FULL)
    subscribe(BOB, Kind.NONE, "calib")
    night(project="calib", calib_test="F")
    night(project="drizzle", drizzle_test="F")
    told = tell()
    assert "calib_test" in told[ANN].text
    assert "drizzle_test" not in told[ANN].text
    assert "calib_test" not in told[BOB].text
    assert "drizzle_test" in told[BOB].text


def test_so_many_lines_as_are_wished(night, subscribe, tell):
    subscribe(ANN, Kind.FULL, most_lines=3)
    night(YESTERDAY, **{f"test_{number}": "P" for number in range(20)})
    night(**{f"test_{number}": "F" for number in range(20)})
    text = tell()[ANN].text
    assert text.count("test_") == 3
    assert "17 more" in text


def test_whoever_is_both_gets_one_message(night, contact, subscribe, tell):
    contact(f"calib,flat,{ANN}", f"drizzle,,{ANN}")
    subscribe(ANN, Kind.FULL, "calib")
    night(flat__one="F", dark__one="F")
    night(project="drizzle", drizzled="F")
    text = tell()[ANN].text
    assert text.count("flat/one") == 1
    assert "dark/one" in text
    assert "drizzled" in text


def test_a_contact_who_subscribed_to_the_numbers_is_told_the_own_tests_by_name(night, contact, subscribe, tell):
    contact(f"calib,flat,{ANN}")
    subscribe(ANN, Kind.SUMMARY)
    night(flat__one="F", dark__one="F", dark__two="F")
    message = tell()[ANN]
    assert "3 newly failing" in message.subject
    assert "flat/one" in message.text
    assert "dark/" not in message.text


def test_a_contact_who_wants_nothing_gets_nothing(night, contact, subscribe, tell):
    contact(f"calib,flat,{ANN}")
    subscribe(ANN, Kind.NONE)
    night(flat__one="F")
    assert tell() == {}


def test_a_deleted_run_is_told_to_nobody(night, contact, tell, home):
    contact(f"calib,,{ANN}")
    night(one="F")
    with database.writing(home) as db:
        db.execute("UPDATE run SET deleted_at = 1.0")
    with pytest.raises(Exception, match="There is no such test run"):
        tell()


# Tests without a contact -------------------------------------------------------------------------------------


def test_tests_without_a_contact_go_to_the_fallback_address(night, contact, home):
    home = evolve(home, fallback_address=EVE)
    contact(f"calib,flat,{ANN}")
    night(YESTERDAY, flat__one="P", stray="P", well="P", mended="F")
    night(flat__one="F", stray="F", well="P", mended="P")
    with database.writing(home) as db:
        told = notify.tell(home, db, runs.find(home, db, TODAY), now=time.time())
        content = {entry.recipient: outbox.content(db, entry.id).text for entry in outbox.entries(db)}
    assert (told.without_contact, told.examples) == (1, [("calib", "stray")])
    assert content.keys() == {ANN, EVE}
    assert "stray" in content[EVE]
    assert "flat/one" not in content[EVE]


# Once more ---------------------------------------------------------------------------------------------------


def test_telling_twice_tells_once(night, contact, subscribe, tell):
    contact(f"calib,,{ANN}")
    for kind in Kind:
        subscribe(f"{kind}@example.org", kind)
    night(one="F", two="P")
    assert len(tell()) == 5
    assert tell() == {}


def test_what_comes_late_is_an_addendum_with_only_what_changed(night, contact, subscribe, tell, home):
    # Given a night whose host was late, and people who were told that its tests are missing
    contact(f"calib,flat,{ANN}", f"calib,dark,{BOB}")
    subscribe(EVE, Kind.FULL)
    night(YESTERDAY, flat__one="P", flat__two="P", dark__one="P")
    learn(home)
    night(flat__one="F")
    check(home)
    assert tell().keys() == {ANN, BOB, EVE}
    # When some of it arrives after all
    night(flat__two="P")
    told = tell()
    # Then those whom it concerns are told only that
    assert told.keys() == {ANN, EVE}
    assert "flat/two" in told[ANN].text
    assert "flat/one" not in told[ANN].text
    assert "no longer missing" in told[ANN].subject
    with database.reading(home) as db:
        ann = [entry for entry in outbox.entries(db) if entry.recipient == ANN]
    assert [entry.kind for entry in ann] == ["report", "addendum"]
    assert told[ANN].answers == ann[0].message_id
    # and with the rest, the rest
    night(dark__one="F")
    told = tell()
    assert told.keys() == {BOB, EVE}
    assert "dark/one" in told[BOB].text
    assert tell() == {}


def test_whoever_had_nothing_to_be_told_gets_a_report_when_there_is_something(night, contact, tell, home):
    contact(f"calib,,{ANN}")
    night(one="P")
    assert tell() == {}
    night(two="F")
    assert tell().keys() == {ANN}
    assert states(home) == [(ANN, "report", "pending")]


def test_what_was_replaced_back_and_forth_is_told_each_time(night, contact, tell):
    contact(f"calib,,{ANN}")
    night(YESTERDAY, one="P")
    night(one="F")
    assert tell().keys() == {ANN}
    for status, told in [("P", "no longer failing"), ("F", "newly failing"), ("P", "no longer failing")]:
        night(one=status, replace=True)
        assert told in tell()[ANN].subject


def test_a_run_that_is_deleted_and_imported_again_is_the_same_to_its_readers(night, contact, tell, home):
    contact(f"calib,,{ANN}")
    night(one="F")
    assert tell().keys() == {ANN}
    with database.writing(home) as db:
        db.execute("UPDATE run SET deleted_at = 1.0")
    night(one="F")
    assert tell() == {}


def test_the_next_night_is_told_anew(night, contact, tell):
    contact(f"calib,,{ANN}")
    night(YESTERDAY, one="F")
    assert tell(YESTERDAY).keys() == {ANN}
    night(one="F")
    assert "1 still failing" in tell()[ANN].subject


def test_what_is_told_makes_room(night, contact, tell, home):
    contact(f"calib,,{ANN}")
    night(YESTERDAY, one="F")
    tell(YESTERDAY)
    with database.writing(home) as db:
        db.execute("UPDATE notification SET state = 'sent', closed_at = 1.0")
    night(one="F")
    tell()
    assert rows(home, "SELECT run FROM notification") == [(TODAY,)]


def test_what_was_decided_and_the_record_of_it_are_one(night, contact, tell, home):
    contact(f"calib,,{ANN}", f"calib,,{BOB}")
    night(one="F")
    with contextlib.closing(database.connect(home.database)) as db:
        db.execute("BEGIN IMMEDIATE")
        notify.tell(home, db, runs.find(home, db, TODAY), now=time.time())
        db.execute("ROLLBACK")
    assert rows(home, "SELECT * FROM notification") == []
    assert tell().keys() == {ANN, BOB}


# Hostile names -----------------------------------------------------------------------------------------------

MEAN = ('<script>alert("1")</script>', "'; DROP TABLE run; --", "x" * 10_000, "a&b", "\x1b[2J", "Bcc:_eve@example.org")


def test_names_of_every_kind_become_mails_of_the_usual_kind(home, make_log, subscribe, monkeypatch):
    subscribe(ANN, Kind.FULL)
    for number, name in enumerate(MEAN):
        log = make_log(f"{number}.log", record(name, "F"), test_run=f"{name}_{TODAY}", project=name, host=name)
        take_in(home, log)
    with MailServer() as server:
        monkeypatch.setenv("PDK_SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("PDK_SMTP_PORT", str(server.port))
        monkeypatch.setenv("PDK_SMTP_SECURITY", "none")
        settings = config.load()
        for (run,) in rows(home, "SELECT name FROM run"):
            with database.writing(settings) as db:
                notify.tell(settings, db, runs.find(settings, db, run), now=time.time())
        outbox.deliver_here(settings)
        assert server.recipients == [ANN] * len(MEAN)
        for mail in server.mails:
            assert mail.message.keys() == [
                "From", "To", "Subject", "Date", "Message-ID", "List-Id", "Auto-Submitted",
                "X-Auto-Response-Suppress", "MIME-Version", "Content-Type",
            ]  # fmt: skip
            assert not mail.message.defects
            assert "<script>" not in mail.part("html")
            assert "\x1b" not in mail.part("plain")
            assert len(mail.message["Subject"]) <= 200


# The command -------------------------------------------------------------------------------------------------


def pdk(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    told = capsys.readouterr()
    return ended.value.code or 0, told.out, told.err


def test_without_email_it_prints_who_would_be_told_what_and_writes_nothing(night, contact, capsys, home):
    contact(f"calib,,{ANN}")
    night(one="F")
    code, out, err = pdk(capsys, "notify", TODAY)
    assert (code, err) == (0, "")
    assert f"To: {ANN}" in out
    assert out.splitlines()[-1].split()[:4] == [ANN, "eml", "report", "1"]
    assert rows(home, "SELECT count(*) FROM notification") == [(0,)]


def test_with_email_without_a_mail_server_it_writes_files_and_says_so(night, contact, capsys, home):
    contact(f"calib,,{ANN}")
    night(one="F")
    code, out, err = pdk(capsys, "notify", "-email", TODAY)
    assert code == 0
    assert out.splitlines()[-1].split()[:6] == ["1", ANN, "eml", "report", "1", "sent"]
    assert str(home.outbox) in err
    assert "PDK_SMTP_HOST" in err
    assert len(list(home.outbox.glob("*.eml"))) == 1
    code, out, err = pdk(capsys, "notify", "-email", TODAY)
    assert (code, out) == (0, "")
    assert f"there is nothing (more) to tell anybody about {TODAY}" in err


def test_tests_without_a_contact_are_told_to_whoever_gives_the_command(night, capsys):
    night(one="F", two="M", three="P")
    for words in (["notify", TODAY], ["notify", "-email", TODAY]):
        code, _, err = pdk(capsys, *words)
        assert code == 1
        assert "2 failing or missing tests without a contact: calib one, calib two. `pdk import_contact`" in err
        assert "fallback_address" in err


def test_a_run_that_is_not_there_is_one_line(night, capsys):
    night(one="F")
    code, out, err = pdk(capsys, "notify", "-email")
    assert (code, out) == (1, "")
    assert err.startswith("pdk: There is no such test run: daily_latest, which is daily_")


def test_nothing_is_settled_by_who_is_told_of_it(night, contact, tell, home):
    home = evolve(home, fallback_address=EVE)
    night(one="F", two="F")
    with database.writing(home) as db:
        notify.tell(home, db, runs.find(home, db, TODAY), now=time.time())
    # When a contact comes in the place of the fallback address, is replaced by another, and gets fewer tests
    contact(f"calib,,{ANN}")
    assert tell().keys() == {ANN}
    contact(f"calib,,{BOB}")
    assert tell().keys() == {BOB}
    contact(f"calib,one,{BOB}")
    assert tell() == {}
    # Then it is told as settled when it is, and to those alone whose business it still is
    night(one="P", two="P", replace=True)
    texts = tell()
    assert texts.keys() == {BOB}
    assert "2 no longer failing" in texts[BOB].text, "he was told of both"


def test_who_has_unsubscribed_is_told_no_more(night, subscribe, tell, home):
    subscribe(EVE, "full", "calib")
    night(one="F")
    assert tell().keys() == {EVE}
    with database.writing(home) as db:
        subscriptions.unsubscribe(db, EVE, "")
    night(one="P", replace=True)
    assert tell() == {}


def test_a_refusal_is_told_and_can_be_tried_again_when_it_is_mended(night, contact, capsys, monkeypatch):
    contact(f"calib,,{ANN}", f"calib,,{BOB}")
    night(one="F")
    with MailServer() as server:
        for name, value in {"HOST": "127.0.0.1", "PORT": server.port, "SECURITY": "none"}.items():
            monkeypatch.setenv(f"PDK_SMTP_{name}", str(value))
        config.settings.cache_clear()
        # Given that Ann's mail is refused, and Bob's for now
        server.on_recipient = {ANN: "550 no such user", BOB: "451 come back later"}.get
        code, out, err = pdk(capsys, "notify", "-email", TODAY)
        assert code == 1
        assert "550 no such user" in out
        assert "1 message refused; `pdk outbox retry`" in err
        assert "1 message could not be delivered now, the next `pdk notify` or" in err
        assert "tries again: 451 come back later" in err
        # When the server is mended, then both get theirs
        server.on_recipient = lambda _recipient: None
        code, out, _ = pdk(capsys, "outbox", "retry", 1, 2)
        assert (code, out.partition(";")[0]) == (0, "2 messages to deliver")
        assert sorted(server.recipients) == [ANN, BOB]
        code, _, err = pdk(capsys, "outbox", "list")
        assert (code, err) == (0, "pdk: everything has been sent\n")


def test_a_message_can_be_looked_at_and_dropped(night, contact, capsys, monkeypatch):
    contact(f"calib,,{ANN}")
    night(one="F")
    monkeypatch.setenv("PDK_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("PDK_SMTP_PORT", "1")
    config.settings.cache_clear()
    code, _, err = pdk(capsys, "notify", "-email", TODAY)
    assert code == 1, "nothing is running that would try again by itself"
    assert "the next `pdk notify` or `pdk nightly` tries again: 127.0.0.1:1: Connection refused" in err
    assert "no message can be delivered by smtp now: 127.0.0.1:1: Connection refused" in pdk(capsys, "status")[1]
    _, out, _ = pdk(capsys, "outbox", "show", 1)
    assert "state       pending, 1 attempt\n" in out
    assert "one" in out
    assert pdk(capsys, "outbox", "drop", 1)[:2] == (0, "1 message dropped\n")
    assert pdk(capsys, "outbox", "list")[2] == "pdk: everything has been sent\n"
    assert pdk(capsys, "outbox", "show", 7)[2] == (
        "pdk: There is no such message in the outbox: 7. `pdk outbox list` shows what there is.\n"
    )


def test_a_channel_can_be_chosen(night, contact, subscribe, capsys, monkeypatch):
    contact(f"calib,,{ANN}")
    subscribe("json://127.0.0.1:1/S3cret", Kind.FULL)
    night(one="F")
    monkeypatch.setenv("PDK_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("PDK_SMTP_PORT", "1")
    config.settings.cache_clear()
    code, out, err = pdk(capsys, "notify", "-email", "--channel", "eml", TODAY)
    assert code == 0
    assert out.splitlines()[-1].split()[1:6] == [ANN, "eml", "report", "1", "sent"]
    assert "1 recipient left out" in err
    assert "S3cret" not in out + err
    assert pdk(capsys, "notify", "--channel", "pigeon")[0] == 2


def test_a_test_message_says_whether_the_settings_are_right(capsys, monkeypatch, home):
    with MailServer() as server:
        for name, value in {"HOST": "127.0.0.1", "PORT": server.port, "SECURITY": "none"}.items():
            monkeypatch.setenv(f"PDK_SMTP_{name}", str(value))
        config.settings.cache_clear()
        code, out, _ = pdk(capsys, "notify", "--test", "ann@example.org")
        assert (code, out) == (0, "ann@example.org: sent by smtp: 250 taken as 1\n")
        assert server.mails[0].message["Subject"] == "[pdk] test message"
        server.on_recipient = lambda _: "550 no such user"
        code, _, err = pdk(capsys, "notify", "--test", "ann@example.org")
        assert (code, err) == (1, "pdk: A message is refused for good: 550 no such user\n")
    assert not home.database.exists()
