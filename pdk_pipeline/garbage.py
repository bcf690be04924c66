"""When Python looks for garbage: seldom. What we make by the million has no circles, and goes when it is let go."""

from __future__ import annotations

import gc

NEW_OBJECTS = 50_000
"""After so many it looks. Of itself it does so every 700: loading modules takes a tenth longer then, and an import in
a worker, with all of Celery to look through, a third."""


def seldom() -> None:
    """Look for it seldom from now on."""
    gc.set_threshold(NEW_OBJECTS)
