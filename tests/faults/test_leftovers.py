"""What a killed process leaves half made goes after a week, and nothing else does."""

from __future__ import annotations

import os
import time
import warnings

from pdk_pipeline.config import Settings
from pdk_pipeline.intake import spool
from tests.integration import mortal


def test_half_a_log_of_a_killed_intake_goes_and_what_others_are_writing_stays(home: Settings):
    # Given an intake that was killed when it had half a log on the disk, and a machine that copies one
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests stay here
        killed = os.fork()
    if not killed:
        mortal.arm("before os.fsync")
        try:
            spool.receive(home, "log.0123456789ab", b"half")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) < 0
    incoming = home.spool / "incoming"
    (left,) = incoming.iterdir()
    others = incoming / ".banana.daily.Xq3b2k"
    others.write_bytes(b"a machine's own")
    # When a sweep comes soon, nothing is touched; when it comes in a week, our half is gone
    spool.collect(home)
    assert left.exists()
    long_ago = time.time() - spool.LEFTOVER_SECONDS - 1
    for path in (left, others):
        os.utime(path, (long_ago, long_ago))
    assert spool.collect(home).claims == []
    assert list(incoming.iterdir()) == [others]
