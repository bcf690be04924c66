"""Names to ids: looked up together, made where they are new, remembered for the logs that follow."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import repeat
from typing import TYPE_CHECKING

from pdk_pipeline.database import next_id

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pdk_pipeline.database import Connection

MOST_BYTES = 8 << 20
"""So much is remembered at the most, about: what stands in logs may be without end, memory is not."""

NAME_BYTES = 100
"""What a name takes in memory beside its letters, about."""


class Names:
    """What a database calls the environments and tests that logs name. Whoever rolls back calls `forget`."""

    def __init__(self) -> None:
        self._as_of: tuple[Connection, int] | None = None
        self._environments: dict[tuple[str, str, str], int] = {}
        self._tests: defaultdict[str, dict[str, int]] = defaultdict(dict)  # by project and name
        self._bytes = 0

    def begin(self, db: Connection) -> None:
        """A transaction has begun. Nothing is remembered that another connection may have changed."""
        as_of = db, int(db.execute("PRAGMA data_version").fetchone()[0])
        if as_of != self._as_of:
            self.forget()
        self._as_of = as_of

    def forget(self) -> None:
        """What was looked up or made may be no longer so."""
        self._as_of = None
        self._environments.clear()
        self._tests.clear()
        self._bytes = 0

    def tidy(self) -> None:
        """Remember no more than there is memory for."""
        if self._bytes > MOST_BYTES:
            self.forget()

    def _count(self, names: Collection[str]) -> None:
        self._bytes += NAME_BYTES * len(names) + sum(map(len, names))

    def environment_id(self, db: Connection, environment: tuple[str, str, str]) -> int:
        """The id of an environment: host, context, custom."""
        known = self._environments.get(environment)
        if known is not None:
            return known
        row = db.execute(
            "SELECT id FROM environment WHERE host = ? AND context = ? AND custom = ?", environment
        ).fetchone()
        if row is None:
            row = db.execute(
                "INSERT INTO environment (host, context, custom) VALUES (?, ?, ?) RETURNING id", environment
            ).fetchone()
        self._count(environment)
        self._environments[environment] = row[0]
        return int(row[0])

    def test_ids(self, db: Connection, project: str, names: Sequence[str]) -> list[int]:
        """The id of each of a project's tests."""
        ids = self._tests[project]
        if unknown := set(names) - ids.keys():
            _learn(db, project, unknown, ids)
            self._count((project, *unknown))
        return list(map(ids.__getitem__, names))


def _learn(db: Connection, project: str, unknown: set[str], ids: dict[str, int]) -> None:
    """Find the ids of a project's tests, and make them for those that are new."""
    ids.update(
        db.execute(
            "SELECT name, id FROM test WHERE project = ? AND name IN (SELECT value FROM json_each(?))",
            (project, json.dumps(list(unknown))),
        )
    )
    new = sorted(unknown - ids.keys())
    new_ids = range(first := next_id(db, "test"), first + len(new))
    db.executemany(
        "INSERT INTO test (id, name, project) VALUES (?, ?, ?)", zip(new_ids, new, repeat(project), strict=False)
    )
    ids.update(zip(new, new_ids, strict=True))


def id_of_run(db: Connection, name: str, now: float) -> int:
    """The id of the run that is called so and is not deleted. `now`: when one that is new was first imported."""
    row = db.execute("SELECT id FROM run WHERE name = ? AND deleted_at IS NULL", (name,)).fetchone()
    if row is None:
        row = db.execute("INSERT INTO run (name, created_at) VALUES (?, ?) RETURNING id", (name, now)).fetchone()
    return int(row[0])
