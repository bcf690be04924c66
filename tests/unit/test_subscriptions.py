"""Subscriptions: who is sent which report of which project."""

from __future__ import annotations

import pytest

from pdk_pipeline import database, subscriptions
from pdk_pipeline.subscriptions import EVERY_PROJECT, Kind, Subscription
from tests.conftest import record, rows
from tests.stored import take_in
from tests.typed import Terminal


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


def subscribe(home, *wishes: tuple) -> None:
    with database.writing(home) as db:
        for address, project, kind, *most in wishes:
            subscriptions.subscribe(db, Subscription(address, project, kind, *most or [None]))


def wanted(home, *projects: str, mail_domain: str = "") -> dict[str, dict[str, str]]:
    """The kind that each address gets of each project."""
    with database.reading(home) as db:
        found = subscriptions.of(db, projects, mail_domain)
    return {address: {project: str(wish.kind) for project, wish in wishes.items()} for address, wishes in found.items()}


def test_a_subscription_to_every_project_counts_where_there_is_none_to_the_project_itself(home):
    subscribe(home, ("hal", EVERY_PROJECT, Kind.SUMMARY), ("hal", "calib", Kind.FULL), ("dave", "film", Kind.NONE))
    assert wanted(home, "calib", "drizzle") == {"hal": {"calib": "full", "drizzle": "summary"}}
    assert wanted(home, "film") == {"hal": {"film": "summary"}, "dave": {"film": "none"}}
    assert wanted(home) == {}


def test_a_subscription_takes_the_place_of_the_one_before(home):
    subscribe(home, ("hal", "calib", Kind.FULL, 10), ("hal", "calib", Kind.CHANGES))
    assert rows(home, "SELECT * FROM subscription") == [("hal", "calib", "changes", None)]


def test_subscribing_again_changes_nothing(home):
    subscribe(home, ("hal", "calib", Kind.FULL, 10), ("hal", "calib", Kind.FULL, 10))
    assert rows(home, "SELECT * FROM subscription") == [("hal", "calib", "full", 10)]


def test_addresses_are_spelled_as_contacts_are_when_the_mail_domain_comes_later(home):
    subscribe(home, ("hal", "calib", Kind.FULL))
    assert wanted(home, "calib", mail_domain="Example.org") == {"hal@example.org": {"calib": "full"}}
    with database.writing(home) as db:
        assert subscriptions.unsubscribe(db, "hal@example.org", "Example.org") == 1


def test_who_reads_the_tables_of_the_original_finds_the_preferences_there(home):
    kinds = [Kind.NONE, Kind.SUMMARY, Kind.FULL, Kind.FULL_ALWAYS, Kind.CHANGES]
    subscribe(home, *(("hal", str(kind), kind, 7) for kind in kinds), ("dave", "", Kind.FULL))
    assert rows(home, "SELECT username, email FROM user_prefs ORDER BY 1") == [("dave", "dave"), ("hal", "hal")]
    assert rows(home, "SELECT project, format, maxlines FROM user_email_pref ORDER BY username, format") == [
        ("", "f", 0),
        ("full-always", "F", 7),
        ("changes", "changes", 7),
        ("full", "f", 7),
        ("none", "n", 7),
        ("summary", "s", 7),
    ]


def test_a_kind_that_there_is_not_cannot_even_be_put_in_by_sql(home):
    with database.writing(home) as db, pytest.raises(Exception, match="CHECK constraint failed"):
        db.execute("INSERT INTO subscription VALUES ('hal', '', 'weekly', NULL)")


# Commands -------------------------------------------------------------------------------------------------------


def test_an_address_subscribes_is_listed_and_unsubscribes(home, make_log, pdk):
    take_in(home, make_log("a.pdklog", record()))
    assert pdk("subscribe", "HAL@Example.org", "--project", "calib").out == "hal@example.org: full of calib\n"
    seen = pdk("subscribe", "dave", "-kind=full-always", "-most_lines=50")
    assert (seen.out, seen.err) == ("dave: full-always of every project, at most 50 tests listed\n", "")
    assert pdk("subscriptions", "--json").data == [
        {"address": "dave", "project": "", "kind": "full-always", "most_lines": 50},
        {"address": "hal@example.org", "project": "calib", "kind": "full", "most_lines": None},
    ]
    assert "(every project)" in pdk("subscriptions").out
    assert pdk("unsubscribe", "hal@example.org").out == "hal@example.org: 1 subscription ended\n"
    assert [one["address"] for one in pdk("subscriptions", "--json").data] == ["dave"]


def test_unsubscribing_from_one_project_leaves_the_others(home, pdk):
    subscribe(home, ("hal", "calib", Kind.FULL), ("hal", "film", Kind.FULL), ("hal", "", Kind.FULL))
    pdk("unsubscribe", "hal", "--project", "film")
    assert rows(home, "SELECT project FROM subscription ORDER BY 1") == [("",), ("calib",)]
    pdk("unsubscribe", "hal")
    assert "there are no subscriptions yet" in pdk("subscriptions").err


def test_ending_what_is_not_there_is_said(pdk):
    pdk("initdb")
    seen = pdk("unsubscribe", "hal")
    assert seen.status == 1
    assert "hal has no such subscription" in seen.err


def test_a_project_that_nobody_has_tests_of_may_be_a_misspelling_and_is_told(pdk):
    seen = pdk("subscribe", "hal", "--project", "clib")
    assert seen.status == 0
    assert "there are no tests of a project clib so far" in seen.err


@pytest.mark.parametrize(
    "address",
    ["two words", "a@b\nBcc: all@example.org", "a@b@c", "", "x" * 255, "<a@b>", "a@b,c@d", "a@b\0", "slack://a b"],
)
def test_what_could_be_more_than_an_address_is_refused(home, pdk, address):
    pdk("initdb")
    seen = pdk("subscribe", address)
    assert seen.status == 1
    assert seen.err.startswith("pdk: This cannot be an address:")
    assert seen.err.count("\n") == 1
    assert rows(home, "SELECT * FROM subscription") == []


def test_a_services_url_subscribes_and_is_never_shown(home, pdk):
    url = "slack://TokenA/TokenB/TokenC/#nightly"
    seen = pdk("subscribe", url, "--json")
    assert rows(home, "SELECT address FROM subscription") == [(url,)]
    listed = pdk("subscriptions", "--json")
    mark = listed.data[0]["address"]
    assert mark == seen.data["address"]
    assert mark.startswith("slack://…")
    assert "Token" not in seen.out + listed.out + pdk("subscriptions").out + pdk("unsubscribe", url + "x").err
    assert pdk("unsubscribe", mark).out == f"{mark}: 1 subscription ended\n"
    assert rows(home, "SELECT address FROM subscription") == []


@pytest.mark.parametrize("options", [("--kind", "weekly"), ("--most-lines", "0"), ("--most-lines", "many")])
def test_what_cannot_be_subscribed_to_is_a_mistake_in_typing(pdk, options):
    assert pdk("subscribe", "hal", *options).status == 2
