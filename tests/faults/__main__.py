"""Nights under faults, and what they come to, from the command line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.faults.trial import Trial


def main() -> int:
    """Returns the exit status: 1 when the disturbed nights came to something else than the undisturbed ones."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Nights under faults.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=300, help="nights go on until so many have been injected")
    parser.add_argument("--pause", type=float, default=0.6, help="seconds between two faults, on the average")
    parser.add_argument("--keep", type=Path, help="work in this directory, and leave it there")
    wanted = parser.parse_args()
    trial = Trial(wanted.seed, wanted.faults, pause=wanted.pause, tell=_tell)
    return 1 if trial.run(wanted.keep) else 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
