"""A document as text, for a terminal or the text part of a mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pdk_pipeline.report.document import Document


def render_text(document: Document, *, width: int = 80, paint: Callable[[str, str], str] | None = None) -> str:
    """The report as lines of at most `width` columns; no line can steer a terminal, whatever tests are called.

    `paint(text, style)` colours a piece (styles: bad, odd, good, dim, strong); None leaves it plain.
    """
    raise NotImplementedError
