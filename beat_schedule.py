"""When the periodic tasks start: data only. Tasks are named by string; a test asserts that each is registered."""

from typing import Any

SCHEDULE: dict[str, dict[str, Any]] = {}
