-- Account closures in work (USR-20): instances are terminated by calls that are repeated until they succeed; then, after a time, the person is erased.
CREATE TABLE closures (
    user_id       uuid PRIMARY KEY REFERENCES users (id),
    created_at    timestamptz NOT NULL,
    erase_after   timestamptz NOT NULL,
    terminated_at timestamptz,
    erased_at     timestamptz,
    attempts      integer     NOT NULL DEFAULT 0,
    next_try      timestamptz NOT NULL,
    CHECK (erased_at IS NULL OR terminated_at IS NOT NULL)
);
CREATE INDEX closures_to_terminate ON closures (next_try) WHERE terminated_at IS NULL;
CREATE INDEX closures_to_erase ON closures (erase_after) WHERE terminated_at IS NOT NULL AND erased_at IS NULL;
