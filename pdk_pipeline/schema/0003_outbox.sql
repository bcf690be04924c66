-- What people are told, and what became of it.

CREATE TABLE notification (                                         -- one message to one recipient
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,                                              -- its name: imported again it is the same to a reader
    recipient TEXT NOT NULL,                                        -- a mail address, or a service's URL
    channel TEXT NOT NULL,                                          -- smtp, eml, apprise
    kind TEXT NOT NULL CHECK (kind IN ('report', 'addendum')),
    digest TEXT NOT NULL,                                           -- of the content, and of what was told before
    message_id TEXT NOT NULL UNIQUE,                                -- the same at every attempt
    answers TEXT NOT NULL,                                          -- message_id of the report that it adds to, or ''
    subject TEXT NOT NULL,
    lines INTEGER NOT NULL,                                         -- how many tests and places it lists
    content BLOB NOT NULL,                                          -- zstd, JSON: text and HTML
    told BLOB NOT NULL,                                             -- zstd, JSON: what the reader knows then
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'refused', 'given up', 'dropped')),
    detail TEXT NOT NULL DEFAULT '',                                -- what was said at the last attempt
    attempts INTEGER NOT NULL DEFAULT 0,                            -- begun
    lease TEXT,                                                     -- token of the delivery under way; NULL: none is
    lease_until REAL,                                               -- from then on it counts as lost
    is_held_up INTEGER NOT NULL DEFAULT 0,                          -- 1: the channel was down, the message is not to blame
    created_at REAL NOT NULL,                                       -- seconds since 1970, UTC; so are those below
    due_at REAL NOT NULL,                                           -- not before
    give_up_at REAL NOT NULL,                                       -- a failure after that is the last
    closed_at REAL,                                                 -- when it was no longer pending
    UNIQUE (run, recipient, channel, digest)
) STRICT;

CREATE INDEX notification_pending ON notification (due_at) WHERE state = 'pending';
