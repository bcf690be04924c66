"""JUnit XML, as pytest, Maven, Gradle, Jest, go-junit-report and many others write it.

There is no standard, only customs. How they are read:

A test's name is where it stands and what it is called: the enclosing suites, the class, the case. What repeats itself
is said once: a suite named like the class in it, a case named like its class, a suite that is only named after the
tool (`pytest`). The dots of a class become slashes, so `test_name` is a path as everywhere. Of cases with the same
name the second gets `~2`, in the order of the report.

Failed is failed, whatever came of clearing away after it; skipped is disabled; what was expected to fail and did
has passed. Reruns are attempts of one result. Output of a whole suite belongs to no case and is left in the archive.

`test_run`, `project`, `host`, `context` and `custom` are taken from properties of these names, then from the command
line, then (the host) from the suite's `hostname`: that is where the tests happened to run, a container perhaps, and
nobody chose it. Other properties of a suite, and all of a case, are attributes; the many that are only a picture of
the environment (Java's system properties) are not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pdk_pipeline.formats.fields import BLANK, DEFAULTABLE, Unfit, clean_name, interpret
from pdk_pipeline.formats.junit_case import Case, properties_of
from pdk_pipeline.formats.times import parse_time
from pdk_pipeline.formats.xml_fields import (
    Numbering,
    attribute_name,
    field_value,
    one_line,
    require,
    same_every_night,
    seconds,
)
from pdk_pipeline.formats.xml_parts import Element, looks_like_xml
from pdk_pipeline.formats.xml_stream import XmlReader
from pdk_pipeline.results import Reading, Result, Skipped, Status, Warned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import tzinfo

    from pdk_pipeline.formats import Source

NAME = "junit"

MOST_PROPERTIES_LETTERS = 2048
"""Of a suite's properties, names and values: more are a picture of the environment."""

MOST_PLACES = 1000
"""So many are remembered, or fewer if they are longer than:"""

LONGEST_PLACE = 4096

_QUALIFIED = re.compile(r"[\w$-]++(?:\.[\w$-]+)+")
_SCOPED = re.compile(r"\w++(?:::\w+)+")
_NAMED_AFTER_TOOL = re.compile(r"(pytest|nosetests|rspec)(?:\d*| tests)")
_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")
_BROKEN_NOSE = "nose.failure.Failure.runTest"


def recognises(beginning: bytes) -> bool:
    """Whether it is XML: what no other format knows is best refused by a reader of XML."""
    return looks_like_xml(beginning)


def read(source: Source, *, defaults: Mapping[str, str], zone: tzinfo | None, record_limit: int) -> Iterator[Reading]:
    """Everything that stands in the report (see `formats.Format.read`). Raises LacksFields."""
    return _Reader(defaults, zone, record_limit).read(source)


def path(suites: Iterable[str], classname: str) -> str:
    """Where a test stands, from the names of the suites around it (the outermost first) and of its class."""
    place = _as_path(classname)
    parts: list[str] = []
    for suite in map(one_line, suites):
        if suite and not _NAMED_AFTER_TOOL.fullmatch(suite) and not _says(place, _as_path(suite)):
            parts = [part for part in parts if part != suite]
            parts.append(suite.replace("\\", "/"))
    if not (parts and parts[-1].endswith(f"/{place}")):
        parts.append(place)
    return "/".join(filter(None, parts))


def _as_path(name: str) -> str:
    name = one_line(name)
    if _QUALIFIED.fullmatch(name):
        return name.replace(".", "/")
    return name.replace("\\", "/").replace("::", "/")


def _says(place: str, suite: str) -> bool:
    """Whether the class says all that the suite does (which may have a time, an inner class or a method behind it)."""
    if f"/{place}".endswith(f"/{suite}") or f"{place}/".startswith(f"{suite}/"):
        return bool(place)
    rest = suite.removeprefix(place)
    if not place or rest == suite:
        return False
    return rest.startswith("$") or bool(re.fullmatch(r"-\d{8,}", rest)) or ("/" in place and rest.startswith("/"))


class _Suite:
    """A suite that is open."""

    def __init__(self, element: Element) -> None:
        self.name = element.get("name") if element.tag == "testsuite" else ""
        self.file = element.get("file")
        self.hostname = one_line(element.get("hostname"))
        self.timestamp = element.get("timestamp")
        tool = _NAMED_AFTER_TOOL.fullmatch(element.get("name"))
        self.tool = tool[1] if tool else ""
        self.length = seconds(element.get("time"))
        self.start: float | None = None
        self.elapsed = 0.0
        """Seconds of the cases so far: a suite's cases run one after the other."""
        self.properties: list[tuple[str, str]] = []

    def now(self) -> float | None:
        """When the next case begins, as well as can be told; never after the end of the suite."""
        if self.start is None:
            return None
        return self.start + (self.elapsed if self.length is None else min(self.elapsed, self.length))


class _Reader(XmlReader):
    KIND = "JUnit report"
    ROOTS = frozenset(("testsuites", "testsuite"))
    RECORD = "testcase"
    ASIDES = frozenset(("properties", "failure", "error"))
    RECORD_BEGINS = rb"testcase(?=[\s/>])"
    HOLDER_BEGINS = rb"testsuites?(?=[\s/>])"

    def __init__(self, defaults: Mapping[str, str], zone: tzinfo | None, record_limit: int) -> None:
        super().__init__(record_limit)
        self.defaults = BLANK | dict(defaults)
        self.zone = zone
        self.suites: list[_Suite] = []
        self.base: dict[str, str] | None = None  # what every case of the innermost suite begins with
        self.places: dict[str, str] = {}  # by class: where its cases stand
        self.numbering = Numbering()
        self.told: set[str] = set()
        self.is_pytest = False
        self.failed: tuple[Case, dict[str, str]] | None = None  # held back: its teardown may follow

    # What holds cases -----------------------------------------------------------------------------------------

    def entered(self, place: Element) -> None:
        suite = _Suite(place)
        if suite.timestamp:
            suite.start = parse_time(suite.timestamp, self.zone)
            if suite.start is None:
                self._warn(f"timestamp {suite.timestamp[:40]!r} cannot be read; its cases are kept without a time")
        self.suites.append(suite)
        self._changed()

    def left(self) -> None:
        self.suites.pop()
        self._changed()

    def _changed(self) -> None:
        self.base = None
        self.places.clear()

    def aside(self, element: Element) -> bool:
        if element.tag == "properties":
            self.suites[-1].properties.extend(properties_of(element))
            self._changed()
            return True
        message = one_line(element.get("message") or element.text)[:200]
        self._warn(f"{element.tag} of the suite {self.suites[-1].name[:200]!r} itself: {message}")
        return False

    def _warn(self, text: str) -> None:
        if text not in self.told and len(self.told) < 1000:
            self.told.add(text)
            self.out.append(Warned(self.line(), text))

    def _based(self) -> dict[str, str]:
        """What the suites say of their cases, after the command line."""
        fields = self.defaults.copy()
        tool = next((suite.tool for suite in self.suites if suite.tool), "")
        self.is_pytest = tool == "pytest"
        fields["test_runner"] = fields["test_runner"] or tool
        if not fields["host"]:
            fields["host"] = next((suite.hostname for suite in reversed(self.suites) if suite.hostname), "")
            if _CONTAINER_ID.fullmatch(fields["host"]):
                self._warn(
                    f"the host {fields['host']} looks like a container's id, which is another one every night; "
                    "-host= says which machine is meant"
                )
        for suite in self.suites:
            is_picture = sum(len(name) + len(value) for name, value in suite.properties) > MOST_PROPERTIES_LETTERS
            for name, value in suite.properties:
                if name in DEFAULTABLE:
                    fields[name] = one_line(value) or fields[name]
                elif name and (not is_picture or name.startswith(("tda_", "tra_"))):
                    fields[attribute_name(name)] = field_value(value)
        require(fields, "Give -test_run= and -project=, or properties of these names in its suites.")
        return fields

    # Cases ----------------------------------------------------------------------------------------------------

    def record(self, element: Element) -> Unfit | None:
        if self.base is None:
            self.base = self._based()
        case = Case(element)
        if self.failed and self.is_pytest and self.failed[0].takes_teardown(case):
            return Unfit(f"{case.name} is there already: that its teardown failed is in its log", is_skipped=True)
        self.settle()
        fields = self._fields(case, self.base)
        if isinstance(fields, Unfit):
            return fields
        if self.is_pytest and case.status is not Status.PASS:
            self.failed = case, fields
            return None
        return self._add(case, fields)

    def settle(self) -> None:
        if self.failed:
            (case, fields), self.failed = self.failed, None
            if unfit := self._add(case, fields):
                self.out.append(Skipped(self.line(), unfit.reason))

    def _fields(self, case: Case, base: dict[str, str]) -> dict[str, str] | Unfit:
        name = self._name(case)
        if not clean_name(name):
            return Unfit("a case without a name")
        fields = base.copy()
        place = (base["test_run"], base["project"], base["host"], base["context"], base["custom"])
        fields["test_name"] = self.numbering.numbered(place, name)
        fields["location"] = case.file or next((suite.file for suite in reversed(self.suites) if suite.file), "")
        duration = self._times(case, fields)
        if duration and not fields["start_time"]:
            fields["tra_time"] = duration
        return fields

    def _name(self, case: Case) -> str:
        name, classname = case.name, case.classname
        if f"{classname}.{name}".endswith(_BROKEN_NOSE):
            return f"{classname}.{name}"
        if case.is_from_ctest:  # its suite is the name of the build, another one on each machine
            return name
        if not classname and case.is_collection_error:  # the tests of a module begin with its name
            name, classname = "", name
        elif name == classname:
            classname = ""
        if classname not in self.places:
            if len(self.places) > MOST_PLACES:
                self.places.clear()
            place = path([suite.name for suite in self.suites], classname)
            if len(place) > LONGEST_PLACE:
                self.places.clear()
            self.places[classname] = place
        name = name.replace("::", "/") if _SCOPED.fullmatch(name) else name
        place = self.places[classname]
        if "/" in name and place == name:  # Bazel's suites are named like the one test in them
            return name
        return same_every_night("/".join(filter(None, (place, name))))

    def _times(self, case: Case, fields: dict[str, str]) -> str:
        """Set the times of a case, and let the suite's clock go on. Returns its duration, in seconds."""
        duration = seconds(case.time) if case.time else None
        if case.time and duration is None:
            self._warn(f"time {case.time[:40]!r} cannot be read; cases are kept without it")
        suite = next((suite for suite in reversed(self.suites) if suite.start is not None), None)
        start = parse_time(case.timestamp, self.zone) if case.timestamp else suite.now() if suite else None
        if start is not None:
            fields["start_time"] = f"{start:.6f}"
            fields["end_time"] = f"{start + duration:.6f}" if duration is not None else ""
        if suite and duration:
            suite.elapsed += duration
        return "" if duration is None else f"{duration:.6f}".rstrip("0").rstrip(".")

    def _add(self, case: Case, fields: dict[str, str]) -> Unfit | None:
        fields |= case.attributes()
        fields["status"] = case.status.value
        warnings: list[str] = []
        outcome = interpret(fields, case.log(), self.zone, warnings)
        self.out.extend(Warned(self.line(), warning) for warning in warnings)
        if isinstance(outcome, Result):
            self.out.append(outcome)
            return None
        return outcome
