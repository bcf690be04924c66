-- The ledger of the nightly workflow: what ran, when, how it ended. What happened last night can be asked here after
-- Flower and the broker have forgotten it, and a night that was cut off goes on from here.

CREATE TABLE night_class (                                          -- classes of nights that have been seen
    name TEXT PRIMARY KEY,                                          -- e.g. daily
    since REAL NOT NULL                                             -- nights due before this are not made up for
) STRICT, WITHOUT ROWID;

CREATE TABLE night (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    class TEXT NOT NULL,
    run_name TEXT NOT NULL,
    reason TEXT NOT NULL,                                           -- why it started when it did
    started_at REAL NOT NULL,                                       -- seconds since 1970, UTC
    ended_at REAL,                                                  -- NULL: it is under way
    told_until REAL,                                                -- imports up to then have been reported
    UNIQUE (class, run_name)                                        -- started twice, it is joined
) STRICT;

CREATE TABLE step (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    night_id INTEGER NOT NULL REFERENCES night,
    position INTEGER NOT NULL,                                      -- steps go in this order
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'left out')),
    attempts INTEGER NOT NULL DEFAULT 0,
    token TEXT,                                                     -- of the one that may work on it …
    lease_until REAL,                                               -- … until then; afterwards it is taken for lost
    due_at REAL,                                                    -- not to be tried again before
    started_at REAL,
    taken_at REAL,                                                  -- when the one that works on it began
    ended_at REAL,
    outcome TEXT,                                                   -- JSON: what it did
    error TEXT,                                                     -- why it failed, or why it is tried again
    UNIQUE (night_id, name)
) STRICT;

CREATE TABLE night_log (                                            -- logs that a night has to import
    night_id INTEGER NOT NULL REFERENCES night,
    claim TEXT NOT NULL,                                            -- see the spool
    name TEXT NOT NULL,
    PRIMARY KEY (night_id, claim)
) STRICT, WITHOUT ROWID;
