"""Reports in XML, read as a stream: one record at a time, and what is not well-formed costs only itself.

Expat reads, and nothing else: a DOCTYPE is refused before any entity can be declared, so that there is nothing to
expand and nothing to fetch. (Libraries that make XML safe refuse it in the same way, but build whole trees or hide
where things stand, which the quarantine needs to know.)

After what is not well-formed, reading goes on at the next tag of a record or of something that holds records, in the
elements that are open there. What was passed over goes to the quarantine, behind a preamble that opens these elements
again: so it can be mended, and read by the same reader (see SECTION).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn
from xml.parsers import expat

from pdk_pipeline.formats.stream import Damaged
from pdk_pipeline.formats.xml_parts import (
    LONGEST_BEGINNING,
    SECTION,
    Element,
    Enough,
    Lost,
    Place,
    Unreadable,
    Window,
    local,
)
from pdk_pipeline.formats.xml_report import Meaning
from pdk_pipeline.formats.xml_text import UTF_8, Cleaner, Utf8
from pdk_pipeline.results import Reading, Rejection, Skipped, Warned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.formats import Source

STEP = 1 << 18
"""Bytes given to the parser at once, at most."""

FIRST_STEP = 1 << 12
"""The same, right after something that could not be read: the next trouble may be near."""

MOST_NESTED = 200
"""Elements within elements: more are no report."""

MOST_ELEMENTS = 100_000
"""Of one record or aside: an element of four bytes takes hundreds in memory."""

MOST_REPEATED = 1 << 24
"""What records repeat of what they stand in (a suite's name, its properties) before they are handed on, in bytes."""

_UNCLOSED = expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS]
_CUT_OFF = {
    _UNCLOSED,
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
    expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
    expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION],
}


class XmlReader(Meaning):
    """A reader of one kind of report."""

    def __init__(self, record_limit: int) -> None:
        super().__init__()
        self.record_limit = record_limit
        self._repeated = 0  # bytes in `out` that stand in the log once, and in memory with every record
        self.window = Window()
        self._places: list[Place] = []
        self._open = 0  # their weight
        self._is_known = False  # the root is one of ours
        self._is_section = False
        self._damage = ""
        self._lost: Lost | None = None
        text, prefix = rb"<!\[CDATA\[|<!--|<\?xml\s", rb"(?:[\w.-]{1,40}:)?"
        self._begins_holder = re.compile(rb"[^<]*<" + prefix + self.HOLDER_BEGINS)
        self._holder = re.compile(text + rb"|</?" + prefix + self.HOLDER_BEGINS)
        self._anything = re.compile(self._holder.pattern + rb"|<" + prefix + self.RECORD_BEGINS)
        self._resumes: re.Pattern[bytes] | None = self._anything
        self._prefix = 0  # bytes of the parser's text that are not in the log
        self._begin(0)

    def line(self) -> int:
        """The line that the record, or the aside, is on."""
        return self.window.line_at(self._cleaner.origin(self._mark - self._prefix))

    def read(self, source: Source) -> Iterator[Reading]:
        """Everything that stands in the report (see `formats.Format.read`)."""
        utf8 = Utf8(source)
        if utf8.problem:
            yield Warned(1, utf8.problem)
        while piece := self._next_piece(utf8):
            for start in range(0, len(piece), STEP):
                self.window.add(piece[start : start + STEP])
                yield from self._sections(is_last=False)
        yield from self._sections(is_last=True)
        self.settle()
        yield from self._handed_on()
        if self._damage:
            yield Rejection(self.window.line, self.window.end, self._damage, b"", self._preamble())

    def _next_piece(self, utf8: Utf8) -> bytes:
        try:
            return utf8.read()
        except Damaged as error:
            self._damage = str(error)
            return b""

    def _sections(self, *, is_last: bool) -> Iterator[Reading]:
        while (section := self.window.find(SECTION, self._done)) >= 0:
            if section:
                yield from self._stretch(section, is_end=True)
            self.window.take(section + len(b"START\n"))
            self._leave_all()
            self._is_section = self._is_known = True
            self._begin(self.window.start)
        # Held back: what may turn out to be the beginning of a section.
        stop = self.window.end if is_last else max(self._done, self.window.end - len(SECTION) + 1)
        yield from self._stretch(stop, is_end=is_last)

    def _stretch(self, stop: int, *, is_end: bool) -> Iterator[Reading]:
        """Read up to `stop`. `is_end`: what follows there does not belong to what is before it."""
        while True:
            if self._is_passing_over:
                yield from self._pass_over(stop, is_end=is_end)
                if self._is_passing_over:
                    return
            try:
                self._parse(stop, is_end=is_end)
            except Enough:
                yield from self._handed_on()
                self.window.take(self._passed)
                self._begin(self._passed)
            except Unreadable as error:
                yield from self._lose(str(error), error.index, is_over=error.is_over)
            except expat.ExpatError as error:
                if is_end and error.code in _CUT_OFF:
                    yield from self._cut_off(stop, error.code)
                    return
                problem = f"this is not well-formed XML: {expat.errors.messages[error.code]}"
                yield from self._lose(problem, self._parser.ErrorByteIndex)
            else:
                yield from self._handed_on()
                if not is_end:
                    yield from self._let_go()
                return

    def _begin(self, at: int) -> None:
        """Read from here on, in the elements that are open."""
        parser = expat.ParserCreate(UTF_8)
        opened = "".join(f"<{place.written}>" for place in self._places).encode()
        if opened:
            parser.Parse(opened, False)
        parser.buffer_text = True
        parser.buffer_size = STEP
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        self._parser = parser
        self._is_passing_over = False
        self._resumes = self._anything
        self._begun = at
        self._cleaner = Cleaner(at)
        self._prefix = len(opened)
        self._done = at  # given to the parser, or looked through
        self._mark = self._prefix  # where in the parser's text the latest thing begins that is not in a record …
        self._passed = at  # … and how much of the log was complete then
        self._tree: list[Element] = []  # the open elements from a record or an aside on
        self._elements = 0  # in the tree, or begun there
        self._depth_ignored = 0
        self._step = FIRST_STEP
        self._silent = 0  # bytes since the parser has last told anything, while a record is passed over

    def _parse(self, stop: int, *, is_end: bool) -> None:
        """Give the parser what is held up to `stop`."""
        is_last = False
        while not is_last:
            end = min(stop, self._done + self._step)
            self._step = min(2 * self._step, STEP)
            piece, taken = self._cleaner.take(self.window.part(self._done, end), is_last=is_end and end == stop)
            self._done += taken
            self._silent += taken
            is_last = end == stop
            self._parser.Parse(piece, is_end and is_last)

    def _handed_on(self) -> list[Reading]:
        out, self.out = self.out, []
        self._repeated = 0
        return out

    def _let_go(self) -> Iterator[Reading]:
        """Forget what has been read, and hold no more than a record may have."""
        if self._lost is None:
            self._cleaner.forget(self._mark - self._prefix)
            self.window.take(self._complete())
            if self._done - self.window.start <= self.record_limit:
                return
            reason = f"larger than {self.record_limit >> 20} MB"
            if not self._tree:
                yield from self._lose(f"a tag or a comment is {reason}", self._mark)
                return
            self._lost = self._lost_here(f"the record is {reason}")
            self._silent = 0
        elif self._silent > self.record_limit:  # a tag or a comment, of which the parser holds all
            yield from self._lose("", self._mark)
            return
        self._cleaner.forget(self._cleaner.length - FIRST_STEP)
        yield self._piece_of(self._lost, self._done, is_continued=True)

    def _complete(self) -> int:
        """Offset up to which the log is done with."""
        return max(self._passed, self._cleaner.origin(self._mark - self._prefix))

    # What is passed over --------------------------------------------------------------------------------------

    def _lose(self, reason: str, index: int, *, is_over: bool = False) -> Iterator[Reading]:
        """Nothing can be read on here, nor behind if it is over, because of what is at `index` of the parser's text."""
        self.settle()
        yield from self._handed_on()
        trouble = self._cleaner.origin(index - self._prefix)
        if self._lost is None:
            self._lost = self._lost_here(reason)
            beginning = self.window.part(self.window.start, trouble + LONGEST_BEGINNING)
            if self._begins_holder.match(beginning):
                # Records of something whose beginning cannot be read would get a wrong name.
                self._resumes = self._holder
        self._is_passing_over = True
        self._tree = []
        self._done = max(trouble, self._begun + 1)  # never again at the same place
        self._resumes = None if is_over else self._resumes

    def _lost_here(self, reason: str) -> Lost:
        """What is not complete is lost, from here on."""
        self.window.take(self._complete())
        if self._is_known:
            self.window.skip_blank()
        return Lost(self.window.line, self.window.start, reason, self._preamble())

    def _preamble(self) -> bytes:
        """What opens again what is open, for the quarantine."""
        if not self._is_known:
            return b""
        opened = [place.element.opened() + "".join(map(Element.as_xml, place.asides)) for place in self._places]
        return SECTION.removeprefix(b"START\n") + "".join(opened).encode() + b"\n"

    def _pass_over(self, stop: int, *, is_end: bool) -> Iterator[Reading]:
        """Look for where reading can go on, and begin there."""
        assert self._lost is not None  # noqa: S101
        found = None
        if self._resumes is None:
            self._done = stop
        else:
            self._done, found = self._lost.resumption(self.window, self._resumes, self._done, stop)
        if found is None and not is_end:
            if self._done - self.window.start > STEP:
                yield self._piece_of(self._lost, self._done, is_continued=True)
            return
        end = found[0] if found else stop
        if self._lost.has_begun or self.window.part(self.window.start, end).strip():
            yield self._piece_of(self._lost, end)
        self.window.take(end)
        self._lost = None
        if found:
            self._is_known = not found[1].startswith(b"<?")
            if not self._is_known:  # another document, behind or instead of the rest of this one
                self._leave_all()
                self._is_section = False
            self._begin(end)

    def _cut_off(self, stop: int, code: int) -> Iterator[Reading]:
        """The end comes before the end of what is open."""
        self.settle()
        yield from self._handed_on()
        if self._is_section and code == _UNCLOSED and not self._tree:
            return
        if self._lost is None:
            open_tag = self._tree[0].tag if self._tree else self._places[-1].written if self._places else ""
            what = f"<{open_tag}> is not closed" if open_tag else "there is nothing in it"
            self._lost = self._lost_here(self._damage or f"the XML is cut off: {what}")
            self._damage = ""
        yield self._piece_of(self._lost, stop)
        self._lost = None

    def _piece_of(self, lost: Lost, end: int, *, is_continued: bool = False) -> Rejection:
        lost.has_begun = True
        raw = self.window.take(end)
        return Rejection(lost.line, lost.offset, lost.reason, raw, lost.preamble, is_continued)

    # What the parser tells ------------------------------------------------------------------------------------

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = local(name)
        tree = self._tree
        index = self._parser.CurrentByteIndex
        if len(tree) + len(self._places) + self._depth_ignored > MOST_NESTED:
            # Behind one that is in no record it would be the same again, and again.
            raise Unreadable(f"more than {MOST_NESTED} elements within one another", index, is_over=not tree)
        if tree:
            self._silent = 0
            if tag == self.RECORD and tree[0].tag == tag:
                raise Unreadable(f"<{tag}> is not closed before the next one", index)
            element = Element(tag, attributes)
            if self._lost is None:
                self._elements += 1
                if self._elements > MOST_ELEMENTS:
                    raise Unreadable(f"more than {MOST_ELEMENTS:,} elements in one <{tree[0].tag}>", index)
                tree[-1].children.append(element)
            tree.append(element)
            return
        if not self._is_known and tag not in self.ROOTS:
            self._refuse(f"this XML is no {self.KIND}: its root is <{name[:40]}>")
        self._mark = index
        if self._depth_ignored or tag in self.IGNORED:
            self._depth_ignored += 1
        elif tag == self.RECORD or (tag in self.ASIDES and self._places):
            tree.append(Element(tag, attributes))
            self._elements = 1
        else:
            self._is_known = True
            self._passed = self.window.after_tag(self._cleaner.origin(index - self._prefix))
            element = Element(tag, attributes)
            self._places.append(Place(element, name, [], element.weight))
            self._opened(element.weight)
            self.entered(element)

    def _text(self, text: str) -> None:
        if not self._tree:
            self._mark = self._parser.CurrentByteIndex
        elif self._lost is None:
            self._tree[-1].texts.append(text)
        else:
            self._silent = 0

    def _end(self, _name: str) -> None:
        if self._tree:
            element = self._tree.pop()
            if not self._tree:
                self._ended(element, self._parser.CurrentByteIndex)
            return
        at = self._cleaner.origin(self._parser.CurrentByteIndex - self._prefix)
        if self.window.part(at, at + 2) == b"</":  # of an element in a single tag, its end is what follows
            self._passed = self.window.after_tag(at)
        if self._depth_ignored:
            self._depth_ignored -= 1
        else:
            self._leave()

    def _ended(self, element: Element, index: int) -> None:
        """A record or an aside is complete."""
        begin = self._cleaner.origin(self._mark - self._prefix)
        end = 0 if element.children or element.texts or self._lost else self.window.after_tag(begin)
        if not end or self.window.part(end - 2, end) != b"/>":
            end = self.window.after_tag(self._cleaner.origin(index - self._prefix))
        self._passed = end
        if self._lost is not None:
            self.out.append(self._piece_of(self._lost, end))
            self._lost = None
        elif element.tag != self.RECORD:
            if self.aside(element):
                self._places[-1].asides.append(element)
                self._places[-1].weight += element.weight
                self._opened(element.weight)
            return
        elif unfit := self.record(element):
            line = self.window.line_at(begin)
            if unfit.is_skipped:
                self.out.append(Skipped(line, unfit.reason))
            else:
                raw = self.window.part(begin, end)
                self.out.append(Rejection(line, begin, unfit.reason, raw, self._preamble()))
        self._repeated += self._open
        if self._repeated > MOST_REPEATED:
            raise Enough

    def _opened(self, weight: int) -> None:
        """Something that records stand in is so much larger."""
        self._open += weight
        if self._open > self.record_limit:
            reason = f"what the records stand in is larger than {self.record_limit >> 20} MB"
            raise Unreadable(reason, self._parser.CurrentByteIndex, is_over=True)

    def _doctype(self, *_: object) -> None:
        self._refuse("it has a DOCTYPE, which can make a small file huge and read others; no report needs one")

    def _refuse(self, reason: str) -> NoReturn:
        """Nothing of this document is read."""
        raise Unreadable(reason, self._prefix, is_over=True)

    def _leave_all(self) -> None:
        while self._places:
            self._leave()

    def _leave(self) -> None:
        self._open -= self._places.pop().weight
        self.left()
