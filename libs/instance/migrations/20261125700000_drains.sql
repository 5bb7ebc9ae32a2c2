-- Pools that are being emptied (DBS-33): a wish that stays until nothing is left to move, so that it goes on after whatever dies. The operations of a
-- drain carry its id in `parameters`.
CREATE TABLE drains (
    id           uuid PRIMARY KEY,
    pool_id      uuid        NOT NULL,
    -- Tenants of a dedicated server get another one of their own.
    dedicated    boolean     NOT NULL,
    parallel     integer     NOT NULL CHECK (parallel BETWEEN 1 AND 50),
    state        text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'stopped')),
    reason       text        NOT NULL,
    -- User id or service name.
    requested_by text        NOT NULL,
    request_id   text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    CHECK ((state = 'open') = (ended_at IS NULL))
);
CREATE UNIQUE INDEX drains_one_at_a_time ON drains (pool_id) WHERE state = 'open';
CREATE INDEX drains_of_pool ON drains (pool_id, created_at DESC);
CREATE INDEX operations_of_drain ON operations ((parameters ->> 'drain')) WHERE parameters ? 'drain';
CREATE INDEX instances_on_server ON instances (db_server_id) WHERE status NOT IN ('terminated', 'purged');
