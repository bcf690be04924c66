"""Which results are meant: patterns for the parts of their identity, and the SQL that finds them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_COLUMNS = {
    "projects": "test.project",
    "hosts": "environment.host",
    "contexts": "environment.context",
    "customs": "environment.custom",
    "tests": "test.name",
    "statuses": "result.status",
}


@dataclass(frozen=True)
class Selection:
    """Part of the results. Several patterns of one kind are an OR, the kinds together an AND; none selects all."""

    projects: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    customs: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, kinds: Mapping[str, Iterable[str]]) -> Selection:
        """From a task's argument."""
        return cls(**{kind: tuple(patterns) for kind, patterns in kinds.items()})

    def as_json(self) -> dict[str, Any]:
        """For a task's argument: the kinds that have patterns."""
        return {kind: list(patterns) for kind, patterns in asdict(self).items() if patterns}

    def condition(self) -> tuple[str, list[str]]:
        """A condition on the tables `result`, `test` and `environment`, and its values."""
        clauses = ["TRUE"]
        values: list[str] = []
        for kind, column in _COLUMNS.items():
            patterns: tuple[str, ...] = getattr(self, kind)
            if patterns:
                clauses.append(f"({' OR '.join(matches(column, pattern) for pattern in patterns)})")
                values.extend(glob(pattern) if is_pattern(pattern) else pattern for pattern in patterns)
        return " AND ".join(clauses), values


def is_pattern(text: str) -> bool:
    """Whether `text` stands for more than itself."""
    return any(wildcard in text for wildcard in "*?%")


def glob(pattern: str) -> str:
    """The SQLite GLOB of a pattern: `*`, `?`, and `%` as Pandokia takes it; brackets are letters, as in test[1]."""
    return pattern.replace("[", "[[]").replace("%", "*")


def matches(column: str, pattern: str) -> str:
    """The condition that `column` matches a pattern given as the next value."""
    return f"{column} GLOB ?" if is_pattern(pattern) else f"{column} = ?"  # only `=` can use an index
