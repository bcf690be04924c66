"""New references: what a test put out becomes what it is compared with from now on.

An okfile, as a test leaves one when it compares files, has a line `output reference` for each pair, the paths
relative to the okfile's directory; with a tab between them the names may hold spaces. `#` begins a comment line.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pdk_pipeline.errors import BadOkfile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Pair(NamedTuple):
    """An output, and the reference that it is to replace."""

    output: Path
    reference: Path
    """Where it really is: a link stays a link."""

    @property
    def what(self) -> str:
        """What replacing it means: `new`, `changed` or `same`."""
        if not self.reference.exists():
            return "new"
        return "same" if filecmp.cmp(self.output, self.reference, shallow=False) else "changed"


def read(okfile: Path) -> list[Pair]:
    """The pairs of an okfile, all of whose outputs are there. Raises BadOkfile with file and line."""
    try:
        text = okfile.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise BadOkfile(f"{okfile}: {error.strerror}") from None
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.strip().split("\t") if "\t" in line.strip() else line.split()
        if len(words) != 2:
            raise BadOkfile(f"{okfile}, line {number}: {line.strip()!r}", advice="A line is: output reference")
        output, reference = (Path(os.path.normpath(okfile.parent / word.strip())) for word in words)
        if not output.is_file():
            raise BadOkfile(f"{okfile}, line {number}: there is no output {output}")
        if reference.is_dir():
            raise BadOkfile(f"{okfile}, line {number}: the reference {reference} is a directory")
        pairs.append(Pair(output, reference.resolve()))
    return pairs


def checked(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs, each reference once. Raises BadOkfile when two outputs are to become the same reference."""
    by_reference: dict[Path, Pair] = {}
    for pair in pairs:
        other = by_reference.setdefault(pair.reference, pair)
        if other.output.resolve() != pair.output.resolve():
            raise BadOkfile(f"{other.output} and {pair.output} would both become {pair.reference}")
    return list(by_reference.values())


def accept(pairs: Sequence[Pair]) -> None:
    """Copy each output over its reference. Raises OSError.

    All copies are made beside their references first, and then put in their places: a full disk in the middle
    leaves all references as they were, and no reference is ever half of one.
    """
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(_copied(pair)) for pair in pairs]
        for copy, pair in zip(copies, pairs, strict=True):
            copy.replace(pair.reference)


@contextlib.contextmanager
def _copied(pair: Pair) -> Iterator[Path]:
    """A copy of the output beside the reference; what is still there at the end is removed."""
    pair.reference.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{pair.reference.name}.", dir=pair.reference.parent)
    copy = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, pair.output.open("rb") as output:
            shutil.copyfileobj(output, file)
            file.flush()
            os.fsync(file.fileno())
        # Who may read a reference stays as it was.
        shutil.copymode(pair.reference if pair.reference.exists() else pair.output, copy)
        yield copy
    finally:
        copy.unlink(missing_ok=True)
