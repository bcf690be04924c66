"""What the machine that runs the tests can and cannot do."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest


def _permissions_count() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0)
        return not os.access(file.name, os.R_OK)


needs_permissions = pytest.mark.skipif(not _permissions_count(), reason="the superuser may read and write everything")
