-- The first schema. The tenant is part of every key; `sealed` is AES-256-GCM under a key derived
-- for the row from the vault's record key `key_id`. Times are milliseconds since 1970 (UTC).

CREATE TABLE outbox (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, also after the row has gone
    tenant TEXT    NOT NULL,
    key_id INTEGER NOT NULL,
    sealed BLOB    NOT NULL
) STRICT;

-- One sealed empty record per tenant: tells a vault that belongs to another store.
CREATE TABLE key_checks (
    tenant TEXT    PRIMARY KEY NOT NULL,
    key_id INTEGER NOT NULL,
    sealed BLOB    NOT NULL
) STRICT;

CREATE TABLE registrations (
    tenant    TEXT    NOT NULL,
    client    BLOB    NOT NULL,
    community TEXT    NOT NULL,
    uri       TEXT    NOT NULL,
    key_id    INTEGER NOT NULL,
    sealed    BLOB    NOT NULL,
    PRIMARY KEY (tenant, client),
    UNIQUE (tenant, community, uri)
) STRICT;

CREATE TABLE grants (
    tenant  TEXT    NOT NULL,
    id      BLOB    NOT NULL,
    client  BLOB    NOT NULL,
    expires INTEGER NOT NULL,
    key_id  INTEGER NOT NULL,
    sealed  BLOB    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX grants_by_client ON grants (tenant, client, expires);
CREATE INDEX grants_by_expiry ON grants (expires);

CREATE TABLE epochs (
    tenant  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    epoch   INTEGER NOT NULL,
    bumped  INTEGER NOT NULL,
    PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE replays (
    tenant TEXT    NOT NULL,
    key    BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_expiry ON replays (until);

CREATE TABLE rosters (
    tenant       TEXT    NOT NULL,
    organization TEXT    NOT NULL,
    imported     INTEGER NOT NULL,
    key_id       INTEGER NOT NULL,
    sealed       BLOB    NOT NULL,
    PRIMARY KEY (tenant, organization)
) STRICT;

CREATE TABLE incidents (
    tenant TEXT    NOT NULL,
    id     BLOB    NOT NULL,
    opened INTEGER NOT NULL,
    status TEXT    NOT NULL,
    key_id INTEGER NOT NULL,
    sealed BLOB    NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX incidents_by_time ON incidents (tenant, opened);
