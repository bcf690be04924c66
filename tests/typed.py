"""Typing a command, and what is seen of it."""

from __future__ import annotations

import io
import json
import sys
from typing import Any, NamedTuple

import pytest

from pdk_pipeline import cli, config
from pdk_pipeline.config import Settings
from workers.app import app


class Seen(NamedTuple):
    """What a command left on the screen."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What a program reads of it."""
        return json.loads(self.out)


class Terminal:
    """Type commands in this process: `pdk("import", path)`. The work is done here too, whatever is running."""

    def __init__(self, home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.capsys = capsys
        self.monkeypatch = monkeypatch
        app.loader.import_default_modules()

    def __call__(self, *arguments: object, given: str | bytes = b"") -> Seen:
        """`given`: what stands on standard input."""
        text = given.encode() if isinstance(given, str) else given
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        config.settings.cache_clear()
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(argument) for argument in arguments])
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        return Seen(int(left.value.code or 0), captured.out, captured.err)
