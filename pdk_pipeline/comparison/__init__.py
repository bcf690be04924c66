"""What changed between two runs: which tests broke, were fixed, are missing, and which hosts fell silent.

Reads, never writes, and knows nothing of readers or of how it is told (`pdk_pipeline.report`).
"""

from pdk_pipeline.comparison.changes import (
    Category,
    Cause,
    CauseKind,
    Change,
    Comparison,
    Environment,
    Key,
    Members,
    Night,
)
from pdk_pipeline.comparison.compare import compare, previous

__all__ = [
    "Category",
    "Cause",
    "CauseKind",
    "Change",
    "Comparison",
    "Environment",
    "Key",
    "Members",
    "Night",
    "compare",
    "previous",
]
