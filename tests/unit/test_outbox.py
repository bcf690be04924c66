"""The outbox: each message once, under one Message-ID, whatever happens on the way."""

from __future__ import annotations

import contextlib
import fcntl
import time

import pytest
from attrs import evolve

from pdk_pipeline import channels, database, outbox
from pdk_pipeline.errors import ChannelDown, DeliveryFault, MessageRefused
from pdk_pipeline.outbox import Lease, Notice, Outcome, Result, State, leases
from tests.conftest import rows

DAY = 86_400
NOW = 1_800_000_000.0


def notice(recipient="ann@example.org", *, text="one test fails", told=(), run="daily_2026-11-23", channel="smtp"):
    return Notice(run, recipient, channel, f"[pdk] {run}: {text}", text, f"<p>{text}</p>", 1, list(told))


@pytest.fixture
def put(home):
    """Put notices into the outbox; returns their ids."""

    def put(*notices, now=NOW):
        with database.writing(home) as db:
            known = outbox.known(db, notices[0].run)
            return [outbox.put(db, home, one, known.get(one.recipient), now=now) for one in notices]

    return put


@pytest.fixture
def lease(home):
    def lease(now=NOW, **options):
        with database.writing(home) as db:
            return leases.lease(db, home, now=now, **options)

    return lease


@pytest.fixture
def record(home):
    def record(lease, result, detail="", *, now=NOW):
        with database.writing(home) as db:
            leases.record(db, home, lease, Outcome(Result(result), detail), now=now)

    return record


@pytest.fixture
def entries(home):
    def entries(**which):
        with database.reading(home) as db:
            return outbox.entries(db, **which)

    return entries


@pytest.fixture
def answers(monkeypatch):
    """A channel that does as the test says: what it is given to say or to raise, in turn, or by recipient."""
    sent, to_come = [], []

    def send(_settings, _name, message, *, seconds):  # noqa: ARG001
        sent.append(message)
        answer = to_come.pop(0) if to_come else "250 taken"
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(channels, "send", send)
    return sent, to_come


# In ----------------------------------------------------------------------------------------------------------


def test_a_message_id_is_the_same_whenever_and_wherever_it_is_made(put, entries, home):
    put(notice(), now=NOW)
    (first,) = entries()
    home.database.unlink()
    put(notice(), now=NOW + DAY)
    (second,) = entries()
    assert first.message_id == second.message_id
    assert first.message_id.endswith("@" + channels.mail.domain(home))


def test_message_ids_differ_by_run_recipient_channel_and_content(put, entries):
    put(notice())
    put(notice("bob@example.org"))
    put(notice("eve@example.org", channel="eml"))
    put(notice("una@example.org", text="another test fails"))
    put(notice(run="daily_2026-11-24"))
    assert len({entry.message_id for entry in entries()}) == 5


def test_what_a_recipient_knows_is_what_the_last_message_told(put, home):
    put(notice(told=[["fail", "a"]]))
    put(notice(text="another one too", told=[["fail", "a"], ["fail", "b"]]))
    with database.reading(home) as db:
        known = outbox.known(db, "daily_2026-11-23")
        assert known.keys() == {"ann@example.org"}
        assert known["ann@example.org"].told == [["fail", "a"], ["fail", "b"]]
        assert outbox.known(db, "daily_2026-11-24") == {}


def test_a_second_message_of_a_run_is_an_addendum_to_the_first(put, entries, home):
    put(notice())
    put(notice(text="it passes"))
    put(notice(text="another one fails"))
    kinds = [(entry.kind, entry.id) for entry in entries()]
    assert kinds == [("report", 1), ("addendum", 2), ("addendum", 3)]
    with database.reading(home) as db:
        held = [leases.held(db, id_).message for id_ in (1, 2, 3)]
    assert [message.answers for message in held] == ["", held[0].message_id, held[0].message_id]


def test_the_same_news_a_second_time_is_news(put, entries):
    put(notice(text="it fails"))
    put(notice(text="it passes"))
    assert put(notice(text="it fails")) != [None]
    assert len({entry.message_id for entry in entries()}) == 3


def test_who_refused_the_report_is_not_told_the_same_again_but_what_is_new_in_full(put, lease, record, entries):
    # Given a report that was refused
    put(notice(text="it fails"))
    record(*lease(), "refused", "550 no such user")
    # When the same is to be told again, then it is not
    assert put(notice(text="it fails")) == [None]
    # and when there is more to tell, then it is a report and no addendum
    put(notice(text="two fail"))
    assert [(entry.kind, entry.state) for entry in entries()] == [("report", "refused"), ("report", "pending")]


def test_what_was_closed_long_ago_is_forgotten_and_nothing_else(put, lease, record, entries, home):
    put(notice("old@example.org"), notice("waiting@example.org"))
    record(lease()[0], "sent")
    with database.writing(home) as db:
        assert outbox.forget(db, home, now=NOW + 89 * DAY) == 0
        assert outbox.forget(db, home, now=NOW + 91 * DAY) == 1
    assert [entry.recipient for entry in entries()] == ["waiting@example.org"]


# Leases ------------------------------------------------------------------------------------------------------


def test_what_is_in_hand_is_not_handed_out_again_before_its_lease_is_over(put, lease, home):
    put(notice())
    (first,) = lease()
    assert lease(NOW + home.lease_seconds - 1) == []
    (second,) = lease(NOW + home.lease_seconds)
    assert second.id == first.id
    assert second.token != first.token


def test_only_so_many_are_in_hand_together(put, lease, record):
    put(*(notice(f"{number}@example.org") for number in range(15)))
    first = lease()
    assert len(first) == leases.AT_ONCE
    assert lease() == []
    record(first[0], "sent")
    assert [one.id for one in lease()] == [11]


def test_an_addendum_waits_for_its_report_and_others_do_not_wait(put, lease, record):
    put(notice())
    put(notice(text="more"))
    put(notice("bob@example.org"))
    first, other = lease()
    assert (first.id, other.id) == (1, 3)
    record(other, "sent")
    record(first, "failed", "451 later")
    assert lease() == []
    record(*lease(NOW + DAY), "sent")
    assert [one.id for one in lease(NOW + DAY)] == [2]


def test_a_failure_is_followed_by_pauses_that_grow_and_differ(put, lease, record, entries, home):
    put(notice())
    now, pauses = NOW, []
    for _ in range(12):
        record(*lease(now), "failed", "451 later", now=now)
        (entry,) = entries()
        pauses.append(entry.due_at - now)
        now = entry.due_at
    for number, pause in enumerate(pauses):
        usual = min(home.redelivery_seconds * 2**number, 3600)
        assert 0.8 * usual <= pause <= 1.2 * usual
    assert len(set(pauses)) == len(pauses)
    assert (entry.state, entry.attempts, entry.detail) == (State.PENDING, 12, "451 later")


def test_a_message_that_fails_for_days_is_given_up(put, lease, record, entries, home):
    put(notice())
    end = NOW + home.give_up_days * DAY
    for day in range(leases.LEAST_ATTEMPTS - 1):
        record(*lease(NOW + day * DAY), "failed", "451 later", now=min(NOW + day * DAY, end - 1))
    assert entries()[0].state is State.PENDING
    record(*lease(end + DAY), "failed", "451 still later", now=end + DAY)
    (entry,) = entries()
    assert (entry.state, entry.detail) == (State.GIVEN_UP, "451 still later")
    assert lease(end + 9 * DAY) == []


def test_a_message_that_waited_while_everything_was_off_is_tried_before_it_is_given_up(put, lease):
    put(notice())
    assert len(lease(NOW + 30 * DAY)) == 1


def test_a_message_whose_delivery_never_ends_is_given_up_too(put, home, entries):
    home = evolve(home, lease_seconds=40_000)
    put(notice())
    now = NOW
    with database.writing(home) as db:
        while leases.lease(db, home, now=now):
            now += home.lease_seconds
    (entry,) = entries()
    assert entry.state is State.GIVEN_UP
    assert entry.detail == f"its delivery was begun {entry.attempts} times and the last one never ended"
    assert now == pytest.approx(NOW + home.give_up_days * DAY, abs=home.lease_seconds)


def test_a_refusal_is_for_good_and_concerns_nobody_else(put, lease, record, entries):
    put(notice("gone@example.org"), notice("bob@example.org"))
    first, second = lease()
    record(first, "refused", "550 no such user")
    record(second, "sent", "250 taken")
    assert [(entry.state, entry.detail) for entry in entries()] == [
        ("refused", "550 no such user"),
        ("sent", "250 taken"),
    ]
    assert lease(NOW + 9 * DAY) == []


# What comes late or twice ------------------------------------------------------------------------------------


def test_what_was_sent_was_sent_whoever_has_the_lease_by_now(put, lease, record, entries, home):
    put(notice())
    (first,) = lease()
    (second,) = lease(NOW + home.lease_seconds)
    record(first, "sent", "250 taken", now=NOW + home.lease_seconds)
    assert entries()[0].state is State.SENT
    record(second, "failed", "451 later", now=NOW + home.lease_seconds)
    record(second, "refused", "550 no", now=NOW + home.lease_seconds)
    assert entries()[0].state is State.SENT


def test_a_failure_under_a_lease_that_is_over_changes_nothing(put, lease, record, entries, home):
    put(notice())
    (first,) = lease()
    lease(NOW + home.lease_seconds)
    record(first, "failed", "451 later", now=NOW + home.lease_seconds)
    record(first, "down", "no route", now=NOW + home.lease_seconds)
    (entry,) = entries()
    assert (entry.is_in_hand, entry.due_at, entry.detail) == (True, NOW, "")


def test_an_outcome_that_is_recorded_twice_is_recorded_once(put, lease, record, entries):
    put(notice())
    (only,) = lease()
    record(only, "failed", "451 later")
    before = entries()
    record(only, "failed", "451 later")
    assert entries() == before


def test_an_outcome_of_a_message_that_is_forgotten_is_passed_over(put, lease, record, home):
    put(notice())
    (only,) = lease()
    with database.writing(home) as db:
        db.execute("DELETE FROM notification")
    record(only, "sent")


# A channel that is down --------------------------------------------------------------------------------------


def test_while_a_channel_is_down_one_message_tries_it_and_the_others_wait(put, lease, record, entries):
    # Given twenty mails and a server that is away
    put(*(notice(f"{number}@example.org") for number in range(20)), notice("slack://a", channel="apprise"))
    for one in lease():
        record(one, "down", "connection refused")
    # Then another channel's message is not held up
    (other,) = lease()
    assert other.id == 21
    record(other, "sent")
    # and of the mails one tries the server, an hour later again one
    (probe,) = lease(NOW + 3600)
    assert lease(NOW + 3600) == []
    record(probe, "down", "connection refused", now=NOW + 3600)
    assert lease(NOW + 3600) == []
    # and when it gets through, all the others are due at once
    (probe,) = lease(NOW + 3 * 3600)
    record(probe, "sent", now=NOW + 3 * 3600)
    assert len(lease(NOW + 3 * 3600)) == leases.AT_ONCE
    assert [entry.attempts for entry in entries()][12:20] == [0] * 8


def test_a_message_is_not_given_up_because_the_machine_was_off_for_days(put, lease, record, entries, home):
    put(notice())
    back = NOW + 2 * home.give_up_days * DAY
    for attempt in range(1, leases.LEAST_ATTEMPTS):
        record(*lease(back + attempt * 3600), "down", "connection refused", now=back + attempt * 3600)
        assert entries()[0].state is State.PENDING
    record(*lease(back + DAY), "failed", "451 later", now=back + DAY)
    assert entries()[0].state is State.GIVEN_UP


def test_when_a_channel_is_down_for_days_everything_that_waited_is_given_up_together(put, lease, record, entries, home):
    put(*(notice(f"{number}@example.org") for number in range(5)))
    end = NOW + home.give_up_days * DAY
    for day in range(leases.LEAST_ATTEMPTS - 1):
        record(lease(NOW + day * DAY, most=1)[0], "down", "connection refused", now=min(NOW + day * DAY, end - 1))
    put(notice("new@example.org"), now=end)
    record(lease(end)[0], "down", "connection refused", now=end)
    states = [entry.state for entry in entries()]
    assert states == [State.GIVEN_UP] * 5 + [State.PENDING]
    assert {entry.detail for entry in entries()} == {"connection refused"}


# Attempts ----------------------------------------------------------------------------------------------------


def test_an_attempt_sends_the_message_and_what_it_gave_is_kept_until_it_is_recorded(put, home, answers, entries):
    sent, _ = answers
    put(notice(), now=time.time())
    (only,) = outbox.hand_out(home)
    outcome = outbox.attempt(home, only)
    assert outcome == (Result.SENT, "250 taken")
    assert (sent[0].recipient, sent[0].text, sent[0].html) == (
        "ann@example.org",
        "one test fails",
        "<p>one test fails</p>",
    )
    # Given that whoever sent it is killed before it is recorded, then nobody sends it again
    assert outbox.attempt(home, only) == outcome
    assert len(sent) == 1
    # and the next sweep records it
    assert outbox.hand_out(home) == []
    (entry,) = entries()
    assert (entry.state, entry.detail, entry.attempts) == (State.SENT, "250 taken", 1)
    assert list((home.outbox / "deliveries").iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (MessageRefused("550 no such user"), Result.REFUSED),
        (DeliveryFault("451 later"), Result.FAILED),
        (ChannelDown("connection refused", "Look at smtp_host."), Result.DOWN),
        (ZeroDivisionError("division by zero"), Result.FAILED),
    ],
)
def test_what_goes_wrong_in_a_channel_is_an_outcome(fault, result, put, home, answers):
    answers[1].append(fault)
    put(notice(), now=time.time())
    outcome = outbox.attempt(home, *outbox.hand_out(home))
    assert outcome.result is result
    assert str(fault.args[0]) in outcome.detail


def test_a_message_that_kills_whoever_sends_it_does_so_only_a_few_times(put, home, answers, entries):
    class Killed(BaseException):
        pass

    put(notice(), notice("bob@example.org"), now=time.time())
    (poison, _) = outbox.hand_out(home)
    answers[1].extend([Killed()] * 100)
    deaths = 0
    while True:
        try:
            outcome = outbox.attempt(home, poison)
        except Killed:
            deaths += 1
        else:
            break
    assert deaths == 5
    assert outcome == (Result.REFUSED, "its delivery was begun 5 times and killed us each time")
    # When somebody has found out why, it can be tried again
    answers[1].clear()
    outbox.record(home, poison, outcome)
    with database.writing(home) as db:
        outbox.retry(db, home, [poison.id], now=time.time())
    outbox.deliver_here(home)
    assert [entry.state for entry in entries()] == ["sent", "sent"]


def test_deaths_that_an_ordinary_failure_comes_between_are_not_counted_together(put, home, answers):
    put(notice(), now=time.time())
    (only,) = outbox.hand_out(home)
    answers[1].extend(
        [KeyboardInterrupt(), KeyboardInterrupt(), DeliveryFault("451 later"), *[KeyboardInterrupt()] * 4]
    )
    for _ in range(7):
        with contextlib.suppress(KeyboardInterrupt):
            outbox.attempt(home, only)
    assert outbox.attempt(home, only).result is Result.SENT


def test_two_do_not_send_the_same_message_at_once(put, home, answers):
    put(notice(), now=time.time())
    (only,) = outbox.hand_out(home)
    (home.outbox / "deliveries").mkdir(parents=True)
    with (home.outbox / "deliveries" / str(only.id)).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert outbox.attempt(home, only) is None
    assert answers[0] == []
    assert outbox.attempt(home, only).result is Result.SENT


def test_a_lease_that_is_not_the_last_one_sends_nothing(put, home, answers):
    put(notice(), now=time.time())
    (only,) = outbox.hand_out(home)
    assert outbox.attempt(home, Lease(only.id, "another")) is None
    assert outbox.attempt(home, Lease(99, only.token)) is None
    with database.writing(home) as db:
        outbox.drop(db, [only.id], now=time.time())
    assert outbox.attempt(home, only) is None
    assert answers[0] == []


def test_a_lease_that_is_over_sends_nothing(put, home, answers, lease):
    put(notice(), now=1.0)
    (only,) = lease(2.0)
    assert outbox.attempt(home, only) is None
    assert answers[0] == []


def test_the_file_of_another_message_of_the_same_id_says_nothing(put, home, answers):
    """A database that came out of a backup gives ids again."""
    put(notice(), now=time.time())
    outbox.attempt(home, *outbox.hand_out(home))
    home.database.unlink()
    put(notice("bob@example.org"), now=time.time())
    outbox.deliver_here(home)
    assert [message.recipient for message in answers[0]] == ["ann@example.org", "bob@example.org"]


def test_a_file_that_was_cut_off_by_a_power_cut_says_nothing(put, home, answers, entries):
    put(notice(), now=time.time())
    (home.outbox / "deliveries").mkdir(parents=True)
    (home.outbox / "deliveries" / "1").write_text('{"result": "se')
    outbox.deliver_here(home)
    assert len(answers[0]) == 1
    assert entries()[0].state is State.SENT


# In one process ----------------------------------------------------------------------------------------------


def test_in_one_process_everything_due_is_delivered_and_progress_is_told(put, home, answers, entries):
    put(*(notice(f"{number}@example.org") for number in range(12)), now=time.time())
    answers[1].extend(["250 taken", MessageRefused("550 no such user"), DeliveryFault("451 later")])
    told = []
    outbox.deliver_here(home, progress=lambda done, whole: told.append((done, whole)))
    assert [entry.state for entry in entries()] == ["sent", "refused", "pending", *["sent"] * 9]
    assert told == [(number, 12) for number in range(1, 13)]


@pytest.mark.usefixtures("answers")
def test_in_one_process_a_lease_that_a_killed_one_left_is_no_hindrance(put, home, entries):
    put(notice(), now=time.time())
    outbox.hand_out(home)
    outbox.deliver_here(home)
    assert entries()[0].state is State.SENT


@pytest.mark.usefixtures("answers")
def test_in_one_process_a_message_that_somebody_else_is_sending_is_left_to_them(put, home, entries):
    put(notice(), notice("bob@example.org"), now=time.time())
    (home.outbox / "deliveries").mkdir(parents=True)
    with (home.outbox / "deliveries" / "1").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        outbox.deliver_here(home)
    assert [entry.state for entry in entries()] == [State.PENDING, State.SENT]


def test_in_one_process_a_server_that_is_away_is_tried_once(put, home, answers, entries):
    put(*(notice(f"{number}@example.org") for number in range(12)), now=time.time())
    answers[1].extend([ChannelDown("connection refused")] * 12)
    outbox.deliver_here(home)
    assert len(answers[0]) == 1
    assert {(entry.state, entry.detail) for entry in entries()} == {("pending", "connection refused")}


# For people --------------------------------------------------------------------------------------------------


def test_a_refused_message_can_be_tried_again_and_one_that_was_sent_cannot(put, lease, record, entries, home):
    put(notice("gone@example.org"), notice("bob@example.org"))
    for one, result in zip(lease(), ["refused", "sent"], strict=True):
        record(one, result)
    with database.writing(home) as db:
        assert outbox.retry(db, home, [1, 2], now=NOW + 90 * DAY) == 1
    (only,) = lease(NOW + 90 * DAY)
    record(only, "failed", "451 later", now=NOW + 90 * DAY)
    assert [entry.state for entry in entries()] == [State.PENDING, State.SENT]


def test_a_dropped_message_is_not_sent_and_its_recipient_counts_as_told(put, lease, entries, home):
    put(notice(told=[["fail", "a"]]))
    with database.writing(home) as db:
        assert outbox.drop(db, [1], now=NOW) == 1
        assert outbox.drop(db, [1], now=NOW) == 0
        assert outbox.known(db, "daily_2026-11-23")["ann@example.org"].told == [["fail", "a"]]
    assert lease(NOW + 9 * DAY) == []
    assert [entry.recipient for entry in entries(states=[State.DROPPED])] == ["ann@example.org"]


def test_the_tokens_in_a_services_address_are_not_listed(put, entries):
    put(notice("slack://T0k3n/S3cret", channel="apprise"))
    told = entries()[0].as_json()["recipient"]
    assert told.startswith("slack://…")
    assert "T0k3n" not in told


def test_contents_are_kept_small(put, home):
    put(notice(text="flat/test_bias fails\n" * 10_000))
    ((size,),) = rows(home, "SELECT length(content) FROM notification")
    assert size < 2_000
