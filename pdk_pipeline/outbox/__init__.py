"""The outbox: every message that people are sent, from the decision to what became of it.

A message is put here in the transaction that decides on it. A delivery begins with a lease and ends with a record;
both are writes, short, and what lies between them (the network) is none of the database's business:

    put → pending → lease → … attempt … → record → sent
             ↑                               │ → refused      for good, by the other side
             └── due again, after a pause ───┘ → given up     after days of trying

A lease that runs out counts as lost, and the message is due again under the same Message-ID.

What is promised: a message is put once, however often the task that puts it is run or killed. It is sent at least
once, always under the same Message-ID. It is sent again only when the sender dies (or the connection does) in the
moment between the server's taking it and our writing that down, which is the first thing done then (`delivery`).
"""

from pdk_pipeline.outbox.delivery import attempt, deliver_here, hand_out, record
from pdk_pipeline.outbox.listing import content, drop, entries, entry, newest, retry
from pdk_pipeline.outbox.put import forget, known, put
from pdk_pipeline.outbox.words import Entry, Known, Lease, Notice, Outcome, Result, State

__all__ = [
    "Entry",
    "Known",
    "Lease",
    "Notice",
    "Outcome",
    "Result",
    "State",
    "attempt",
    "content",
    "deliver_here",
    "drop",
    "entries",
    "entry",
    "forget",
    "hand_out",
    "known",
    "newest",
    "put",
    "record",
    "retry",
]
