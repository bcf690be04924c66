"""Telling people about a run: who is told what, each in one message, and only once (`audience`, `outbox`).

Whoever was told of a run before is told only what changed since (an addendum), and nothing when nothing did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pdk_pipeline import channels, outbox, report
from pdk_pipeline.audience import Audience, Test
from pdk_pipeline.comparison import compare, previous
from pdk_pipeline.errors import ServerPartMissing
from pdk_pipeline.outbox import Known, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pdk_pipeline.audience import Reader
    from pdk_pipeline.config import Settings
    from pdk_pipeline.database import Connection
    from pdk_pipeline.report import Document
    from pdk_pipeline.runs import Run


MOST_EXAMPLES = 5


class Plan(NamedTuple):
    """What is to be told about a run now."""

    run: str
    notices: list[tuple[Notice, Known | None]]
    """Each with what its recipient has been told before."""
    without_contact: list[Test]
    """Problem tests that nobody is a contact for."""
    unreachable: list[str]
    """Recipients whom no channel serves, of those that were asked for."""


class Told(NamedTuple):
    """What was put into the outbox."""

    run: str
    messages: list[int]
    """Their ids."""
    without_contact: int
    """Problem tests that nobody is a contact for."""
    examples: list[Test]
    """The first few of them."""
    unreachable: int
    """Recipients whom no channel serves, of those that were asked for."""

    def as_json(self) -> dict[str, Any]:
        """For a task's result, and for programs; names may be very long."""
        examples = [(project[:100], name[:100]) for project, name in self.examples]
        return self._asdict() | {"told": len(self.messages), "examples": examples}


def tell(
    settings: Settings,
    db: Connection,
    run: Run,
    *,
    now: float,
    among: Collection[str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Told:
    """Put into the outbox what everybody is to be told about a run; once more, and it is only what changed since.

    `among`: by these channels only. `now`: seconds since 1970. `progress` is told the readers done, and all.
    """
    planned = plan(settings, db, run, among=among, progress=progress)
    put = [outbox.put(db, settings, notice, known, now=now) for notice, known in planned.notices]
    outbox.forget(db, settings, now=now)
    messages = [id_ for id_ in put if id_ is not None]
    without = planned.without_contact
    return Told(run.name, messages, len(without), without[:MOST_EXAMPLES], len(planned.unreachable))


def plan(
    settings: Settings,
    db: Connection,
    run: Run,
    *,
    among: Collection[str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Plan:
    """What everybody would be told about a run now. Reads, writes nothing."""
    comparison = compare(db, run, previous(db, run))
    audience = Audience(settings, db, comparison, outbox.known(db, run.name))
    written: dict[object, _Content | None] = {}
    notices: list[tuple[Notice, Known | None]] = []
    unreachable = []
    readers = audience.readers()
    for number, reader in enumerate(readers, 1):
        # Many subscribers wish for the same.
        if reader.sees not in written:
            written[reader.sees] = _content(audience, reader)
        content = written[reader.sees]
        if content is not None:
            channel = channels.for_recipient(settings, reader.address, among=among)
            if channel is None:
                unreachable.append(reader.address)
            else:
                notices.append((Notice(run.name, reader.address, channel.NAME, *content), reader.known))
        progress(number, len(readers))
    return Plan(run.name, notices, sorted(audience.without_contact), unreachable)


class _Content(NamedTuple):
    """What a message says: the rest of a Notice."""

    subject: str
    text: str
    html: str
    lines: int
    told: list[list[str | None]]


def _content(audience: Audience, reader: Reader) -> _Content | None:
    """What a reader is told now; None: nothing."""
    document = _document(audience, reader)
    if document is None:
        return None
    try:
        html = report.render_html(document)
    except ServerPartMissing:
        html = ""  # the text says the same
    lines = sum(len(group.lines) for part in document.parts for group in part.groups)
    return _Content(document.subject, report.render_text(document), html, lines, document.told)


def _document(audience: Audience, reader: Reader) -> Document | None:
    seen = audience.seen_by(reader)
    wishes = audience.wishes(reader, seen)
    if reader.known is None:
        document = report.build(seen, wishes=wishes)
        return document if document.parts else None
    document = report.addendum(seen, reader.told, wishes=wishes, whole=audience.comparison)
    return None if document.is_empty else document
