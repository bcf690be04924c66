"""What a reader is told of a comparison, as text and as a page."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rich.cells import cell_len

from pdk_pipeline import database, report
from pdk_pipeline.comparison import Category, Change, Comparison, Environment, Members, Night
from pdk_pipeline.report import Kind, Wish
from pdk_pipeline.runs import Count, Run
from tests.night_after_night import calib, compared, night, put
from tests.typed import Terminal

SATURDAY, SUNDAY, MONDAY = (f"daily_2026-11-{day}" for day in (21, 22, 23))


@pytest.fixture
def db(home):
    with database.writing(home) as connection:
        yield connection


@pytest.fixture
def two_nights(db):
    """Put two nights, and get them compared."""

    def put_two(before: Mapping[Any, str], now: Mapping[Any, str]) -> Comparison:
        night(db, SUNDAY, before)
        night(db, MONDAY, now)
        return compared(db, MONDAY)

    return put_two


def text_of(comparison: Comparison, **wanted: Any) -> str:
    return report.render_text(report.build(comparison, **wanted))


def passing(hosts: str, tests: str = "abc", **where: str) -> dict[Any, str]:
    return {calib(test, host=host, **where): "P" for host in hosts.split() for test in tests}


# The essence -------------------------------------------------------------------------------------------------


def test_the_subject_has_the_numbers_in_it(two_nights):
    before = passing("apple banana thor", "abcdefg")
    now = passing("apple banana", "cdefg") | {calib("a", host="apple"): "F", calib("b", host="apple"): "E"}
    assert report.build(two_nights(before, now)).subject == (
        f"[pdk] calib {MONDAY}: 2 newly failing, 1 host silent, 2 missing"
    )


def test_a_test_that_breaks_on_every_host_is_one_newly_failing_test(two_nights):
    hosts = "apple banana cherry"
    comparison = two_nights(passing(hosts), passing(hosts) | {calib("a", host=host): "F" for host in hosts.split()})
    assert "1 newly failing" in report.build(comparison).subject
    text = text_of(comparison)
    assert "1 NEWLY FAILING (3 results)" in text
    assert "  F  a  on all 3 hosts" in text


def test_the_first_lines_tell_what_broke_before_anything_else(two_nights):
    before = passing("apple banana thor") | {calib("c", host="apple"): "F"}
    now = {calib("a", host="apple"): "F", calib("b", host="apple"): "P", calib("c", host="apple"): "F"}
    text = text_of(two_nights(before, now | passing("banana", "ab")))
    assert text.splitlines()[:3] == [
        f"calib {MONDAY}: 1 newly failing, 1 host silent, 1 missing,",
        "  1 still failing",
        f"Compared with {SUNDAY}.",
    ]
    order = [text.index(heading) for heading in ("NEWLY FAILING", "HOST SILENT", "1 MISSING", "STILL FAILING")]
    assert order == sorted(order)


def test_a_report_that_all_is_well_is_short(two_nights):
    comparison = two_nights(passing("apple banana"), passing("apple banana"))
    assert text_of(comparison) == f"calib {MONDAY}: all well, 6 passed\nCompared with {SUNDAY}.\n"
    assert report.build(comparison).is_all_well


def test_a_night_without_results_is_not_called_well(db):
    put(db, SUNDAY, {})
    document = report.build(compared(db, SUNDAY))
    assert not document.is_all_well
    assert document.subject == f"[pdk] {SUNDAY}: no results"


def test_the_first_run_says_that_there_is_none_to_compare_with(db):
    night(db, SUNDAY, passing("apple") | {calib("a", host="apple"): "F"})
    text = text_of(compared(db, SUNDAY))
    assert "The first run of its kind." in text
    assert "a new test" not in text


def test_a_silent_host_is_one_line_with_the_number_of_tests(two_nights):
    thor = {calib(f"test_{number}", host="thor"): "P" for number in range(5012)}
    text = text_of(two_nights(thor | passing("apple"), passing("apple")))
    assert "  thor  nothing arrived, 5,012 tests expected\n" in text
    assert "test_17" not in text


def test_a_context_that_is_silent_is_named_even_when_it_is_the_usual_one(db):
    usual = passing("apple", context="default")
    night(db, SUNDAY, usual)
    night(db, MONDAY, passing("apple", context="ctx1"))
    first = report.build(compared(db, MONDAY))
    text = report.render_text(first)
    assert "1 CONTEXT SILENT (3 missing results)\n  apple (default)  nothing arrived, 3 tests expected\n" in text
    put(db, MONDAY, usual)
    late = report.addendum(compared(db, MONDAY), first.told)
    assert "1 NO LONGER SILENT\n  apple (default)\n" in report.render_text(late)


# Folding -----------------------------------------------------------------------------------------------------


def where_of(comparison: Comparison, category: Category = Category.NEWLY_FAILING) -> str:
    document = report.build(comparison)
    (line,) = [line for part in document.parts for g in part.groups if g.category is category for line in g.lines]
    return line.where


def breaking(two_nights, ran: list[tuple[str, str]], broke: list[tuple[str, str]]) -> Comparison:
    before = {calib("a", host=host, context=context): "P" for host, context in ran}
    return two_nights(before, before | {calib("a", host=host, context=context): "F" for host, context in broke})


HOSTS = [f"h{number:02d}" for number in range(12)]


@pytest.mark.parametrize(
    ("ran", "broke", "where"),
    [
        ([(host, "py311") for host in HOSTS], [("h00", "py311")], "h00 (py311)"),
        ([(host, "py311") for host in HOSTS], [(host, "py311") for host in HOSTS], "on all 12 hosts"),
        (
            [(host, "py311") for host in HOSTS],
            [(host, "py311") for host in ("h01", "h02", "h07")],
            "on 3 of 12 hosts: h01, h02, h07",
        ),
        (
            [(host, "py311") for host in HOSTS],
            [(host, "py311") for host in HOSTS[:9]],
            "on 9 of 12 hosts: h00, h01, h02, h03, h04, h05 …",
        ),
        (
            [(host, context) for host in HOSTS for context in ("py311", "py312")],
            [(host, "py312") for host in HOSTS],
            "py312 only, on all 12 hosts",
        ),
        (
            [(host, context) for host in HOSTS for context in ("py311", "py312")],
            [("h03", "py311"), ("h03", "py312")],
            "h03, in all 2 contexts",
        ),
        (
            [(host, context) for host in HOSTS for context in ("py311", "py312")],
            [("h03", "py311"), ("h04", "py312")],
            "in 2 of 24 environments: h03 (py311), h04 (py312)",
        ),
    ],
)
def test_the_same_change_in_several_places_is_told_once(two_nights, ran, broke, where):
    assert where_of(breaking(two_nights, ran, broke)) == where


def test_a_host_that_is_silent_does_not_count_among_those_where_a_test_could_have_failed(two_nights):
    comparison = two_nights(
        passing("apple banana thor"), passing("apple banana") | {calib("a", host=h): "F" for h in ("apple", "banana")}
    )
    assert where_of(comparison) == "on all 2 hosts"


def test_where_a_test_is_missing_it_could_not_have_failed(two_nights):
    now = passing("apple banana thor", "bc") | {calib("a", host=host): "F" for host in ("apple", "banana")}
    assert where_of(two_nights(passing("apple banana thor"), now)) == "on all 2 hosts"


def test_a_test_that_is_missing_everywhere_is_one_line(two_nights):
    comparison = two_nights(passing("apple banana"), passing("apple banana", "bc"))
    assert where_of(comparison, Category.MISSING) == "on all 2 hosts"


def test_tests_beneath_a_collection_error_are_one_line(two_nights):
    names = [f"flat/test_bias/test_{number}" for number in range(40)]
    before = {calib(name): "P" for name in names} | passing("banana", "a")
    text = text_of(two_nights(before, {calib("flat/test_bias"): "E"} | passing("banana", "a")))
    assert "could not be collected, 40 tests beneath it missing" in text
    assert "flat/test_bias: 40 tests beneath it" in text
    assert "test_17" not in text


def test_a_host_that_is_silent_in_several_projects_is_told_once(two_nights):
    both = passing("apple thor") | passing("apple thor", project="drizzle")
    text = text_of(two_nights(both, passing("apple") | passing("apple", project="drizzle")))
    assert "  thor  nothing arrived, 6 tests of 2 projects expected\n" in text
    assert text.count("nothing arrived") == 1
    assert "1 host silent" in text.splitlines()[0]


def test_a_host_that_reports_in_one_project_is_silent_in_each_of_the_others(two_nights):
    others = passing("apple thor", project="p") | passing("apple thor", project="q")
    alive = passing("apple thor", project="r")
    text = text_of(two_nights(others | alive, alive | passing("apple", project="p") | passing("apple", project="q")))
    assert text.count("  thor  nothing arrived, 3 tests expected\n") == 2


def test_how_long_it_has_been_so_is_said(db):
    for name, status in ((SATURDAY, "P"), (SUNDAY, "F"), (MONDAY, "F")):
        night(db, name, {calib("a"): status})
    assert f"  F  a  banana (py311), since {SUNDAY}, 2 nights\n" in text_of(compared(db, MONDAY))


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([(SUNDAY, 2, False), (SUNDAY, 2, False)], f"since {SUNDAY}, 2 nights"),
        ([(SUNDAY, 2, True), (SUNDAY, 2, True)], "for 2 nights or more"),
        ([(SUNDAY, 2, False), (MONDAY, 1, False)], f"since {SUNDAY}, 2 nights at most"),
        ([(SUNDAY, 2, True), (MONDAY, 1, False)], "in part for 2 nights or more"),
        ([(SUNDAY, 2, True), (SUNDAY, 2, False)], "in part for 2 nights or more"),
        ([(SATURDAY, 3, False), (SUNDAY, 2, True)], f"in part since {SATURDAY}, 3 nights"),
    ],
)
def test_how_long_it_has_been_so_does_not_contradict_itself(spans, said):
    changes = [
        Change(Category.SILENT, "calib", "thor", None, None, None, "M", None, "M", since, number, is_longer=is_longer)
        for since, number, is_longer in spans
    ]
    assert report.wording.since(changes) == said


# Length and kind ---------------------------------------------------------------------------------------------


def test_no_more_lines_than_wanted_and_the_rest_is_counted(two_nights):
    tests = [f"t{number:03d}" for number in range(220)]
    before = {calib(test): "P" for test in tests}
    document = report.build(two_nights(before, {calib(test): "F" for test in tests}), most_lines=8)
    text = report.render_text(document)
    assert text.count("    F  t") == 8
    assert "… and 212 more" in text


def test_hosts_that_are_silent_in_several_projects_are_cut_to_length_too(two_nights):
    hosts = " ".join(HOSTS)
    before = passing(hosts, project="p") | passing(hosts, project="q")
    comparison = two_nights(before | passing("apple"), passing("apple"))
    assert text_of(comparison, most_lines=3).count("nothing arrived") == 3
    wishes = {"p": Wish(most_lines=3), "q": Wish(most_lines=4)}
    assert text_of(comparison, wishes=wishes).count("nothing arrived") == 4


def test_the_most_urgent_lines_of_every_project_come_before_the_less_urgent(two_nights):
    before = {calib("old", project=project): "F" for project in "pq"}
    before |= {calib("new", project=project): "P" for project in "pq"}
    now = dict.fromkeys(before, "F")
    document = report.build(two_nights(before, now), most_lines=2)
    listed = {(part.project, group.category) for part in document.parts for group in part.groups if group.lines}
    assert listed == {("p", Category.NEWLY_FAILING), ("q", Category.NEWLY_FAILING)}


def test_who_wants_changes_only_is_not_listed_what_goes_on_failing(db):
    for name, status in ((SATURDAY, "P"), (SUNDAY, "F"), (MONDAY, "F")):
        night(db, name, {calib("old"): status, calib("new"): "F" if name == MONDAY else "P"})
    document = report.build(compared(db, MONDAY), kind=Kind.CHANGES)
    lines = [line.name for part in document.parts for group in part.groups for line in group.lines]
    assert lines == ["new"]
    assert "1 still failing" in document.subject


def test_nothing_new_is_empty_for_who_wants_changes_only(db):
    for name in (SATURDAY, SUNDAY, MONDAY):
        night(db, name, {calib("old"): "F"})
    document = report.build(compared(db, MONDAY), kind=Kind.CHANGES)
    assert document.is_empty
    assert not document.is_all_well


def test_a_summary_lists_no_tests_but_silent_hosts(two_nights):
    document = report.build(
        two_nights(passing("apple thor"), passing("apple") | {calib("a", host="apple"): "F"}), kind=Kind.SUMMARY
    )
    lines = [line for part in document.parts for group in part.groups for line in group.lines]
    assert [line.name for line in lines] == ["thor"]
    assert "1 newly failing, 1 host silent" in document.subject


@pytest.mark.parametrize("kind", [Kind.SUMMARY, Kind.CHANGES])
def test_what_a_reader_does_not_want_listed_is_said_to_be_not_listed(db, kind):
    for name in (SUNDAY, MONDAY):
        night(db, name, passing("apple", "abcdef") | {calib(test, host="apple"): "F" for test in "abcd"})
    document = report.build(compared(db, MONDAY), kind=kind)
    assert "4 STILL FAILING\n  … 4 not listed\n" in report.render_text(document)
    assert "… 4 not listed" in report.render_html(document)


def test_of_a_category_of_which_only_the_news_are_wanted_the_rest_is_counted(db):
    night(db, SATURDAY, passing("apple", "abcdefg"))
    night(db, SUNDAY, passing("apple", "cdefg"))
    night(db, MONDAY, passing("apple", "defg"))
    text = text_of(compared(db, MONDAY), kind=Kind.CHANGES)
    assert "3 MISSING (2 of them not new)\n  M  c  apple (py311)\n  … and 2 more\n" in text


def test_a_silent_host_that_is_told_for_all_projects_at_once_is_not_said_to_be_not_listed(two_nights):
    before = passing("apple thor", project="p") | passing("apple thor", project="q")
    now = passing("apple", project="p") | passing("apple", project="q") | {calib("a", "apple", project="p"): "F"}
    assert "listed" not in text_of(two_nights(before, now))


def test_a_summary_of_what_was_settled_says_that_it_is_not_listed(db):
    night(db, SUNDAY, passing("apple"))
    night(db, MONDAY, passing("apple", "bc"))
    told = report.build(compared(db, MONDAY), kind=Kind.SUMMARY).told
    put(db, MONDAY, {calib("a", host="apple"): "P"})
    document = report.addendum(compared(db, MONDAY), told, kind=Kind.SUMMARY)
    assert "1 NO LONGER MISSING\n  … 1 not listed\n" in report.render_text(document)


def test_projects_are_told_one_after_the_other_and_only_those_that_are_wanted(two_nights):
    before = passing("apple", project="p") | passing("apple", project="q") | passing("apple", project="r")
    now = before | {calib("a", host="apple", project=project): "F" for project in "pq"}
    comparison = two_nights(before, now)
    text = text_of(comparison, projects={"p", "q"})
    assert text.index("== p ==") < text.index("== q ==")
    assert "r" not in {part.project for part in report.build(comparison, projects={"p", "q"}).parts}


def test_a_reader_sees_only_his_tests_and_how_many_of_them_a_silent_host_has(two_nights):
    before = passing("apple thor", "abc") | passing("apple thor", "xyz")
    now = passing("apple", "abcxyz") | {calib(test, host="apple"): "F" for test in "ax"}
    document = report.build(two_nights(before, now), tests=lambda _project, test: test in "abc")
    text = report.render_text(document)
    assert "  F  a  apple" in text
    assert "  F  x" not in text
    assert "nothing arrived, 3 tests expected" in text


def test_every_project_can_have_a_wish_of_its_own(two_nights):
    before = passing("apple", project="p") | passing("apple", project="q") | passing("apple", project="r")
    comparison = two_nights(before, dict.fromkeys(before, "F"))
    wishes = {"p": Wish(kind=Kind.SUMMARY), "q": Wish(most_lines=1), "unknown": Wish()}
    document = report.build(comparison, wishes=wishes)
    assert [(part.project, sum(len(group.lines) for group in part.groups)) for part in document.parts] == [
        ("p", 0),
        ("q", 1),
    ]


# Addenda -----------------------------------------------------------------------------------------------------


def test_an_addendum_tells_only_what_changed_since(db):
    hosts = passing("apple thor")
    night(db, SUNDAY, hosts)
    night(db, MONDAY, passing("apple") | {calib("a", host="apple"): "F"})
    first = report.build(compared(db, MONDAY))
    told = json.loads(json.dumps(first.told))
    assert report.addendum(compared(db, MONDAY), told).is_empty

    put(db, MONDAY, {calib("a", host="thor"): "F", calib("b", host="thor"): "P"})
    document = report.addendum(compared(db, MONDAY), told)
    text = report.render_text(document)
    assert document.subject.startswith(f"[pdk] calib {MONDAY}, addendum: ")
    assert "  F  a  thor (py311)" in text
    assert "1 NO LONGER SILENT" in text
    assert "  M  c  thor (py311)" in text, "the third test has not arrived with the others"
    assert "apple" not in text
    assert report.addendum(compared(db, MONDAY), document.told).is_empty


def test_in_an_addendum_a_missing_test_that_arrived_and_failed_is_told_once(db):
    night(db, SUNDAY, passing("apple"))
    night(db, MONDAY, passing("apple", "bc"))
    told = report.build(compared(db, MONDAY)).told
    put(db, MONDAY, {calib("a", host="apple"): "F"})
    document = report.addendum(compared(db, MONDAY), told)
    assert document.essence == "1 newly failing"


# As text -----------------------------------------------------------------------------------------------------

HOSTILE = (
    "<script>alert(1)</script>",
    "\"quoted' & <b>bold",
    "two\nlines\r\nof it",
    "\x1b[31mred\x1b]0;title\x07",
    "x" * 10_000,
    "right\u202eto left\u2028\u0085",
    "日本語のテスト" * 20,
    "{{ 7 * 7 }}{% raw %}",
    "]]>--></td></table></body>",
    "\0nul\ufeff",
)


def made_up(project: str, host: str, context: str, test: str, run: str = MONDAY) -> Comparison:
    """A comparison in which something of every kind has these names, without a database."""

    def change(category: Category, where: str, name: str | None = test, **more: Any) -> Change:
        members = Members([name or "a", "b"][: 1 if name else 2], [1, 2][: 1 if name else 2])
        place = (None, None) if name is None else (context, "custom")
        return Change(category, project, where, *place, name, "P", "F", "P", members=members, **more)

    changes = [change(category, host, since=run, nights=2) for category in Category if category is not Category.SILENT]
    changes += [change(category, host, None) for category in (Category.SILENT, Category.BACK, Category.GONE)]
    changes += [change(Category.NEWLY_FAILING, f"{host}{number}") for number in range(2)]
    changes.sort(key=lambda each: list(Category).index(each.category))
    counts = [Count(project, host, context, "custom", status, 3) for status in "PFEDMx"]
    nights = [Night(run, {project: {"F": number, "M": 1}}) for number in range(3)]
    ran = (Environment(host, context, "custom"), Environment(f"{host}0", context, "custom"))
    named = Run(1, run, False, "", 0.0)
    return Comparison(named, named, tuple(changes), tuple(counts), tuple(nights), {(project, test): ran})


def assert_is_plain(text: str, width: int) -> None:
    for line in text.removesuffix("\n").split("\n"):
        assert cell_len(line) <= width, line
        assert line.isprintable(), repr(line)


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_things_are_called_every_line_is_plain_and_fits(name):
    for comparison in (made_up(name, name, name, name, name), made_up("calib", "thor", "py311", name)):
        assert_is_plain(report.render_text(report.build(comparison)), 80)
        assert_is_plain(report.render_text(report.build(comparison), width=60), 60)
        assert report.build(comparison).subject.isprintable()


@hypothesis_settings(max_examples=60, deadline=None)
@example(["", "", "", "hexagram \u4dc0 and marks e\u0301 \u0ba8\u0bbf"], 60)
@given(st.lists(st.text(max_size=120), min_size=4, max_size=4), st.integers(60, 200))
def test_any_name_and_any_width_give_plain_lines_that_fit(names, width):
    assert_is_plain(report.render_text(report.build(made_up(*names)), width=width), width)


def test_a_long_name_keeps_its_beginning_and_its_end(two_nights):
    name = f"deep/{'x' * 200}/test_the_end"
    text = text_of(two_nights({calib(name): "P"}, {calib(name): "F"}))
    assert re.search(r"^  F  deep/x+…x+/test_the_end$", text, re.MULTILINE)


def test_there_is_no_colour_but_what_the_caller_paints(two_nights):
    comparison = two_nights(passing("apple"), passing("apple") | {calib("a", host="apple"): "F"})
    document = report.build(comparison)
    painted = report.render_text(document, paint=lambda text, style: f"<{style}>{text}</{style}>")
    assert "<bad>1 NEWLY FAILING</bad>" in painted
    assert re.sub(r"</?\w+>", "", painted) == report.render_text(document)


# As a page ---------------------------------------------------------------------------------------------------

VOID = {"meta", "br"}


class Page(HTMLParser):
    """The tags of a page, checked to be balanced, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(comparison: Comparison, **wanted: Any) -> Page:
    return Page(report.render_html(report.build(comparison, **wanted)))


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_things_are_called_the_page_has_the_same_tags(name):
    tame, hostile = made_up("p", "h", "c", "t", "r"), made_up(name, name, name, name, name)
    assert page_of(hostile).tags == page_of(tame).tags


def test_names_are_on_the_page_as_they_are(two_nights):
    name = "<script>alert('&amp;')</script>"
    page = page_of(two_nights({calib(name): "P"}, {calib(name): "F"}))
    assert name in page.text
    assert "script" not in page.tags


def test_a_page_needs_nothing_from_elsewhere_and_runs_nothing(two_nights):
    page = page_of(two_nights(passing("apple thor"), passing("apple") | {calib("a", host="apple"): "F"}))
    assert {"script", "link", "img", "iframe", "style", "a", "form"}.isdisjoint(page.tags)
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "class", "background"}
    assert not [name for name in names if name.startswith("on")]
    assert not [value for name, value in page.attributes if name == "style" and "url(" in (value or "")]


def test_a_page_says_what_the_text_says(two_nights):
    comparison = two_nights(passing("apple thor"), passing("apple") | {calib("a", host="apple"): "F"})
    page = page_of(comparison)
    for told in ("1 newly failing", "1 host silent", "nothing arrived, 3 tests expected", "apple (py311)"):
        assert told in page.text


def test_the_page_of_a_good_night_is_short_and_says_so(two_nights):
    page = page_of(two_nights(passing("apple"), passing("apple")))
    assert "all well, 3 passed" in page.text
    assert page.tags.count("table") <= 4


def test_a_machine_without_jinja_is_told_what_brings_it(monkeypatch, two_nights):
    import sys

    from pdk_pipeline.errors import ServerPartMissing
    from pdk_pipeline.report import html

    html._template.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ServerPartMissing, match=r"pdk-pipeline\[server\]"):
        report.render_html(report.build(two_nights(passing("apple"), passing("apple"))))


# The command -------------------------------------------------------------------------------------------------


@pytest.fixture
def pdk(home, capsys, monkeypatch):
    with database.writing(home) as db:
        night(db, SUNDAY, passing("apple thor") | passing("apple", project="drizzle"))
        night(db, MONDAY, passing("apple") | {calib("a", host="apple"): "F"} | passing("apple", project="drizzle"))
    return Terminal(home, capsys, monkeypatch)


def test_pdk_report_prints_the_report(pdk):
    seen = pdk("report", MONDAY)
    assert (seen.status, seen.err) == (0, "")
    assert seen.out.startswith(f"calib, drizzle {MONDAY}: 1 newly failing, 1 host silent\n")
    assert "\x1b" not in seen.out


def test_pdk_report_can_be_of_some_projects_against_another_run(pdk):
    seen = pdk("report", SUNDAY, "--against", MONDAY, "--project", "cal*", "--kind", "summary")
    assert seen.out.startswith(f"calib {SUNDAY}: ")
    assert f"Compared with {MONDAY}." in seen.out


def test_pdk_report_writes_a_page(pdk, tmp_path):
    seen = pdk("report", MONDAY, "--html", tmp_path / "report.html")
    assert (seen.status, seen.out) == (0, "")
    assert "nothing arrived" in Page((tmp_path / "report.html").read_text()).text
    assert [path.name for path in tmp_path.glob("*report*")] == ["report.html"]
    assert "nothing arrived" in Page(pdk("report", MONDAY, "--html", "-").out).text


def test_for_programs_the_nights_count_what_passed_as_the_projects_do(pdk):
    projects = pdk("report", MONDAY, "--json").data["projects"]
    assert {project["project"] for project in projects} == {"calib", "drizzle"}
    for project in projects:
        before, now = project["nights"]
        assert (now["run"], now["statuses"]) == (MONDAY, project["statuses"])
        assert (before["run"], before["statuses"]) == (SUNDAY, pdk_statuses(pdk, SUNDAY, project["project"]))
        assert before["statuses"]["P"]


def pdk_statuses(pdk, run: str, project: str) -> dict[str, int]:
    (found,) = pdk("report", run, "--json", "--project", project).data["projects"]
    return found["statuses"]


def test_pdk_report_is_json_for_programs(pdk):
    data = pdk("report", MONDAY, "--json", "--project", "calib").data
    assert data["run"] == MONDAY
    (project,) = data["projects"]
    assert [change["category"] for change in project["changes"]] == ["newly_failing", "silent"]
    assert project["statuses"] == {"F": 1, "P": 2, "M": 3}


def test_pdk_report_of_a_project_that_is_not_there_names_those_that_are(pdk):
    seen = pdk("report", MONDAY, "--project", "calb")
    assert (seen.status, seen.out) == (1, "")
    assert seen.err == f"pdk: There is no such project in this run: calb. {MONDAY} has calib, drizzle.\n"


def test_pdk_report_of_a_run_that_is_not_there_is_one_line(pdk):
    seen = pdk("report", "daily_2026-11-32")
    assert seen.status == 1
    assert seen.err.count("\n") == 1
