-- Operators, the code that makes the first one, and acts that wait for a second person. `sealed` is
-- AES-256-GCM under a key derived for the row. Times are milliseconds since 1970 (UTC).

CREATE TABLE operators (
    tenant TEXT    NOT NULL,
    id     BLOB    NOT NULL,
    name   TEXT    NOT NULL, -- Ward's own name, as it stands in the log
    key_id INTEGER NOT NULL,
    sealed BLOB    NOT NULL, -- role and hash of the key
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT;

-- The code itself is kept nowhere. One a tenant, and only while there is no operator.
CREATE TABLE bootstrap_codes (
    tenant  TEXT    PRIMARY KEY NOT NULL,
    hash    BLOB    NOT NULL, -- SHA-256 of at least 80 random bits
    expires INTEGER NOT NULL
) STRICT;

CREATE TABLE approvals (
    tenant  TEXT    NOT NULL,
    id      BLOB    NOT NULL,
    expires INTEGER NOT NULL,
    key_id  INTEGER NOT NULL,
    sealed  BLOB    NOT NULL, -- what is asked for and by whom
    PRIMARY KEY (tenant, id)
) STRICT;

-- Whether the store takes writes is asked by writing here.
CREATE TABLE probes (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
