-- What hangs on a certificate, so that ending one costs what hangs on it. An index over sealed records: whoever finds
-- something by it opens the record and decides on that. Public data. Times are milliseconds since 1970 (UTC).

-- Certificates on the paths of clients, by what revocation lists call them.
CREATE TABLE certificates (
    tenant     TEXT NOT NULL,
    thumbprint BLOB NOT NULL,
    issuer     BLOB NOT NULL, -- SHA-256 of the issuer's name, DER
    serial     BLOB NOT NULL, -- without leading zero octets
    PRIMARY KEY (tenant, thumbprint)
) STRICT, WITHOUT ROWID;
CREATE INDEX certificates_by_serial ON certificates (tenant, serial, issuer);

CREATE TABLE hanging (
    tenant      TEXT NOT NULL,
    certificate BLOB NOT NULL, -- its SHA-256
    client      BLOB NOT NULL,
    until       INTEGER,       -- a day after its last grant under it; none: as long as it is registered so
    PRIMARY KEY (tenant, certificate, client)
) STRICT, WITHOUT ROWID;
CREATE INDEX hanging_by_expiry ON hanging (until) WHERE until IS NOT NULL;

ALTER TABLE registrations ADD COLUMN reach BLOB;   -- digest of the authorities that `hangs` was made with; none: not made
ALTER TABLE registrations ADD COLUMN hangs BLOB;   -- SHA-256 of each certificate that its path may go through
ALTER TABLE registrations ADD COLUMN ends INTEGER; -- last second of its own certificate; never, once cancelled
CREATE INDEX registrations_by_reach ON registrations (tenant, reach, client);
CREATE INDEX registrations_by_end ON registrations (tenant, ends, client);
