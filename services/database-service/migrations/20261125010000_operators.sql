-- What operators order, see and did (DBS-02, DBS-05, DBS-12, DBS-20, DBS-21).

-- Result of the last good look at a server.
ALTER TABLE db_servers
    ADD COLUMN storage_used     bigint  NOT NULL DEFAULT 0 CHECK (storage_used >= 0),
    ADD COLUMN storage_free     bigint CHECK (storage_free >= 0),
    ADD COLUMN storage_total    bigint CHECK (storage_total > 0),
    ADD COLUMN connections      integer NOT NULL DEFAULT 0 CHECK (connections >= 0),
    ADD COLUMN max_connections  integer NOT NULL DEFAULT 0 CHECK (max_connections >= 0),
    ADD COLUMN check_latency_ms integer CHECK (check_latency_ms >= 0),
    -- A server that goes holds nobody.
    ADD CONSTRAINT db_servers_gone_is_empty CHECK (status NOT IN ('deprovisioning', 'deprovisioned') OR current_instances = 0);

-- DBS-16: the moves of `PoolStatus::after`, for whatever program writes. A test compares both.
CREATE FUNCTION pool_status_may_move(before text, after text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT before = after OR (before, after) IN (
        ('provisioning', 'initializing'),
        ('initializing', 'active'), ('initializing', 'full'),
        ('active', 'full'), ('full', 'active'),
        ('active', 'maintenance'), ('full', 'maintenance'), ('maintenance', 'active'), ('maintenance', 'full'),
        ('provisioning', 'error'), ('initializing', 'error'), ('active', 'error'), ('full', 'error'), ('maintenance', 'error'),
        ('error', 'active'), ('error', 'full'),
        ('active', 'deprovisioning'), ('error', 'deprovisioning'),
        ('deprovisioning', 'deprovisioned'))
$$;
CREATE FUNCTION pool_status_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pool_status_may_move(OLD.status, NEW.status) THEN
        RAISE EXCEPTION 'a pool does not move from % to %', OLD.status, NEW.status USING ERRCODE = 'check_violation', CONSTRAINT = 'db_servers_status_moves';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER db_servers_status_moves BEFORE UPDATE OF status ON db_servers
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION pool_status_guard();

-- Work that an operator or the schedule began, with its result: the history of DBS-21. Tasks that make a server end with the server's own
-- state and are not written again.
CREATE TABLE tasks (
    id           uuid PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    state        text        NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    -- schedule, or the user or service that asked.
    requested_by text        NOT NULL,
    -- `Idempotency-Key` of the caller.
    request_key  text,
    db_server_id uuid REFERENCES db_servers (id),
    input        jsonb       NOT NULL DEFAULT '{}',
    result       jsonb,
    error        text        NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT now(),
    started_at   timestamptz,
    finished_at  timestamptz
);
CREATE UNIQUE INDEX tasks_once_per_key ON tasks (requested_by, request_key) WHERE request_key IS NOT NULL;
CREATE INDEX tasks_queued ON tasks (created_at) WHERE state IN ('queued', 'running');
CREATE INDEX tasks_history ON tasks (kind, created_at DESC);
CREATE INDEX tasks_of_server ON tasks (db_server_id) WHERE db_server_id IS NOT NULL;

-- Who changed what, and why; in the transaction of the change.
CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    -- User id or service name.
    actor      text        NOT NULL,
    role       text        NOT NULL,
    action     text        NOT NULL,
    -- Name of a pool, id of an instance, or kind of a task.
    target     text        NOT NULL,
    reason     text        NOT NULL,
    request_id text        NOT NULL DEFAULT '',
    client_ip  text        NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_of_target ON audit_log (target, at DESC);
