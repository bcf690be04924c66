"""A document as one page that mail clients and browsers show: inline styles, tables, nothing from elsewhere."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.comparison import Category
from pdk_pipeline.errors import ServerPartMissing
from pdk_pipeline.report import arrange, fold, wording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Template

    from pdk_pipeline.report.document import Document, Group, Part, Point

RED, AMBER, GREEN, GREY, BLUE, INK = "#c62828", "#b26a00", "#2e7d32", "#5f6b76", "#1f5f99", "#1c2733"

COLOURS = {
    Category.NEWLY_FAILING: RED,
    Category.SILENT: "#8e1515",
    Category.MISSING: AMBER,
    Category.STILL_FAILING: "#a3574f",
    Category.FIXED: GREEN,
    Category.BACK: BLUE,
    Category.NEW: BLUE,
}

STATUS_COLOURS = {"P": "#7cb987", "F": RED, "E": "#8e1515", "D": "#b8c0c7", "M": "#e0a030"}

CHART_PIXELS = 56

MOST_LETTERS = 200
"""A name longer than this is cut in its middle; on a page it may take several lines."""


def render_html(document: Document) -> str:
    """The report as a whole HTML page. Raises ServerPartMissing when jinja2 is not installed."""
    return _template().render(
        document=document,
        projects=arrange.projects(document),
        places=arrange.places(document),
        statuses=arrange.statuses_of(document),
        badges=_badges(document),
        bar=_bar(document.statuses),
        nights=_columns(document) if len(document.nights) > 1 else (),
        is_bad=arrange.is_bad(document.statuses),
    )


@functools.cache
def _template() -> Template:
    try:
        import jinja2  # noqa: PLC0415  (a test machine has none)
    except ImportError:
        raise ServerPartMissing("jinja2", advice="pip install 'pdk-pipeline[server]' brings it.") from None
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "shown": _shown,
        "number": wording.number,
        "several": wording.several,
        "project_heading": wording.HEADINGS.__getitem__,
        "project_figures": _project_figures,
        "status_heading": _status_name,
        "place_figures": _place_figures,
    }
    environment.globals |= {
        "arrange": arrange,
        "wording": wording,
        "colour": _colour,
        "status_colour": _status_colour,
        "status_name": _status_name,
        "chart_pixels": CHART_PIXELS,
    }
    source = resources.files("pdk_pipeline.report").joinpath("templates/report.html").read_text(encoding="utf-8")
    return environment.from_string(source)


def _shown(text: str) -> str:
    """Text from outside as it can be shown: nothing invisible, and not endless."""
    text = wording.plain(text)
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS // 2]} … {text[-MOST_LETTERS // 2 :]}"


def _colour(group: Group) -> str:
    return GREEN if group.is_settled else COLOURS.get(group.category, GREY)


def _status_colour(status: str) -> str:
    return STATUS_COLOURS.get(status, "#9b8bb4")


def _status_name(status: str) -> str:
    return wording.STATUS_NAMES.get(status, status)


def _badges(document: Document) -> list[tuple[str, str]]:
    """The numbers that are seen first, each with its colour."""
    badges = [
        (fold.phrase(category, changes), COLOURS.get(category, GREY))
        for category, changes in fold.by_category(document.changes).items()
    ]
    settled = [group for part in document.parts for group in part.groups if group.is_settled]
    return badges + [(group.phrase, GREEN) for group in settled]


def _project_figures(part: Part) -> list[tuple[int, str]]:
    counts = {group.category: group.number for group in part.groups}
    return [(counts.get(category, 0), COLOURS.get(category, GREY)) for category in arrange.TABLE]


def _place_figures(statuses: Mapping[str, int], shown: Sequence[str]) -> list[tuple[int, str]]:
    """Numbers of a place; the bad ones in colour."""
    ink = {"F": RED, "E": RED, "M": AMBER}
    numbers = zip(arrange.figures(statuses, shown), shown, strict=True)
    return [(number, ink.get(status, INK)) for number, status in numbers]


class _Piece(NamedTuple):
    """A piece of the bar of statuses."""

    status: str
    results: int
    percent: float
    """Of the bar's width; what is not nothing can be seen."""


def _bar(statuses: Mapping[str, int]) -> list[_Piece]:
    total = sum(statuses.values())
    order = [*arrange.IN_ORDER, *sorted(statuses.keys() - set(arrange.IN_ORDER))]
    held = [(status, statuses.get(status, 0)) for status in order]
    return [_Piece(status, results, max(round(100 * results / total, 2), 0.8)) for status, results in held if results]


class _Column(NamedTuple):
    """A night in the chart of nights."""

    run: str
    label: str
    failing: int
    missing: int
    failing_pixels: int
    missing_pixels: int


def _columns(document: Document) -> list[_Column]:
    most = max(arrange.failing(night.statuses) + arrange.missing(night.statuses) for night in document.nights) or 1

    def pixels(value: int) -> int:
        return max(2, round(value * CHART_PIXELS / most)) if value else 0

    def column(night: Point) -> _Column:
        bad, absent = arrange.failing(night.statuses), arrange.missing(night.statuses)
        return _Column(night.run, night.run[-5:], bad, absent, pixels(bad), pixels(absent))

    return [column(night) for night in document.nights]
