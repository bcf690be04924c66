"""The quarantine: bad records and files, kept byte for byte with a note, to be mended and imported again.

One item holds what one import could not use. It is a directory named by its id:

    note.json       where it came from, when, why, and how many records
    records.jsonl   one line a record: line and offset in the log, reason, and where it lies in the content
    content         the records, each behind the defaults it needs: itself a log that can be edited and imported
                    (or, when `is_whole_file`, the file as it came)

The id is taken from the log and the content, so what one log gives twice is one item.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pdk_pipeline.durable import sync
from pdk_pipeline.errors import UnknownQuarantineItem
from pdk_pipeline.formats.text import readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pdk_pipeline.config import Settings
    from pdk_pipeline.results import Rejection

ID_LENGTH = 12

SHOWN_BYTES = 1 << 20
"""So much of a record is shown."""

_STAGING = ".staging-"


@dataclass(frozen=True)
class Note:
    """What is known of an item."""

    id: str
    file: str
    """The log as it was named to us."""
    reason: str
    """Of the first record, or of the whole file."""
    records: int
    quarantined_at: float
    sha256: str
    """Of the log."""
    delivery: str
    options: dict[str, Any] = field(default_factory=dict)
    """The import's options, for when it is tried again."""
    is_whole_file: bool = False


@dataclass(frozen=True)
class Record:
    """One rejected record of an item."""

    line: int
    offset: int
    """Bytes from the beginning of the uncompressed log."""
    reason: str
    start: int
    """Where it begins in the content."""
    length: int


def directory(settings: Settings) -> Path:
    """Where the items lie."""
    return settings.spool / "quarantine"


def content_path(settings: Settings, item: str) -> Path:
    """The item's content: edit it to mend it."""
    return directory(settings) / item / "content"


def _staging(settings: Settings, delivery: str) -> Path:
    # Named by the delivery: what a killed attempt left behind is swept away by the next one.
    return directory(settings) / f"{_STAGING}{hashlib.sha256(delivery.encode()).hexdigest()[:16]}"


class Staging:
    """The item of an import that is under way: invisible until `settle`, and nothing at all without rejections."""

    def __init__(self, settings: Settings, delivery: str) -> None:
        self._settings = settings
        self._delivery = delivery
        self._preamble: bytes | None = None
        """The defaults in force at this place of the content; None: START must come first."""
        self._sum = hashlib.sha256()
        self.written = 0
        """Bytes of the content so far."""
        self._piece_start = -1
        self.records = 0
        self.first_reason = ""
        self._open = False

    @functools.cached_property
    def _directory(self) -> Path:
        return _staging(self._settings, self._delivery)

    def add(self, rejection: Rejection) -> None:
        """Keep a rejected record, or the next piece of one too large to hold."""
        if not self._open:
            self._begin()
        is_one_piece = self._piece_start < 0
        if is_one_piece:
            if rejection.preamble != self._preamble:
                self._preamble = rejection.preamble
                self._write(b"START\n" + rejection.preamble)
            self._piece_start = self.written
        self._write(rejection.raw)
        if rejection.is_continued:
            return
        if not (is_one_piece and _changes_nothing(rejection.raw)):
            self._preamble = None
        start, self._piece_start = self._piece_start, -1
        if not rejection.raw.endswith(b"\n"):
            self._write(b"\n")  # only what the end of the file cut off; the length below leaves it out
            length = self.written - start - 1
        else:
            length = self.written - start
        self.records += 1
        self.first_reason = self.first_reason or f"line {rejection.line}: {rejection.reason}"
        record = Record(rejection.line, rejection.offset, rejection.reason, start, length)
        self._records.write(json.dumps(vars(record)) + "\n")

    def settle(self, file: str, sha256: str, options: dict[str, Any]) -> str | None:
        """Make the item visible and safe from a power cut. Returns its id, or None when there was nothing to keep.

        `file`, `sha256`: name and sum of the log that the records come from.
        """
        if not self._open:
            return None
        self._close()
        item = _id(sha256, self._sum.hexdigest())
        place = directory(self._settings) / item
        note = Note(item, file, self.first_reason, self.records, time.time(), sha256, self._delivery, options)
        _install(self._directory, place, note)
        return item

    def _begin(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        self._directory.mkdir(parents=True)
        self._content = (self._directory / "content").open("wb")
        self._records = (self._directory / "records.jsonl").open("w", encoding="utf-8")
        self._open = True

    def _write(self, data: bytes) -> None:
        self._content.write(data)
        self._sum.update(data)
        self.written += len(data)

    def discard(self) -> None:
        """Leave nothing behind (an import that failed); after `settle` this does nothing."""
        if self._open:
            with contextlib.suppress(OSError):  # a full disk
                self._close()
            shutil.rmtree(self._directory, ignore_errors=True)

    def _close(self) -> None:
        self._open = False
        try:
            self._content.close()
        finally:
            self._records.close()


def _changes_nothing(raw: bytes) -> bool:
    """Whether the defaults after a rejected record are those before it, however it is mended or cut off."""
    return raw.rstrip().endswith(b"END") and b"SETDEFAULT" not in raw and b"START" not in raw


def _id(log_sha256: str, content_sha256: str) -> str:
    return hashlib.sha256(f"{log_sha256} {content_sha256}".encode()).hexdigest()[:ID_LENGTH]


def keep_file(
    settings: Settings, path: Path, *, file: str, reason: str, delivery: str, options: dict[str, Any]
) -> Note:
    """Keep a copy of a whole file that could not be imported. Returns its note."""
    staging = _staging(settings, delivery)
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    shutil.copyfile(path, staging / "content")
    with (staging / "content").open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    (staging / "records.jsonl").touch()
    item = sha256[:ID_LENGTH]
    note = Note(item, file, reason, 1, time.time(), sha256, delivery, options, is_whole_file=True)
    _install(staging, directory(settings) / item, note)
    return note


def _install(staging: Path, target: Path, note: Note) -> None:
    if target.exists():  # the same content is there already, perhaps being mended: that stays
        _reword(staging, target, note)
        shutil.rmtree(staging)
        return
    _write(staging, note)
    for path in (*staging.iterdir(), staging):
        sync(path)
    staging.rename(target)
    sync(target.parent)


def _write(place: Path, note: Note) -> None:
    (place / "note.json").write_text(json.dumps(asdict(note), indent=1), encoding="utf-8")


def _reword(staging: Path, target: Path, note: Note) -> None:
    """When it is tried again, it is with the options of the last import that reported it."""
    before = _note(target)
    if before.options != note.options:
        _write(staging, replace(before, options=note.options))
        sync(staging / "note.json")
        (staging / "note.json").replace(target / "note.json")


def notes(settings: Settings) -> list[Note]:
    """Every item, the oldest first."""
    found = [note(settings, name) for name in ids(settings)]
    return sorted(found, key=lambda note: (note.quarantined_at, note.id))


def ids(settings: Settings) -> list[str]:
    """The ids of every item."""
    try:
        return [path.name for path in directory(settings).iterdir() if path.is_dir() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def note(settings: Settings, item: str) -> Note:
    """What is known of one item; `item` may be the beginning of an id. Raises UnknownQuarantineItem."""
    names = ids(settings)
    candidates = [name for name in names if name == item] or [name for name in names if item and name.startswith(item)]
    if len(candidates) != 1:
        raise UnknownQuarantineItem(
            f"{item} (several begin so)" if candidates else item, advice="`pdk quarantine list` shows them."
        )
    return _note(directory(settings) / candidates[0])


def _note(place: Path) -> Note:
    try:
        note = Note(**json.loads((place / "note.json").read_text(encoding="utf-8")))
        texts = note.id, note.file, note.reason, note.sha256, note.delivery
        if all(isinstance(text, str) for text in texts) and isinstance(note.options, dict):
            return replace(note, records=int(note.records), quarantined_at=float(note.quarantined_at))
    except (OSError, ValueError, TypeError):
        pass
    # Somebody's own doing, but it must not hide the other items.
    return Note(place.name, "?", "its note cannot be read", 0, place.stat().st_mtime, "", "")


def records(settings: Settings, item: str) -> Iterator[tuple[Record, str]]:
    """The rejected records of an item, each with its text made readable, or the first SHOWN_BYTES of it.

    The text is empty once the content has been edited: where the record lies in it is then not known.
    """
    place = directory(settings) / item
    try:
        lines = (place / "records.jsonl").read_text(encoding="utf-8").splitlines()
        told = [Record(**json.loads(line)) for line in lines]
        content = (place / "content").open("rb")
    except (OSError, ValueError, TypeError):
        return  # somebody's own doing, as in `note`
    with content:
        is_edited = _id(note(settings, item).sha256, hashlib.file_digest(content, "sha256").hexdigest()) != item
        for record in told:
            content.seek(record.start)
            yield record, "" if is_edited else readable(content.read(min(record.length, SHOWN_BYTES)))


def drop(settings: Settings, item: str) -> None:
    """Delete an item for good. Raises UnknownQuarantineItem."""
    place = directory(settings) / note(settings, item).id
    # Renamed first: one step, so that a kill leaves no half item to be listed.
    gone = place.with_name(f"{_STAGING}dropped-{place.name}")
    place.rename(gone)
    shutil.rmtree(gone)
