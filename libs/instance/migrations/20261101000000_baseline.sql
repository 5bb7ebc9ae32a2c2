-- The database `instance` of instance-service and instance-worker: what customers have, the work on it, and
-- what was seen of it.

-- What a customer has, what is wanted of it and what was last seen of it. The words mirror the enums of the
-- domain.
CREATE TABLE instances (
    id                     uuid PRIMARY KEY,
    customer_id            uuid        NOT NULL,
    subscription_id        uuid,
    plan                   text        NOT NULL,
    plan_tier              text        NOT NULL
                           CHECK (plan_tier IN ('basic', 'standard', 'premium', 'enterprise')),
    -- The tier of the database that database-service is asked for.
    db_tier                text        NOT NULL
                           CHECK (db_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    -- Display text only: it is never part of an object's name or label.
    name                   text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    description            text        NOT NULL DEFAULT '' CHECK (char_length(description) <= 500),
    odoo_version           text        NOT NULL,
    instance_type          text        NOT NULL DEFAULT 'production'
                           CHECK (instance_type IN ('development', 'staging', 'production')),

    status                 text        NOT NULL
                           CHECK (status IN ('pending_payment', 'creating', 'starting', 'running', 'stopping',
                                             'stopped', 'restarting', 'updating', 'maintenance', 'suspended',
                                             'error', 'terminating', 'terminated', 'purged')),
    desired_state          text        NOT NULL
                           CHECK (desired_state IN ('running', 'stopped', 'suspended', 'terminated')),
    -- Where the end of a suspension leads back to.
    desired_before_suspend text        CHECK (desired_before_suspend IN ('running', 'stopped')),
    -- Why it is suspended: each hold is set and taken away by its own side; it runs again when none is left.
    billing_hold           boolean     NOT NULL DEFAULT false,
    operator_hold          boolean     NOT NULL DEFAULT false,
    suspended_reason       text,
    billing_status         text        NOT NULL DEFAULT 'none'
                           CHECK (billing_status IN ('none', 'trial', 'paid', 'payment_required', 'closed')),
    provisioning_status    text        NOT NULL DEFAULT 'pending'
                           CHECK (provisioning_status IN ('pending', 'provisioning', 'completed', 'failed')),

    -- It grows when the wanted objects change, and is equal to observed_generation once they are applied.
    generation             bigint      NOT NULL DEFAULT 1,
    observed_generation    bigint      NOT NULL DEFAULT 0,
    observed_phase         text        NOT NULL DEFAULT 'not_found'
                           CHECK (observed_phase IN ('pending', 'running', 'failed', 'not_found')),
    observed_ready         boolean     NOT NULL DEFAULT false,
    observed_restarts      integer     NOT NULL DEFAULT 0,
    observed_reason        text        NOT NULL DEFAULT '',
    observed_node          text        NOT NULL DEFAULT '',
    observed_pod_ip        text        NOT NULL DEFAULT '',
    observed_started_at    timestamptz,
    observed_at            timestamptz,

    cpu_millis             integer     NOT NULL CHECK (cpu_millis BETWEEN 100 AND 8000),
    memory_mib             bigint      NOT NULL CHECK (memory_mib BETWEEN 512 AND 32768),
    storage_mib            bigint      NOT NULL CHECK (storage_mib BETWEEN 1024 AND 512000),

    subdomain              text        NOT NULL CHECK (subdomain ~ '^[a-z0-9][a-z0-9-]{1,48}[a-z0-9]$'),
    admin_email            text        NOT NULL,
    demo_data              boolean     NOT NULL DEFAULT false,
    -- The client's label (INS-11); the real name is db_name.
    display_database_name  text        NOT NULL DEFAULT '',
    db_type                text        NOT NULL DEFAULT 'shared' CHECK (db_type IN ('shared', 'dedicated')),
    -- The place of the database is known once the allocation is made.
    db_name                text,
    db_host                text,
    db_port                integer,
    db_server_id           uuid,
    deployment_name        text        NOT NULL,
    service_name           text        NOT NULL,
    internal_url           text        NOT NULL,
    external_url           text        NOT NULL,

    error_reason           text,
    error_message          text,
    error_at               timestamptz,
    -- The value of the pod template's annotation saasodoo.io/restarted-at.
    restarted_at           timestamptz,
    purge_after            timestamptz,
    last_health_check      timestamptz,
    labels                 jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    credentials_until      timestamptz NOT NULL,
    credentials_revealed_at timestamptz,

    -- Optimistic lock: a decision names the version that it was made on, and adds one. Notes of what was seen
    -- (observed_*, last_health_check) leave it alone.
    version                bigint      NOT NULL DEFAULT 1,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    started_at             timestamptz,

    CHECK (status NOT IN ('terminated', 'purged') OR purge_after IS NOT NULL)
);
-- A host name has one owner until the purge (INS-07, INS-10).
CREATE UNIQUE INDEX instances_subdomain ON instances (subdomain) WHERE status <> 'purged';
-- A subscription has one living instance (INS-42).
CREATE UNIQUE INDEX instances_subscription ON instances (subscription_id)
    WHERE status NOT IN ('terminated', 'purged');
CREATE INDEX instances_customer ON instances (customer_id, created_at);
CREATE INDEX instances_status ON instances (status, created_at);
CREATE INDEX instances_purge ON instances (purge_after) WHERE status = 'terminated';
-- It finds suspensions that still wait for their operation.
CREATE INDEX instances_billing_hold ON instances (id) WHERE billing_hold;
-- It finds the tenants of a server that is being emptied.
CREATE INDEX instances_on_server ON instances (db_server_id) WHERE status NOT IN ('terminated', 'purged');

-- Wakes the worker when the wanted objects changed.
CREATE FUNCTION instances_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('instances', NEW.id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER instances_wake_worker AFTER UPDATE ON instances FOR EACH ROW
    WHEN (OLD.generation IS DISTINCT FROM NEW.generation) EXECUTE FUNCTION instances_notify();

-- Durable units of work. A worker owns a running one by its lease; every save of a worker names id,
-- lease_owner and state (fencing).
CREATE TABLE operations (
    id               uuid PRIMARY KEY,
    instance_id      uuid        NOT NULL REFERENCES instances (id),
    kind             text        NOT NULL
                     CHECK (kind IN ('create', 'start', 'stop', 'restart', 'suspend', 'unsuspend',
                                     'terminate', 'undelete', 'purge', 'upgrade', 'apply_resources',
                                     'backup', 'restore', 'move_database', 'rotate_password')),
    state            text        NOT NULL DEFAULT 'queued'
                     CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    -- The name of the present step; empty before the first and after the last.
    step             text        NOT NULL DEFAULT '',
    -- [{name, state, started_at, finished_at, attempts, detail}], all of them from the first moment.
    steps            jsonb       NOT NULL,
    progress         smallint    NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    attempts         integer     NOT NULL DEFAULT 0,
    lease_owner      text,
    lease_until      timestamptz,
    not_before       timestamptz NOT NULL DEFAULT now(),
    -- What a parked operation waits for; whoever learns the fact sets not_before to now. A move of a database
    -- waits for the job that copies it.
    parked_for       text        CHECK (parked_for IN ('ready', 'gone', 'pool', 'job')),
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
    -- It grows with each change that a reader can see; a trigger keeps it.
    revision         bigint      NOT NULL DEFAULT 1,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,

    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
);
-- An instance has one active operation (INS-20).
CREATE UNIQUE INDEX operations_active ON operations (instance_id) WHERE state IN ('queued', 'running');
CREATE INDEX operations_of_instance ON operations (instance_id, created_at DESC);
-- The workers' question: what can be claimed?
CREATE INDEX operations_claimable ON operations (not_before) WHERE state IN ('queued', 'running');
-- A pre-empted operation keeps its lease until its worker has let go.
CREATE INDEX operations_leased ON operations (instance_id) WHERE lease_owner IS NOT NULL;
-- The operations of a drain carry its id.
CREATE INDEX operations_of_drain ON operations ((parameters ->> 'drain')) WHERE parameters ? 'drain';

CREATE FUNCTION operations_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.state, NEW.step, NEW.steps, NEW.progress, NEW.attempts, NEW.deadline, NEW.cancel_requested,
        NEW.error_reason, NEW.error_message, NEW.finished_at)
        IS DISTINCT FROM
       (OLD.state, OLD.step, OLD.steps, OLD.progress, OLD.attempts, OLD.deadline, OLD.cancel_requested,
        OLD.error_reason, OLD.error_message, OLD.finished_at)
    THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER operations_count_revisions BEFORE UPDATE ON operations
    FOR EACH ROW EXECUTE FUNCTION operations_revise();

-- Wakes workers (new work, an ended wait, a released lease) and readers that follow an operation. Renewing a
-- lease wakes nobody.
CREATE FUNCTION operations_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('operations', NEW.id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER operations_inserted AFTER INSERT ON operations
    FOR EACH ROW EXECUTE FUNCTION operations_notify();
CREATE TRIGGER operations_updated AFTER UPDATE ON operations
    FOR EACH ROW WHEN (OLD.revision IS DISTINCT FROM NEW.revision
                       OR OLD.not_before IS DISTINCT FROM NEW.not_before
                       OR OLD.lease_owner IS DISTINCT FROM NEW.lease_owner)
    EXECUTE FUNCTION operations_notify();

-- The timeline that the owner reads (INS-34). Its texts are safe; which of the operators did something stands
-- in audit_log.
CREATE TABLE instance_events (
    id           uuid PRIMARY KEY,
    instance_id  uuid        NOT NULL REFERENCES instances (id),
    at           timestamptz NOT NULL DEFAULT now(),
    -- Such as status_changed, operation_requested, restarted, oom_killed.
    type         text        NOT NULL,
    cause        text        NOT NULL CHECK (cause IN ('platform', 'tenant', 'customer', 'billing')),
    message      text        NOT NULL,
    operation_id uuid
);
CREATE INDEX instance_events_of_instance ON instance_events (instance_id, at DESC, id DESC);

-- What operators and services did, and why; written in the transaction of the action (SEC-17).
CREATE TABLE audit_log (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    -- User id or service name.
    actor       text        NOT NULL,
    role        text        NOT NULL,
    action      text        NOT NULL,
    instance_id uuid,
    reason      text        NOT NULL,
    request_id  text        NOT NULL DEFAULT '',
    client_ip   text        NOT NULL DEFAULT '',
    details     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_of_instance ON audit_log (instance_id, at DESC);

-- Answers of creates that carried an Idempotency-Key (INS-12).
CREATE TABLE idempotency_keys (
    customer_id  uuid        NOT NULL,
    key          text        NOT NULL CHECK (char_length(key) <= 200),
    request_hash bytea       NOT NULL,
    instance_id  uuid        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    PRIMARY KEY (customer_id, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- A plan wants the database on a server of another type (BIL-21, DBS-33). The move is begun when nothing else
-- happens to the instance; one that failed is begun again after a rest. The row goes when the database is
-- there, or when an operator decides on the place by hand.
CREATE TABLE database_wishes (
    instance_id uuid PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    db_type     text        NOT NULL CHECK (db_type IN ('shared', 'dedicated')),
    db_tier     text        NOT NULL CHECK (db_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    attempts    integer     NOT NULL DEFAULT 0,
    not_before  timestamptz NOT NULL,
    created_at  timestamptz NOT NULL
);
CREATE INDEX database_wishes_due ON database_wishes (not_before);

-- Pools that are being emptied (DBS-33): a wish that stays until nothing is left to move, so that it goes on
-- after whatever dies. The operations of a drain carry its id in `parameters`.
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

-- A copy of database-service's servers, without secrets, to be read only (DBS-36). An older fact never
-- overwrites a newer one: `version` tells them apart.
CREATE TABLE db_servers (
    id                    uuid PRIMARY KEY,
    name                  text        NOT NULL,
    server_type           text        NOT NULL,
    status                text        NOT NULL,
    health_status         text        NOT NULL,
    host                  text        NOT NULL,
    port                  integer     NOT NULL,
    admin_user            text        NOT NULL,
    current_instances     integer     NOT NULL,
    max_instances         integer     NOT NULL,
    priority              integer     NOT NULL,
    allocation_strategy   text        NOT NULL,
    postgres_version      text        NOT NULL,
    health_check_failures integer     NOT NULL,
    last_health_check     timestamptz,
    version               bigint      NOT NULL,
    updated_at            timestamptz NOT NULL DEFAULT now()
);
-- The runbook reads it as database_service.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'database_service') THEN
        GRANT SELECT ON db_servers TO database_service;
    END IF;
END
$$;

-- The one row by which operators steer the watch and the leader reports on it (MON-01…06).
CREATE TABLE monitoring (
    singleton              boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- Null means that nobody has said; the leader then takes AUTO_START_MONITORING.
    enabled                boolean,
    changed_by             text        NOT NULL DEFAULT '',
    reason                 text        NOT NULL DEFAULT '',
    changed_at             timestamptz,
    -- It grows with each wish for a fresh watch; the leader reconnects when it sees a new one.
    restarts_wanted        bigint      NOT NULL DEFAULT 0,
    -- A wish to compare everything (or one instance) with the cluster; the leader takes it.
    reconcile_task         uuid,
    reconcile_instance     uuid,
    reconcile_requested_at timestamptz,
    reconcile_finished_at  timestamptz,
    -- What the leader reports.
    leader                 text        NOT NULL DEFAULT '',
    -- It grows with each change of leader: a report of an older leader is refused (REL-05).
    leader_generation      bigint      NOT NULL DEFAULT 0,
    watch_connected        boolean     NOT NULL DEFAULT false,
    last_event_at          timestamptz,
    last_relist_at         timestamptz,
    resource_version       text        NOT NULL DEFAULT '',
    reconnects             bigint      NOT NULL DEFAULT 0,
    instances_tracked      bigint      NOT NULL DEFAULT 0,
    queue_depth            bigint      NOT NULL DEFAULT 0,
    reported_at            timestamptz
);
INSERT INTO monitoring DEFAULT VALUES;

CREATE FUNCTION monitoring_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('monitoring', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER monitoring_wakes_leader AFTER UPDATE ON monitoring
    FOR EACH ROW WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled
                       OR OLD.restarts_wanted IS DISTINCT FROM NEW.restarts_wanted
                       OR OLD.reconcile_task IS DISTINCT FROM NEW.reconcile_task)
    EXECUTE FUNCTION monitoring_notify();

-- Events that a transaction announced. The relay publishes them, and marks them sent on the broker's confirm
-- (REL-02).
CREATE TABLE outbox (
    id           uuid PRIMARY KEY,
    topic        text        NOT NULL,
    aggregate_id uuid        NOT NULL,
    payload      jsonb       NOT NULL,
    -- W3C trace context of the cause.
    headers      jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    attempts     integer     NOT NULL DEFAULT 0,
    last_error   text
);
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE FUNCTION outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('outbox', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_wakes_relay AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_notify();

-- Messages whose effect is done, written in the transaction of the effect (REL-03).
CREATE TABLE inbox (
    consumer     text        NOT NULL,
    message_id   uuid        NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_processed ON inbox (processed_at);
