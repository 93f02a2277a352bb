-- What the log is known to hold, so that one that was deleted or put back to an earlier state is noticed.

CREATE TABLE outbox_mark (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    drained INTEGER NOT NULL -- highest place that was reported to be in the log
) STRICT;

CREATE TABLE log_trees (
    origin TEXT    PRIMARY KEY NOT NULL, -- the log of one node
    size   INTEGER NOT NULL,             -- entries of the newest signed tree that was reported
    root   BLOB    NOT NULL
) STRICT;
