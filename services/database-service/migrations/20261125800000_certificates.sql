-- TLS of the tenants' servers (DBS-35): private authorities, and the certificate that each server shall serve. Keys are encrypted as passwords are.
CREATE TABLE authorities (
    id          uuid PRIMARY KEY,
    -- PEM. Trusted until it ends, also after a younger one signs.
    certificate text        NOT NULL,
    key_id      text        NOT NULL CHECK (key_id <> ''),
    sealed      bytea       NOT NULL CHECK (length(sealed) > 28),
    not_before  timestamptz NOT NULL,
    not_after   timestamptz NOT NULL CHECK (not_after > not_before)
);

CREATE TABLE server_certificates (
    db_server_id uuid PRIMARY KEY REFERENCES db_servers (id) ON DELETE CASCADE,
    authority_id uuid        NOT NULL REFERENCES authorities (id),
    -- PEM.
    certificate  text        NOT NULL,
    key_id       text        NOT NULL CHECK (key_id <> ''),
    sealed       bytea       NOT NULL CHECK (length(sealed) > 28),
    -- SHA-256 of the certificate; tells the worker that it changed.
    fingerprint  text        NOT NULL CHECK (length(fingerprint) = 64),
    not_after    timestamptz NOT NULL,
    -- What the server was last seen to serve, and when it was looked at.
    served       text        NOT NULL DEFAULT '',
    seen_at      timestamptz,
    -- Connections of the platform insist on TLS. False only for a server from before it, until it is seen to serve it.
    enforced     boolean     NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
