-- Clients that get no tokens until an operator releases them, by what their certificates prove of them:
-- a client id can be had anew. `sealed` is AES-256-GCM under a key derived for the row.

CREATE TABLE holds (
    tenant    TEXT    NOT NULL,
    community TEXT    NOT NULL,
    uri       TEXT    NOT NULL,
    key_id    INTEGER NOT NULL,
    sealed    BLOB    NOT NULL,
    PRIMARY KEY (tenant, community, uri)
) STRICT;
