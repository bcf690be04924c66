"""Contacts: out of a test tree, into the database, and who is told about a night's problems."""

from __future__ import annotations

import csv
import io
import os
from contextlib import closing
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pdk_pipeline import contacts, database, runs
from pdk_pipeline.contacts import Cover, Rule
from pdk_pipeline.errors import BadContacts
from tests.conftest import record, rows
from tests.machine import needs_permissions
from tests.stored import take_in
from tests.typed import Terminal

NIGHT = "daily_2026-11-23"


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    return Terminal(home, capsys, monkeypatch)


@pytest.fixture
def tree(tmp_path):
    """A test tree: `tree({"": "stanley", "odyssey": "arthur"})` writes the contacts of its directories."""

    def make(files: dict[str, str], *, top: str | None = "") -> Path:
        root = tmp_path / "film"
        for directory, text in files.items():
            (root / directory).mkdir(parents=True, exist_ok=True)
            (root / directory / "pdk_contacts").write_text(text)
        if top is not None:
            (root / top / "pandokia_top").touch()
        return root

    return make


def found_in(directory: Path, mail_domain: str = "") -> list[tuple[str, str]]:
    return [(prefix, address) for _, prefix, address in contacts.in_tree("film", directory, mail_domain)]


def take(home, text: str) -> list[contacts.Replaced]:
    with database.writing(home) as db:
        return contacts.replace(db, text, home.mail_domain)


def rules(home) -> set[tuple]:
    return set(rows(home, "SELECT project, prefix, address FROM contact_rule"))


def told(home, run: str = NIGHT) -> dict[str, set[str]]:
    """Who is told about which tests; "" is nobody."""
    with database.reading(home) as db:
        responsible = contacts.of(home, db, runs.find(home, db, run))
        names = dict(db.execute("SELECT id, name FROM test"))
    everyone = responsible.tests | ({"": responsible.without} if responsible.without else {})
    return {address: {names[test] for test in tests} for address, tests in everyone.items()}


# Out of a test tree ---------------------------------------------------------------------------------------------


def test_every_directory_adds_its_contacts_to_those_above(tree):
    film = tree({"": "stanley", "odyssey": "arthur", "odyssey/jupiter": "hal", "clockwork": "anthony"})
    found = found_in(film)
    assert found == [
        ("", "stanley"),
        ("clockwork", "anthony"),
        ("odyssey", "arthur"),
        ("odyssey/jupiter", "hal"),
    ]
    cover = Cover(Rule("film", *rule) for rule in found)
    assert cover.of("film", "odyssey/moon/test_walk") == {"stanley", "arthur"}
    assert cover.of("film", "odyssey/jupiter/test_doors.test_open") == {"stanley", "arthur", "hal"}
    assert cover.of("film", "clockwork/test_milk") == {"stanley", "anthony"}


def test_the_same_tree_gives_the_same_lines_in_the_same_order(tree):
    film = tree(dict.fromkeys("hcdgeafb", "stanley"))
    assert found_in(film) == [(directory, "stanley") for directory in "abcdefgh"]


def test_comments_blank_lines_and_windows_line_ends_are_no_contacts(tree):
    film = tree({"": "# leads\n\n  stanley  # since 1968\r\nkeir@example.org\r\n#nobody\n\n"})
    assert found_in(film) == [("", "stanley"), ("", "keir@example.org")]


def test_prefixes_begin_at_the_top_of_the_tree_when_only_a_part_of_it_is_looked_at(tree):
    film = tree({"": "stanley", "odyssey": "arthur", "odyssey/jupiter": "hal", "clockwork": "anthony"})
    assert found_in(film / "odyssey") == [
        ("odyssey", "stanley"),
        ("odyssey", "arthur"),
        ("odyssey/jupiter", "hal"),
    ]


def test_without_a_marked_top_prefixes_begin_where_the_looking_begins(tree):
    film = tree({"": "stanley", "odyssey": "arthur", "odyssey/jupiter": "hal"}, top=None)
    assert found_in(film / "odyssey") == [("", "arthur"), ("jupiter", "hal")]


def test_a_tree_within_the_tree_has_names_of_its_own(tree):
    film = tree({"": "stanley", "sub/deep": "dave"})
    (film / "sub" / "pandokia_top").touch()
    assert found_in(film) == [("", "stanley"), ("deep", "dave")]


def test_a_name_without_an_at_gets_the_mail_domain(tree):
    film = tree({"": "Stanley\nhal@example.org"})
    assert found_in(film, "film.example") == [("", "stanley@film.example"), ("", "hal@example.org")]


@pytest.mark.parametrize(
    "line",
    [
        "two names",
        "a@b@c",
        "<script>",
        "a@b, c@d",
        "x" * 255,
        "-oQ/tmp",
        "a@",
        "@b",
        "böse@example.org",
        "a@b\0",
        "a\tb",
    ],
)
def test_a_line_that_is_no_address_is_named_with_its_file(tree, line):
    film = tree({"": f"stanley\n{line}\n"})
    with pytest.raises(BadContacts, match=r"film/pdk_contacts, line 2: .* cannot be an address"):
        found_in(film)


def test_directories_are_named_as_the_tests_in_them_are(tree):
    odd = 'a "b", <script>\n'
    film = tree({odd: "stanley", ".hidden": "dave", "data.log": "hal"})
    (film / os.fsdecode(b"\xff")).mkdir()
    (film / os.fsdecode(b"\xff") / "pdk_contacts").write_text("keir")
    assert sorted(found_in(film)) == [
        ("\\xff", "keir"),
        ('a_"b",_<script>_', "stanley"),
        ("data.log", "hal"),
        ("hidden", "dave"),
    ]


def test_links_to_directories_are_not_followed(tree):
    film = tree({"": "stanley"})
    (film / "round").symlink_to(film, target_is_directory=True)
    assert found_in(film) == [("", "stanley")]


def test_contacts_that_are_no_file_are_passed_over(tree):
    film = tree({"": "stanley"})
    (film / "odyssey").mkdir()
    os.mkfifo(film / "odyssey" / "pdk_contacts")
    assert found_in(film) == [("", "stanley")]


@needs_permissions
def test_a_directory_that_cannot_be_read_is_an_error_and_not_a_hole(tree, pdk):
    film = tree({"": "stanley", "closed": "dave"})
    (film / "closed").chmod(0)
    try:
        seen = pdk("gen_contact", "film", film)
    finally:
        (film / "closed").chmod(0o755)
    assert seen.status == 1
    assert seen.out == ""
    assert "closed" in seen.err


# What a rule covers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "test_name", "is_covered"),
    [
        ("", "anything/at.all", True),
        ("flat/bias", "flat/bias", True),
        ("flat/bias", "flat/bias/dark", True),
        ("flat/bias", "flat/bias.test_one", True),
        ("flat/bias", "flat/bias[2]", True),
        ("flat/bias", "flat/bias::test_one", True),
        ("flat/bias", "flat/biased", False),
        ("flat/bias", "flat/bias_dark", False),
        ("flat/bias", "flat", False),
        ("flat/bias", "other/flat/bias", False),
        ("flat/bias.test_one", "flat/bias.test_one[3]", True),
        ("flat/bias.test_one", "flat/bias.test_two", False),
        ("flat/", "flat/bias", True),
        ("/flat//bias/*", "flat/bias/dark", True),
        ("my tests", "my_tests/one", True),
        ("b.", "b./one", True),
        ("a'b\"c", "a'b\"c/one", True),
        ("x" * 10_000, "x" * 10_000 + "/y", True),
        ("x" * 10_000, "x" * 10_001, False),
        ("short", "/".join("short" for _ in range(20_000)), True),
    ],
)
def test_a_rule_covers_its_prefix_and_what_goes_on_from_there(prefix, test_name, is_covered):
    cover = Cover([Rule("calib", contacts.clean_prefix(prefix), "hal")])
    assert cover.of("calib", test_name) == ({"hal"} if is_covered else set())
    assert cover.of("other", test_name) == set()


# In -------------------------------------------------------------------------------------------------------------


def test_the_contacts_of_the_projects_in_the_file_are_replaced_and_others_stay(home):
    take(home, "calib,,hal\ncalib,flat,dave\nfilm,,stanley\n")
    assert take(home, "calib,dark,frank\n") == [("calib", 2, 1)]
    assert rules(home) == {("calib", "dark", "frank"), ("film", "", "stanley")}


def test_importing_the_same_contacts_again_changes_nothing(home):
    take(home, "calib,,hal\ncalib,,hal\ncalib,flat/,HAL\n")
    before = rules(home)
    take(home, "calib,,hal\ncalib,,hal\ncalib,flat/,HAL\n")
    assert rules(home) == before == {("calib", "", "hal"), ("calib", "flat", "hal")}


def test_a_line_without_an_address_takes_the_contacts_of_its_project_away(home):
    take(home, "calib,,hal\nfilm,,stanley")
    take(home, "calib,,\n")
    assert rules(home) == {("film", "", "stanley")}


def test_a_file_from_another_system_is_read_too(home):
    take(home, "\N{BYTE ORDER MARK}calib , flat , hal@example.org \r\n\r\n")
    assert rules(home) == {("calib", "flat", "hal@example.org")}


BAD = """calib,,frank
calib,flat
,flat,hal
calib,flat,hal dave
calib,flat,hal@example.org\x0bBcc: all@example.org
calib,"flat,hal
calib,flat,hal,dave
calib,"fl"at,hal
"""


def test_every_bad_line_is_named_and_then_nothing_is_changed(home, pdk):
    take(home, "calib,,hal\n")
    seen = pdk("import_contact", given=BAD)
    assert seen.status == 1
    assert [line.split(":")[1].strip() for line in seen.err.splitlines()[:-1]] == [
        "line 2", "line 3", "line 4", "line 5", "line 6", "line 7", "line 8",
    ]  # fmt: skip
    assert seen.err.splitlines()[-1] == "pdk: 7 bad lines, nothing is changed"
    assert rules(home) == {("calib", "", "hal")}
    assert [line["line"] for line in pdk("import_contact", "--json", given=BAD).data["bad_lines"]] == [
        2,
        3,
        4,
        5,
        6,
        7,
        8,
    ]


def test_a_task_is_as_strict_as_the_command(home):
    take(home, "calib,,hal\n")
    with pytest.raises(BadContacts, match="line 2"):
        take(home, BAD)
    assert rules(home) == {("calib", "", "hal")}


@pytest.mark.parametrize("nothing", ["", "\n\n", "   \n"])
def test_an_empty_file_is_an_error_since_what_made_it_has_failed(home, pdk, nothing):
    take(home, "calib,,hal\n")
    seen = pdk("import_contact", given=nothing)
    assert seen.status == 1
    assert "there is nothing in it" in seen.err
    assert rules(home) == {("calib", "", "hal")}


LETTERS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(
    wanted=st.sets(
        st.builds(
            Rule,
            LETTERS.map(str.strip).filter(bool),
            LETTERS.map(contacts.clean_prefix).filter(lambda text: text == contacts.clean_prefix(text.strip())),
            st.sampled_from(["hal", "o'hara+x@example.org"]),
        ),
        max_size=8,
    )
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_what_gen_contact_writes_is_what_import_contact_reads(wanted):
    projects, bad = contacts.parse(contacts.written(wanted), "")
    assert bad == []
    assert {rule for of_project in projects.values() for rule in of_project} == wanted


# Who is told ----------------------------------------------------------------------------------------------------


def test_contacts_are_told_of_failed_broken_and_missing_tests_and_of_no_others(home, make_log):
    log = make_log("a.pdklog", *(record(f"flat/{status}", status) for status in "PFEDMx"))
    take_in(home, log)
    take(home, "calib,flat,hal\n")
    assert told(home) == {"hal": {"flat/F", "flat/E", "flat/M"}}


def test_a_test_that_is_new_is_covered_by_the_rule_that_was_there(home, make_log):
    take(home, "calib,flat,hal\n")
    take_in(home, make_log("a.pdklog", record("flat/new/test_one", "F")))
    assert told(home) == {"hal": {"flat/new/test_one"}}


def test_tests_that_nobody_is_told_about_are_known(home, make_log):
    take(home, "calib,flat,hal\ncalib,flat/dark,dave\nother,,frank\n")
    take_in(home, make_log("a.pdklog", record("flat/dark/x", "F"), record("flat/y", "E"), record("flatter", "F")))
    assert told(home) == {"hal": {"flat/dark/x", "flat/y"}, "dave": {"flat/dark/x"}, "": {"flatter"}}


def test_the_problems_of_another_run_are_not_told(home, make_log):
    take(home, "calib,,hal\n")
    take_in(home, make_log("a.pdklog", record("before", "F"), test_run="daily_2026-11-22"))
    take_in(home, make_log("b.pdklog", record("now", "F"), record("before", "P")))
    assert told(home) == {"hal": {"now"}}


def test_a_mail_domain_that_is_set_later_counts(home, make_log):
    take(home, "calib,,hal\n")
    take_in(home, make_log("a.pdklog", record("x", "F")))
    assert told(evolve(home, mail_domain="example.org")) == {"hal@example.org": {"x"}}


def test_what_sql_put_in_is_cleaned_and_what_is_no_address_is_never_written_to(home, make_log):
    take_in(home, make_log("a.pdklog", record("flat/x", "F")))
    with closing(database.connect(home.database)) as db:
        db.executemany(
            "INSERT INTO contact (project, test_name, email) VALUES ('calib', ?, ?)",
            [("flat/", "Hal"), ("", "a@b\nBcc: all@example.org")],
        )
    assert told(home) == {"hal": {"flat/x"}}


# Commands -------------------------------------------------------------------------------------------------------


def test_the_commands_of_the_manual_carry_contacts_from_a_tree_to_a_server(home, tree, pdk):
    film = tree({"": "stanley", 'odd, "dir"': "hal@example.org"})
    seen = pdk("gen_contact", "film", film)
    assert list(csv.reader(io.StringIO(seen.out))) == [
        ["film", "", "stanley"],
        ["film", 'odd,_"dir"', "hal@example.org"],
    ]
    assert pdk("import_contact", given=seen.out).out.split() == [
        "project",
        "contacts",
        "before",
        "now",
        "film",
        "0",
        "2",
    ]
    assert rules(home) == {("film", "", "stanley"), ("film", 'odd,_"dir"', "hal@example.org")}


def test_pdk_gen_contact_is_the_same_as_a_script_of_its_own(tree, capsys, monkeypatch):
    from pdk_pipeline.cli.contacts import script

    film = tree({"": "stanley"})
    monkeypatch.setattr("sys.argv", ["pdk_gen_contact", "film", str(film)])
    with pytest.raises(SystemExit) as left:
        script()
    assert left.value.code == 0
    assert capsys.readouterr().out == "film,,stanley\n"


def test_a_tree_without_contacts_is_an_error_and_nothing_is_printed(tree, pdk):
    film = tree({"odyssey": "# nobody\n"})
    seen = pdk("gen_contact", "film", film)
    assert (seen.status, seen.out) == (1, "")
    assert "there is no address in a pdk_contacts file" in seen.err


def test_contacts_come_from_a_file_as_well_and_are_listed(tmp_path, pdk):
    (tmp_path / "file.contact").write_text("calib,,hal\ncalib,flat,dave\nfilm,,stanley\n")
    assert pdk("import-contact", tmp_path / "file.contact", "--json").data == {
        "projects": [{"project": "calib", "before": 0, "now": 2}, {"project": "film", "before": 0, "now": 1}],
        "bad_lines": [],
    }
    assert len(pdk("contacts", "--json").data) == 3
    assert [rule["address"] for rule in pdk("contacts", "calib", "flat/x", "--json").data] == ["hal", "dave"]
    assert [rule["address"] for rule in pdk("contacts", "calib", "dark/x", "--json").data] == ["hal"]
    assert "nobody" in pdk("contacts", "other").err


def test_hostile_contacts_neither_break_anything_nor_steer_a_terminal(home, pdk):
    prefix = "x\x1b[31m'; DROP TABLE contact_rule; --<script>" + "y" * 10_000
    assert pdk("import_contact", given=f"calib,{prefix},hal\n").status == 0
    seen = pdk("contacts")
    assert "\\x1b[31m" in seen.out
    assert "\x1b" not in seen.out
    assert pdk("import_contact", given=b"calib,\xff\0,hal\n").status == 0
    assert rules(home) == {("calib", "\\xff\\0", "hal")}
