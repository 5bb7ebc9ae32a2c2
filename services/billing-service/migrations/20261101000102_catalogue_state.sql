-- Digest of the catalogue file that was applied last: a start with the same file writes nothing.
CREATE TABLE catalogue_state (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    digest     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
