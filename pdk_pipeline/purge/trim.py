"""The logs of passing results taken out of their blocks; the results stay, and so do the logs of all others.

A block keeps its id. Those of a run up to `run.trimmed_to` have been seen to; one that an import adds later has a
higher id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdk_pipeline.database import unpack
from pdk_pipeline.intake.reading import pack
from pdk_pipeline.results import Status

if TYPE_CHECKING:
    from pdk_pipeline.database import Connection
    from pdk_pipeline.purge.steps import Step, Time


def is_needed(db: Connection, run_id: int) -> bool:
    """Whether a run may hold logs of passing results."""
    row = db.execute(
        "SELECT 1 FROM run JOIN log_block ON log_block.run_id = run.id AND log_block.id > run.trimmed_to "
        "WHERE run.id = ? LIMIT 1",
        (run_id,),
    ).fetchone()
    return row is not None


def has_begun(db: Connection, run_id: int) -> bool:
    """Whether logs of a run's passing results have been taken out."""
    return bool(db.execute("SELECT trimmed_to > 0 FROM run WHERE id = ?", (run_id,)).fetchone()[0])


def trim(db: Connection, run_id: int, step: Step, time: Time) -> bool:
    """Take the logs of passing results out of more blocks, while there is time. Returns whether all are done."""
    while True:
        row = db.execute(
            """
            SELECT log_block.id, log_block.data
            FROM run JOIN log_block ON log_block.run_id = run.id AND log_block.id > run.trimmed_to
            WHERE run.id = ? ORDER BY log_block.id LIMIT 1
            """,
            (run_id,),
        ).fetchone()
        if row is None:
            return True
        block_id, data = row
        step.removed["logs"] += _trim_block(db, block_id, data, step)
        db.execute("UPDATE run SET trimmed_to = ? WHERE id = ?", (block_id, run_id))
        if not time.is_left:
            return False


def _trim_block(db: Connection, block_id: int, data: bytes, step: Step) -> int:
    kept = db.execute(
        "SELECT id, log_start, log_length FROM result WHERE log_block_id = ? AND status <> ? ORDER BY log_start",
        (block_id, Status.PASS),
    ).fetchall()
    removed = db.execute(
        """
        UPDATE result SET log_block_id = NULL, log_start = NULL, log_length = NULL
        WHERE log_block_id = ? AND status = ?
        """,
        (block_id, Status.PASS),
    ).rowcount
    if not kept:
        db.execute("DELETE FROM log_block WHERE id = ?", (block_id,))
        step.removed["bytes"] += len(data)
    elif removed:
        unpacked = unpack(data)
        places, logs, end = [], [], 0
        for result_id, start, length in kept:
            places.append((end, result_id))
            logs.append(unpacked[start : start + length])
            end += length
        packed = pack(logs)
        db.executemany("UPDATE result SET log_start = ? WHERE id = ?", places)
        db.execute("UPDATE log_block SET data = ? WHERE id = ?", (packed, block_id))
        step.removed["bytes"] += len(data) - len(packed)
    return removed
