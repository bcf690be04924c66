"""What a kind of report in XML means: said by its format, asked for by the reader of the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdk_pipeline.formats.fields import Unfit
    from pdk_pipeline.formats.xml_parts import Element
    from pdk_pipeline.results import Reading


class Meaning:
    """Which elements count, and what they say."""

    KIND = "report"
    ROOTS: frozenset[str] = frozenset()
    RECORD = ""
    """The element that is a record. Every other one holds records, except:"""
    ASIDES: frozenset[str] = frozenset()
    """those that tell something of what holds them,"""
    IGNORED: frozenset[str] = frozenset()
    """and those that are nobody's business, with all that stands in them."""
    RECORD_BEGINS = rb""
    HOLDER_BEGINS = rb""
    """Behind the < of a tag: of a record; of the beginning or end of what holds records."""

    def __init__(self) -> None:
        self.out: list[Reading] = []
        """What has been read and is not handed on yet."""

    def entered(self, place: Element) -> None:
        """An element that holds records begins."""

    def left(self) -> None:
        """The innermost element that holds records ends."""

    def aside(self, element: Element) -> bool:
        """An aside of the innermost element that holds records. Returns whether its records depend on it."""
        raise NotImplementedError

    def record(self, element: Element) -> Unfit | None:
        """Add what a record says to `out`; or return why it says nothing."""
        raise NotImplementedError

    def settle(self) -> None:
        """Add to `out` what was held back."""
