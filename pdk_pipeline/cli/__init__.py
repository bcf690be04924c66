"""The command line: one file per noun. A command parses, hands over and prints; what it does is done elsewhere."""

from __future__ import annotations

import atexit
import gc
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


NEW_OBJECTS = 50_000
"""After so many Python looks for garbage. Of itself it does so every 700, and to load modules takes a tenth longer."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The script `pdk`: run a command, tell errors in one line, exit 0, 1 (our error) or 2 (usage)."""
    gc.set_threshold(NEW_OBJECTS)
    atexit.register(gc.freeze)  # nothing is garbage to look for in what ends: 40 ms
    try:
        from pdk_pipeline.cli.commands import run_command
    except KeyboardInterrupt:  # while it is being loaded
        sys.exit(130)
    sys.exit(run_command(sys.argv[1:] if arguments is None else list(arguments)))
