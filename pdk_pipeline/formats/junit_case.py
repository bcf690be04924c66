"""One case of a JUnit report: how it ended, what it says of itself, its log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdk_pipeline.formats.text import dotted
from pdk_pipeline.formats.xml_fields import attribute_name, field_value, one_line
from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from pdk_pipeline.formats.xml_parts import Element

_OUTPUTS = ("system-out", "system-err")
_STATUS_WORDS = {
    **dict.fromkeys(("fail", "failed", "failure"), Status.FAIL),
    **dict.fromkeys(("error", "errored"), Status.ERROR),
    **dict.fromkeys(("skipped", "disabled", "notrun", "suppressed", "ignored", "pending"), Status.DISABLED),
}
"""What `status` and `result` say in reports whose cases have no element for it (Google Test, CTest)."""
_KNOWN = {"name", "classname", "class", "file", "time", "timestamp", "status", "result", "line"}
_TEARDOWN = "failed on teardown with"


class Case:
    """A testcase element."""

    def __init__(self, element: Element) -> None:
        self.element = element
        self.name = element.get("name")
        self.classname = element.get("classname") or element.get("class")
        self.file = one_line(element.get("file"))
        self.time = element.get("time")
        self.timestamp = element.get("timestamp")
        self.failures: list[Element] = []
        self.errors: list[Element] = []
        self.skips: list[Element] = []
        self.reruns: list[Element] = []
        for child in element.children:
            kind = self._kind(child.tag)
            if kind is not None:
                kind.append(child)
        self.teardown: Case | None = None
        self.status = self._status()

    def _kind(self, tag: str) -> list[Element] | None:
        if tag == "failure":
            return self.failures
        if tag == "error":
            return self.errors
        if tag in {"skipped", "disabled"}:
            return self.skips
        return self.reruns if tag.startswith(("rerun", "flaky")) else None

    def _status(self) -> Status:
        if self.failures:
            return Status.FAIL
        if self.errors:
            return Status.ERROR
        if self.skips:
            return Status.PASS if self._expected_failure() else Status.DISABLED
        words = (self.element.get("result").lower(), self.element.get("status").lower())
        return next((_STATUS_WORDS[word] for word in words if word in _STATUS_WORDS), Status.PASS)

    def _expected_failure(self) -> Element | None:
        """What is told of a test that failed as it was expected to; without a run there is no failure."""
        skip = self.skips[0] if self.skips else None
        is_one = skip and skip.get("type") in {"pytest.xfail", "XFAIL"} and "[NOTRUN]" not in skip.get("message")
        return skip if is_one else None

    @property
    def is_collection_error(self) -> bool:
        """Whether it is a module that pytest could not import."""
        return any(error.get("message") == "collection failure" for error in self.errors)

    @property
    def is_from_ctest(self) -> bool:
        """Whether CTest wrote it: only there a case has the name of its class, and a status."""
        return bool(self.name) and self.name == self.classname and "status" in self.element.attributes

    def takes_teardown(self, other: Case) -> bool:
        """Take what pytest writes as a second case of the same name when a test fails and its teardown too.

        Returns whether `other` is that.
        """
        is_one = (
            (self.name, self.classname) == (other.name, other.classname)
            and self.teardown is None
            and any(error.get("message").startswith(_TEARDOWN) for error in other.errors)
        )
        if is_one:
            self.teardown = other
        return is_one

    def attributes(self) -> dict[str, str]:
        """Its tda_ and tra_ fields."""
        found = {"tda_line": self.element.get("line")} if self.element.get("line") else {}
        own = [(name, value) for name, value in self.element.attributes.items() if name not in _KNOWN]
        own = [(name, value) for name, value in own if ":" not in name]  # xmlns:xsi and the like
        for properties in self.element.all("properties"):
            own += properties_of(properties)
        for name, value in own:
            if field := attribute_name(name):
                # What is recorded several times under one name is several lines.
                found[field] = field_value(f"{found[field]}\n{value}" if field in found else value)
        if expected := self._expected_failure():
            found["tra_xfail"] = field_value(expected.get("message"))
        elif self.status is Status.DISABLED:
            found["tra_skip"] = field_value(next(filter(None, map(_message, self.skips)), ""))
        phase = next((phase for phase in ("setup", "teardown") if self._has_error_in(phase)), "")
        phase = "collection" if self.is_collection_error else phase
        if phase:
            found["tra_error_in"] = phase
        if self.reruns:
            found |= self._attempts()
        return found

    def _has_error_in(self, phase: str) -> bool:
        errors = self.errors + (self.teardown.errors if self.teardown else [])
        return any(error.get("message").startswith(f"failed on {phase} with") for error in errors)

    def _attempts(self) -> dict[str, str]:
        """How often it ran, and what became of the attempts before the last."""
        ends = self.failures[:1] or self.errors[:1]
        all_of_them = [*ends, *self.reruns]
        told = [f"{_letter(attempt)}: {one_line(_message(attempt))}" for attempt in all_of_them]
        if ends:
            told.pop()
        attempts = {f"tra_attempt_{number}": field_value(text) for number, text in enumerate(told, 1)}
        return {"tra_attempts": str(len(told) + 1)} | attempts

    def log(self) -> bytes:
        """Its dotted log: what it failed with or was skipped for, then its output."""
        children = [*self.element.children, *(self.teardown.element.children if self.teardown else [])]
        parts = [_told(child) for child in children if child.tag not in _OUTPUTS and child.tag != "properties"]
        parts += [_output(child) for child in children if child.tag in _OUTPUTS]
        return dotted(b"\n".join(filter(None, parts)))


def properties_of(element: Element) -> list[tuple[str, str]]:
    """Names and values of what stands in a properties element."""
    return [(each.get("name"), each.attributes.get("value", each.text)) for each in element.all("property")]


def _letter(attempt: Element) -> Status:
    return Status.ERROR if attempt.tag.lower().endswith("error") else Status.FAIL


def _message(element: Element) -> str:
    """What it says in short."""
    stack = element.child_text("stackTrace") or element.text.strip()
    return element.get("message") or element.get("type") or stack.partition("\n")[0]


def _told(element: Element) -> bytes:
    """A failure, error, skip or rerun; its type and message only where the text does not have them."""
    text = _trimmed(b"\n".join([element.content, *(child.content for child in element.all("stackTrace"))]))
    said = [part for part in (element.get("type"), element.get("message")) if part and part.encode() not in text]
    is_plain = not said and not text and element.tag in {"skipped", "disabled"}
    head = b"" if is_plain else ": ".join((element.tag, *said)).encode() + b"\n"
    outputs = [_output(child) for child in element.children if child.tag in _OUTPUTS]
    return b"\n".join(filter(None, (head + text, *outputs)))


def _output(element: Element) -> bytes:
    text = _trimmed(element.content)
    return element.tag.encode() + b":\n" + text if text else b""


def _trimmed(text: bytes) -> bytes:
    """Without blank lines around it, with a line end behind it; or empty."""
    text = text.rstrip()
    begin = len(text) - len(text.lstrip())
    text = text[text.rfind(b"\n", 0, begin) + 1 :]
    return text + b"\n" if text else b""
