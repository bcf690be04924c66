"""CTest's Test.xml, as `ctest -T Test` writes it into Testing/DATE-TIME/.

A test's name is its directory and its name. A test that failed by itself is failed; one that ran out of time, crashed
or could not be started is an error; one that was disabled or chose to be skipped is disabled. What CTest measured is
in the attributes, its labels are `tda_labels`. Every test has the start of the whole as its start: CTest tells no
other, and runs them side by side.

The host is the site's name and the context the build's name, unless the command line names them.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from typing import TYPE_CHECKING

from pdk_pipeline.formats.fields import BLANK, Unfit, clean_name, interpret
from pdk_pipeline.formats.text import dotted
from pdk_pipeline.formats.times import parse_time
from pdk_pipeline.formats.xml_fields import Numbering, attribute_name, field_value, one_line, require, seconds
from pdk_pipeline.formats.xml_parts import Element, looks_like_xml, root_of
from pdk_pipeline.formats.xml_stream import XmlReader
from pdk_pipeline.results import Reading, Result, Status, Warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from pdk_pipeline.formats import Source

NAME = "ctest"

_STATUSES = {"passed": Status.PASS, "failed": Status.FAIL, "notrun": Status.DISABLED}
_FAILED_BY_ITSELF = {"", "Failed", "Completed"}
"""What CTest says of a test that ended and was not content; otherwise Timeout, SEGFAULT …"""
_CHOSEN = re.compile(r"|Disabled|Skipped|SKIP_.*")
"""What it says of a test that was not meant to run; otherwise Unable to find executable …"""
_NO_RESOURCES = "#CTEST_RESOURCE_GROUP_COUNT="
_DEFINITION = {"Command Line": "tda_command_line", "Environment": "tda_environment", "Processors": "tda_processors"}


def recognises(beginning: bytes) -> bool:
    """Whether its root is the one that CTest's files have."""
    return looks_like_xml(beginning) and root_of(beginning) == "Site"


def read(source: Source, *, defaults: Mapping[str, str], zone: tzinfo | None, record_limit: int) -> Iterator[Reading]:
    """Everything that stands in the file (see `formats.Format.read`). Raises LacksFields."""
    return _Reader(defaults, zone, record_limit).read(source)


class _Reader(XmlReader):
    KIND = "file of CTest"
    ROOTS = frozenset(("Site",))
    RECORD = "Test"
    ASIDES = frozenset(("StartTestTime",))
    IGNORED = frozenset(("TestList",))
    RECORD_BEGINS = rb"Test(?=\s)"  # the names in a TestList stand in <Test>
    HOLDER_BEGINS = rb"(?:Site|Testing)(?=[\s/>])"

    def __init__(self, defaults: Mapping[str, str], zone: tzinfo | None, record_limit: int) -> None:
        super().__init__(record_limit)
        self.defaults = BLANK | dict(defaults)
        self.zone = zone
        self.holders: list[Element] = []
        self.start: float | None = None
        self.numbering = Numbering()

    def entered(self, place: Element) -> None:
        self.holders.append(place)

    def left(self) -> None:
        self.holders.pop()

    def aside(self, element: Element) -> bool:
        self.start = parse_time(element.text.strip(), self.zone)
        return True

    def record(self, element: Element) -> Unfit | None:
        fields = self.defaults.copy()
        site = next((holder for holder in self.holders if holder.tag == "Site"), Element("Site", {}))
        fields["host"] = fields["host"] or one_line(site.get("Name") or site.get("Hostname"))
        fields["context"] = fields["context"] or one_line(site.get("BuildName"))
        fields["test_runner"] = fields["test_runner"] or "ctest"
        require(fields, "Give -test_run= and -project=.")
        name = one_line(element.child_text("FullName") or element.child_text("Name"))
        if not clean_name(name):
            return Unfit("a test without a name")
        place = (fields["test_run"], fields["project"], fields["host"], fields["context"], fields["custom"])
        fields["test_name"] = self.numbering.numbered(place, name)
        location = one_line(element.child_text("Path"))
        fields["location"] = "" if location == "." else location

        results = next(element.all("Results"), Element("Results", {}))
        measured = {each.get("name"): each for each in results.all("NamedMeasurement")}
        fields |= _attributes(element, measured)
        fields["status"] = _status(element.get("Status"), measured)
        duration = seconds(_value(measured, "Execution Time"))
        if self.start is not None:
            fields["start_time"] = f"{self.start:.6f}"
            fields["end_time"] = f"{self.start + duration:.6f}" if duration is not None else ""
        elif duration is not None:
            fields["tra_time"] = f"{duration:.6f}".rstrip("0").rstrip(".")
        return self._add(fields, self._log(results))

    def _add(self, fields: dict[str, str], log: bytes) -> Unfit | None:
        warnings: list[str] = []
        outcome = interpret(fields, log, self.zone, warnings)
        self.out.extend(Warned(self.line(), warning) for warning in warnings)
        if isinstance(outcome, Result):
            self.out.append(outcome)
            return None
        return outcome

    def _log(self, results: Element) -> bytes:
        """The dotted log: the test's output."""
        parts = []
        for measurement in results.all("Measurement"):
            for value in measurement.all("Value"):
                text, problem = _unpacked(value, self.record_limit)
                if problem:
                    self.out.append(Warned(self.line(), problem))
                text = text.rstrip()
                parts.append(text + b"\n" if text else b"")
        return dotted(b"".join(parts))


def _value(measured: dict[str, Element], name: str) -> str:
    return measured[name].child_text("Value") if name in measured else ""


def _status(told: str, measured: dict[str, Element]) -> str:
    """The status; what CTest says and we do not know is handed on, to be refused."""
    status = _STATUSES.get(told.lower())
    ends = [_value(measured, name) for name in ("Exit Code", "Completion Status")]
    if status is Status.FAIL and not _FAILED_BY_ITSELF.issuperset(ends):
        return Status.ERROR.value
    if status is Status.DISABLED and not _CHOSEN.fullmatch(ends[1]):
        return Status.ERROR.value
    return status.value if status else told


def _attributes(test: Element, measured: dict[str, Element]) -> dict[str, str]:
    labels = [one_line(label.text) for holder in test.all("Labels") for label in holder.all("Label")]
    found = {"tda_labels": field_value(";".join(labels))} if labels else {}
    if command := test.child_text("FullCommandLine"):
        found["tda_command_line"] = field_value(command)
    for name, measurement in measured.items():
        kind = measurement.get("type")
        is_text = kind.startswith(("numeric/", "text/")) and "encoding" not in measurement.attributes
        value = field_value(measurement.child_text("Value").removeprefix(_NO_RESOURCES))
        field = _DEFINITION.get(name) or attribute_name(name)
        if field and value and name != "Execution Time" and (is_text or not kind):
            found[field] = value
    return found


def _unpacked(value: Element, most: int) -> tuple[bytes, str]:
    """The text that a Value element holds, and what is wrong with it, or nothing. `most`: bytes of it."""
    packed = value.content
    if value.get("encoding") != "base64":
        return packed, ""
    try:
        data = base64.b64decode(packed)
        if value.get("compression") != "gzip":
            return data, ""
        decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # what CTest calls gzip is zlib
        text = decompressor.decompress(data, most)
    except (binascii.Error, zlib.error) as error:
        return packed, f"its output cannot be unpacked ({error}); the log is what stands there"
    if not decompressor.eof:
        return text, f"its output is larger than {most >> 20} MB, or cut off; the log is the beginning of it"
    return text, ""
