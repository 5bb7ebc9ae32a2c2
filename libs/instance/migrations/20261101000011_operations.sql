-- Durable units of work. A worker owns a running one by its lease; every save of a worker names id, lease_owner and state (fencing).
CREATE TABLE operations (
    id               uuid PRIMARY KEY,
    instance_id      uuid        NOT NULL REFERENCES instances (id),
    kind             text        NOT NULL CHECK (kind IN ('create', 'start', 'stop', 'restart', 'suspend', 'unsuspend', 'terminate', 'undelete',
                                 'purge', 'upgrade', 'apply_resources', 'backup', 'restore', 'move_database')),
    state            text        NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- Name of the step now; empty before the first and after the last.
    step             text        NOT NULL DEFAULT '',
    -- [{name, state, started_at, finished_at, attempts, detail}], all of them from the first moment.
    steps            jsonb       NOT NULL,
    progress         smallint    NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    attempts         integer     NOT NULL DEFAULT 0,
    lease_owner      text,
    lease_until      timestamptz,
    not_before       timestamptz NOT NULL DEFAULT now(),
    -- What a parked operation waits for; whoever learns the fact sets not_before to now.
    parked_for       text        CHECK (parked_for IN ('ready', 'gone', 'pool')),
    deadline         timestamptz NOT NULL,
    cancel_requested boolean     NOT NULL DEFAULT false,
    -- Where the instance stood before, for an operation that is taken back before it began.
    status_before    text,
    desired_before   text,
    error_reason     text,
    -- Safe for the customer.
    error_message    text,
    -- For operators only.
    internal_error   text,
    -- Customer id or service name.
    requested_by     text        NOT NULL,
    parameters       jsonb       NOT NULL DEFAULT '{}',
    request_id       text        NOT NULL DEFAULT '',
    trace            jsonb       NOT NULL DEFAULT '{}',
    -- Grows with each change that a reader can see; kept by a trigger.
    revision         bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,

    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
);

-- INS-20: one active operation an instance.
CREATE UNIQUE INDEX operations_active ON operations (instance_id) WHERE state IN ('queued', 'running');
CREATE INDEX operations_of_instance ON operations (instance_id, created_at DESC);
-- Claims.
CREATE INDEX operations_claimable ON operations (not_before) WHERE state IN ('queued', 'running');
-- A pre-empted operation keeps its lease until its worker has let go.
CREATE INDEX operations_leased ON operations (instance_id) WHERE lease_owner IS NOT NULL;

CREATE FUNCTION operations_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.state, NEW.step, NEW.steps, NEW.progress, NEW.attempts, NEW.deadline, NEW.cancel_requested, NEW.error_reason, NEW.error_message, NEW.finished_at)
        IS DISTINCT FROM
       (OLD.state, OLD.step, OLD.steps, OLD.progress, OLD.attempts, OLD.deadline, OLD.cancel_requested, OLD.error_reason, OLD.error_message, OLD.finished_at)
    THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER operations_count_revisions BEFORE UPDATE ON operations FOR EACH ROW EXECUTE FUNCTION operations_revise();

-- Wakes workers (new work, an ended wait, a released lease) and readers that follow an operation. Renewing a lease wakes nobody.
CREATE FUNCTION operations_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('operations', NEW.id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER operations_inserted AFTER INSERT ON operations FOR EACH ROW EXECUTE FUNCTION operations_notify();
CREATE TRIGGER operations_updated AFTER UPDATE ON operations FOR EACH ROW
    WHEN (OLD.revision IS DISTINCT FROM NEW.revision OR OLD.not_before IS DISTINCT FROM NEW.not_before OR OLD.lease_owner IS DISTINCT FROM NEW.lease_owner)
    EXECUTE FUNCTION operations_notify();
