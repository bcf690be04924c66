"""The Celery side: queues, the app, one thin task per operation, and the processes of `pdk up`. No domain logic."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery


def __getattr__(name: str) -> Celery:
    """`celery -A workers` looks for `celery` here; whoever imports one module of this package loads no more."""
    if name == "celery":
        from workers.app import app  # noqa: PLC0415

        return app
    raise AttributeError(name)
