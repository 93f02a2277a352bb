-- Certificates by which clients were let in, other than those that they registered with: a renewed certificate and the
-- issuers of its path, `place` 0 being the client's own. Public data. Gone a day after the last grant under them ended.

CREATE TABLE presented (
    tenant TEXT    NOT NULL,
    leaf   BLOB    NOT NULL, -- SHA-256 of the client's own
    place  INTEGER NOT NULL,
    der    BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (tenant, leaf, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX presented_by_expiry ON presented (until);
