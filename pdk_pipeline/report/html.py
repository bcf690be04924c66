"""A document as one page that mail clients and browsers show: inline styles, tables, nothing from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdk_pipeline.report.document import Document


def render_html(document: Document) -> str:
    """The report as a whole HTML page. Raises ServerPartMissing when jinja2 is not installed."""
    raise NotImplementedError
