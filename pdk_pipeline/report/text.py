"""A document as text, for a terminal or the text part of a mail."""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import TYPE_CHECKING

from pdk_pipeline.comparison import Category
from pdk_pipeline.report import arrange, wording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pdk_pipeline.report.document import Document, Group, Line

    Paint = Callable[[str, str], str]

NAME_COLUMNS = 46
"""Names up to this width have what is said of them beside them, longer ones below."""

BAR_COLUMNS = 24

LEAST_COLUMNS = 60
"""A table needs as much; a narrower terminal breaks the lines itself."""

STYLES = {
    Category.NEWLY_FAILING: "bad",
    Category.SILENT: "bad",
    Category.MISSING: "odd",
    Category.STILL_FAILING: "odd",
    Category.FIXED: "good",
}


def render_text(document: Document, *, width: int = 80, paint: Paint | None = None) -> str:
    """The report as lines of at most `width` columns; no line can steer a terminal, whatever tests are called.

    `paint(text, style)` colours a piece (styles: bad, odd, good, dim, strong); None leaves it plain.
    """
    page = _Page(max(width, LEAST_COLUMNS), paint or (lambda text, _style: text))
    return "\n".join(line.rstrip() for line in page.lines(document)) + "\n"


class _Page:
    def __init__(self, width: int, paint: Paint) -> None:
        self.width = width
        self.paint = paint

    def lines(self, document: Document) -> Iterator[str]:
        for line in self.wrapped(document.subject.removeprefix("[pdk] ")):
            yield self.paint(line, "strong")
        yield self.paint(self.fit(_compared(document)), "dim")
        for group in document.groups:
            yield from self.group(group)
        projects = arrange.projects(document)
        several = len(document.parts) > 1
        if several and not document.is_addendum:
            yield from self.projects(projects)
        for part in projects.troubled:
            listed = [group for group in part.groups if group.lines or not several]
            if several and listed:
                yield ""
                yield self.paint(self.rule(part.project), "strong")
            for group in listed:
                yield from self.group(group)
            counted = [group.phrase for group in part.groups if group.more and group not in listed]
            if counted and listed:
                yield ""
                yield self.paint(self.fit(f"… and {', '.join(counted)}, not listed"), "dim")
        if not document.is_addendum and arrange.is_bad(document.statuses):
            yield from self.places(document)
            yield from self.nights(document)
        if any(group.lines for part in document.parts for group in part.groups):
            yield ""
            shown = f"`pdk show {shlex.quote(document.run)} TEST` shows a result with its log."
            yield self.paint(self.fit(shown), "dim")

    # What changed ------------------------------------------------------------------------------------------

    def projects(self, projects: arrange.Projects) -> Iterator[str]:
        """How each project is, a line each; those of which there is nothing more to tell in one."""
        if projects.troubled:
            counts = [
                (part.project, {group.category: group.number for group in part.groups}) for part in projects.troubled
            ]
            rows = [(project, [of_it.get(category, 0) for category in arrange.TABLE]) for project, of_it in counts]
            yield ""
            yield from self.table("project", [wording.HEADINGS[category] for category in arrange.TABLE], rows)
        told = (
            (projects.only_silent, "have nothing but the silent hosts", "has nothing but the silent hosts"),
            (projects.well, "are as they were, and well", "is as it was, and well"),
        )
        for names, plural, singular in told:
            if names:
                yield ""
                verb = singular if len(names) == 1 else plural
                yield from self.wrapped(f"{wording.number(len(names), 'project')} {verb}: {wording.several(names)}")

    def group(self, group: Group) -> Iterator[str]:
        yield ""
        detail = f" ({group.detail})" if group.detail else ""
        style = "good" if group.is_settled else STYLES.get(group.category, "strong")
        yield self.paint(self.fit(f"{group.phrase.upper()}{detail}"), style)
        marks = max((columns(line.mark) for line in group.lines), default=0)
        names = min(max((columns(wording.plain(line.name)) for line in group.lines), default=0), NAME_COLUMNS)
        for cluster in arrange.clusters(group.lines):
            if cluster.where:
                told = ", ".join(filter(None, (cluster.where, cluster.note)))
                yield f"  {fit(wording.plain(told), self.width - 2)}"
            for line in cluster.lines:
                if cluster.where:
                    mark = wording.plain(line.mark)
                    name = fit(wording.plain(line.name), self.width - 4 - marks - 2)
                    yield f"    {self.paint(mark, style)}{' ' * (marks + 2 - columns(mark))}{name}"
                else:
                    yield from self.line(line, marks, names, style)
        if group.more:
            yield self.paint(
                f"  … {'and ' if group.lines else ''}{group.more:,} {'more' if group.lines else 'not listed'}", "dim"
            )

    def line(self, line: Line, marks: int, names: int, style: str) -> Iterator[str]:
        mark = wording.plain(line.mark)
        indent = 2 + (marks + 2 if marks else 0)
        head = f"  {self.paint(mark, style)}{' ' * (indent - 2 - columns(mark))}"
        name = wording.plain(line.name)
        told = [wording.plain(text) for text in (line.where, line.note) if text]
        beside = ", ".join(told)
        if columns(name) <= names and indent + names + 2 + columns(beside) <= self.width:
            yield f"{head}{padded(name, names)}  {beside}"
            return
        yield head + fit(name, self.width - indent)
        room = self.width - indent - 2
        for text in [beside] if columns(beside) <= room else told:
            if text:
                yield " " * (indent + 2) + fit(text, room)

    # Numbers -----------------------------------------------------------------------------------------------

    def table(
        self, name: str, headings: Sequence[str], rows: Sequence[tuple[str, Sequence[int]]], total: Sequence[int] = ()
    ) -> Iterator[str]:
        """Names and numbers under headings; noughts are left out."""
        every = [*rows, *([("all", total)] if total else [])]
        widths = [
            max(columns(heading), *(len(f"{values[place]:,}") for _, values in every if values))
            for place, heading in enumerate(headings)
        ]
        names = max(columns(name), *(columns(wording.plain(row)) for row, _ in every))
        names = max(min(names, self.width - 2 - sum(width + 2 for width in widths)), 8)
        heads = "".join(f"  {heading:>{width}}" for heading, width in zip(headings, widths, strict=True))
        yield self.paint(f"  {padded(fit(name, names), names)}{heads}", "dim")
        for row, values in every:
            cells = (f"{value:,}" if value else "" for value in values)
            told = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=False))
            yield f"  {padded(fit(wording.plain(row), names), names)}{told}"

    def places(self, document: Document) -> Iterator[str]:
        shown = arrange.places(document)
        if not shown.rows:
            return
        several = len(document.parts) > 1
        statuses = arrange.statuses_of(document)
        rows: list[tuple[str, list[int]]] = []
        for project, of_it in shown.rows:
            if several:
                rows.append((project, []))
            for label, row in zip(arrange.labels(of_it), of_it, strict=True):
                rows.append((f"  {label}" if several else label, arrange.figures(row.statuses, statuses)))
        headings = [wording.STATUS_NAMES.get(status, status) for status in statuses]
        yield ""
        yield from self.table("", headings, rows, arrange.figures(document.statuses, statuses))
        left_out = (
            f"{wording.number(shown.more, 'more place')} with failures or missing tests" if shown.more else "",
            f"{wording.number(shown.well, 'place')} without" if shown.well else "",
        )
        if any(left_out):
            yield self.paint(self.fit(f"  Not shown: {', '.join(filter(None, left_out))}."), "dim")

    def nights(self, document: Document) -> Iterator[str]:
        nights = document.nights
        if len(nights) < 2:
            return
        names = min(max(columns(wording.plain(night.run)) for night in nights), self.width - BAR_COLUMNS - 24)
        most = max(arrange.failing(night.statuses) + arrange.missing(night.statuses) for night in nights) or 1
        yield ""
        yield self.paint(f"  {'':{names}}  failing  missing", "dim")
        for night in nights:
            bad, absent = arrange.failing(night.statuses), arrange.missing(night.statuses)
            bar = "#" * _share(bad, most) + "-" * _share(absent, most)
            yield f"  {padded(fit(wording.plain(night.run), names), names)}  {bad:>7,}  {absent:>7,}  {bar}"

    # Lines -------------------------------------------------------------------------------------------------

    def rule(self, text: str) -> str:
        text = fit(wording.plain(text), self.width - 4)
        return f"== {text} " + "=" * (self.width - 4 - columns(text))

    def fit(self, text: str) -> str:
        return fit(wording.plain(text), self.width)

    def wrapped(self, text: str) -> list[str]:
        """The text on as many lines as it needs, what stands between commas kept together where it can be."""
        pieces = [
            piece
            for clause in re.split(r"(?<=[,:]) ", wording.plain(text))
            for piece in ([clause] if columns(clause) <= self.width - 2 else clause.split())
        ]
        lines: list[str] = []
        for piece in pieces:
            if lines and columns(lines[-1]) + 1 + columns(piece) <= self.width:
                lines[-1] += f" {piece}"
            else:
                lines.append(fit(f"  {piece}" if lines else piece, self.width))
        return lines or [""]


def _compared(document: Document) -> str:
    against = f"compared with {document.against}" if document.against else "the first run of its kind"
    if document.is_addendum:
        return f"Only what has changed since the report on it; {against}."
    return f"{against[0].upper()}{against[1:]}."


def _share(value: int, most: int) -> int:
    """Columns of a bar; what is not nothing is seen."""
    return max(1, value * BAR_COLUMNS // most) if value else 0


_WIDE_OF_LATE = re.compile("[\u2630-\u2637\u268a-\u268f\u4dc0-\u4dff\U0001d300-\U0001d356\U0001d360-\U0001d376]")
"""Two columns wide since Unicode 16, of which this Python may not know; in doubt a line should fit."""


def columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.category(letter) in {"Mn", "Me"}:
        return 0
    is_wide = unicodedata.east_asian_width(letter) in "WF" or _WIDE_OF_LATE.match(letter)
    return 2 if is_wide else 1


def padded(text: str, width: int) -> str:
    """The text filled up to a width."""
    return text + " " * (width - columns(text))


def fit(text: str, width: int) -> str:
    """The text cut to a width, in its middle: the beginning and the end of a test's name tell most."""
    if columns(text) <= width:
        return text
    head, tail = _taken(text, (width - 1) // 2), _taken(text[::-1], width - 1 - (width - 1) // 2)[::-1]
    return f"{head}…{tail}"


def _taken(text: Sequence[str], width: int) -> str:
    taken: list[str] = []
    for letter in text:
        width -= columns(letter)
        if width < 0:
            break
        taken.append(letter)
    return "".join(taken)
