"""Which results have been before: of those that are called alike an import keeps the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Seen:
    """The identities of results, each remembered by its hash alone: a million of them take about 100 MB."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def is_first(self, identity: Sequence[str], *, is_missing: bool = False) -> bool:
        """Whether no result of this identity has been before; from now on one has.

        `identity`: run, project, host, context, custom, name. `is_missing`: it gives way to the next one, so it is not
        remembered.
        """
        known = hash(tuple(identity))
        if known in self._hashes:
            return False
        if not is_missing:
            self._hashes.add(known)
        return True
