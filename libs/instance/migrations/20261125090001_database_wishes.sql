-- A plan wants the database on a server of another type (BIL-21, DBS-33). The move is begun when nothing else happens to the instance; one that
-- failed is begun again after a rest. The row goes when the database is there, or when an operator decides on the place by hand.
CREATE TABLE database_wishes (
    instance_id uuid PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    db_type     text        NOT NULL CHECK (db_type IN ('shared', 'dedicated')),
    db_tier     text        NOT NULL CHECK (db_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    attempts    integer     NOT NULL DEFAULT 0,
    not_before  timestamptz NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX database_wishes_due ON database_wishes (not_before);
