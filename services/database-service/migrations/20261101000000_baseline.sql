-- The database of database-service: servers for tenants, who has a database where, moves, rotations and
-- certificates.

CREATE SEQUENCE shared_pool_number;
CREATE SEQUENCE dedicated_pool_number;

-- PostgreSQL servers that hold tenants (DBS-36). No password is in this table: see server_secrets.
CREATE TABLE db_servers (
    id                    uuid PRIMARY KEY,
    name                  text        NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 52),
    server_type           text        NOT NULL CHECK (server_type IN ('platform', 'shared', 'dedicated')),
    status                text        NOT NULL
                          CHECK (status IN ('provisioning', 'initializing', 'active', 'full', 'maintenance',
                                            'error', 'deprovisioning', 'deprovisioned')),
    health_status         text        NOT NULL DEFAULT 'unknown'
                          CHECK (health_status IN ('unknown', 'healthy', 'degraded', 'unhealthy')),
    -- As a tenant's pod reaches it; empty until the worker has reported it.
    host                  text        NOT NULL DEFAULT '',
    port                  integer     NOT NULL DEFAULT 5432 CHECK (port BETWEEN 1 AND 65535),
    -- As services of the platform reach it (CLUSTER_ADDRESSING).
    platform_host         text        NOT NULL DEFAULT '',
    platform_port         integer     NOT NULL DEFAULT 5432 CHECK (platform_port BETWEEN 1 AND 65535),
    admin_user            text        NOT NULL DEFAULT 'pool_admin',
    -- A trigger derives it from allocations and moves (DBS-23); nobody else writes it.
    current_instances     integer     NOT NULL DEFAULT 0,
    max_instances         integer     NOT NULL CHECK (max_instances BETWEEN 1 AND 500),
    priority              integer     NOT NULL DEFAULT 100 CHECK (priority BETWEEN 0 AND 1000),
    allocation_strategy   text        NOT NULL DEFAULT 'automatic'
                          CHECK (allocation_strategy IN ('automatic', 'manual')),
    postgres_version      text        NOT NULL DEFAULT '',
    image                 text        NOT NULL,
    cpu_request           text        NOT NULL,
    cpu_limit             text        NOT NULL,
    memory_request        text        NOT NULL,
    memory_limit          text        NOT NULL,
    storage_size          text        NOT NULL,
    -- The tenant of a dedicated server.
    instance_id           text,
    -- The last word of the worker.
    observed              text        NOT NULL DEFAULT ''
                          CHECK (observed IN ('', 'applied', 'ready', 'not_ready', 'removed', 'failed')),
    node                  text        NOT NULL DEFAULT '',
    last_error            text        NOT NULL DEFAULT '',
    health_check_failures integer     NOT NULL DEFAULT 0 CHECK (health_check_failures >= 0),
    last_health_check     timestamptz,
    -- A pool in the making whose slots are all spoken for by waiting requests (DBS-24).
    booked_out            boolean     NOT NULL DEFAULT false,
    -- Of the wanted objects; the worker applies them again when it grows.
    generation            bigint      NOT NULL DEFAULT 1,
    -- Of the row; it grows with each change, so that an older fact never overwrites a newer one.
    version               bigint      NOT NULL DEFAULT 1,
    provisioned_by        text        NOT NULL DEFAULT 'automatic',
    provisioned_at        timestamptz,
    last_allocated_at     timestamptz,
    status_since          timestamptz NOT NULL DEFAULT now(),
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    -- The result of the last good look at the server.
    storage_used          bigint      NOT NULL DEFAULT 0 CHECK (storage_used >= 0),
    storage_free          bigint      CHECK (storage_free >= 0),
    storage_total         bigint      CHECK (storage_total > 0),
    connections           integer     NOT NULL DEFAULT 0 CHECK (connections >= 0),
    max_connections       integer     NOT NULL DEFAULT 0 CHECK (max_connections >= 0),
    check_latency_ms      integer     CHECK (check_latency_ms >= 0),
    -- A dedicated server whose tenant shall move to another one of its own: it is not found for its tenant
    -- any more.
    retiring              boolean     NOT NULL DEFAULT false,
    -- When the volume of a removed pool was seen to be gone (DBS-20).
    volume_removed_at     timestamptz,
    CONSTRAINT db_servers_never_overfull CHECK (current_instances BETWEEN 0 AND max_instances),
    CONSTRAINT db_servers_dedicated_has_tenant
        CHECK ((server_type = 'dedicated') = (instance_id IS NOT NULL)),
    -- A server that goes holds nobody.
    CONSTRAINT db_servers_gone_is_empty
        CHECK (status NOT IN ('deprovisioning', 'deprovisioned') OR current_instances = 0)
);
-- Exactly one shared pool in the making still has room to promise (DBS-24).
CREATE UNIQUE INDEX db_servers_one_in_the_making ON db_servers (server_type)
    WHERE server_type = 'shared' AND status IN ('provisioning', 'initializing') AND NOT booked_out;
-- A tenant has one dedicated server.
CREATE UNIQUE INDEX db_servers_one_dedicated ON db_servers (instance_id)
    WHERE status <> 'deprovisioned' AND NOT retiring;
CREATE INDEX db_servers_selection ON db_servers (server_type, status, priority);
-- It finds the volumes that are still to be removed.
CREATE INDEX db_servers_volumes ON db_servers (status_since)
    WHERE status = 'deprovisioned' AND volume_removed_at IS NULL;

-- The moves of `PoolStatus::after`, for whatever program writes (DBS-16). A test compares both.
CREATE FUNCTION pool_status_may_move(before text, after text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT before = after OR (before, after) IN (
        ('provisioning', 'initializing'),
        ('initializing', 'active'), ('initializing', 'full'),
        ('active', 'full'), ('full', 'active'),
        ('active', 'maintenance'), ('full', 'maintenance'),
        ('maintenance', 'active'), ('maintenance', 'full'),
        ('provisioning', 'error'), ('initializing', 'error'), ('active', 'error'), ('full', 'error'),
        ('maintenance', 'error'),
        ('error', 'active'), ('error', 'full'),
        ('active', 'deprovisioning'), ('error', 'deprovisioning'),
        ('deprovisioning', 'deprovisioned'))
$$;
CREATE FUNCTION pool_status_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT pool_status_may_move(OLD.status, NEW.status) THEN
        RAISE EXCEPTION 'a pool does not move from % to %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'db_servers_status_moves';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER db_servers_status_moves BEFORE UPDATE OF status ON db_servers
    FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION pool_status_guard();

-- Passwords of the servers' administrators, encrypted with AES-256-GCM (DBS-32): `sealed` = nonce, ciphertext
-- and tag; the row's id is authenticated with it.
CREATE TABLE server_secrets (
    db_server_id uuid PRIMARY KEY REFERENCES db_servers (id) ON DELETE CASCADE,
    key_id       text        NOT NULL CHECK (key_id <> ''),
    sealed       bytea       NOT NULL CHECK (length(sealed) > 28),
    -- It tells the worker that the password changed, without telling the password.
    secret_hash  text        NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    -- The password while it changes: written down before the server gets it. Until it is the one, both are
    -- tried.
    next_key_id  text,
    next_sealed  bytea,
    next_hash    text,
    CONSTRAINT server_secrets_next_is_whole
        CHECK (((next_key_id IS NULL) = (next_sealed IS NULL))
               AND ((next_key_id IS NULL) = (next_hash IS NULL)))
);

-- Which tenant has its database where (DBS-08, DBS-23). The names are those on the server.
CREATE TABLE allocations (
    id           uuid PRIMARY KEY,
    instance_id  text        NOT NULL UNIQUE CHECK (length(instance_id) BETWEEN 1 AND 63),
    customer_id  text        NOT NULL CHECK (length(customer_id) BETWEEN 1 AND 63),
    db_server_id uuid        NOT NULL REFERENCES db_servers (id),
    db_name      text        NOT NULL CHECK (length(db_name) BETWEEN 1 AND 62),
    db_user      text        NOT NULL CHECK (length(db_user) BETWEEN 1 AND 62),
    plan_tier    text        NOT NULL CHECK (plan_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    state        text        NOT NULL CHECK (state IN ('allocating', 'allocated', 'released', 'purged')),
    -- Dropping has begun: there is no way back to allocated.
    purging      boolean     NOT NULL DEFAULT false,
    last_error   text        NOT NULL DEFAULT '',
    allocated_at timestamptz,
    released_at  timestamptz,
    purge_after  timestamptz,
    purged_at    timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT allocations_released_has_an_end CHECK (state <> 'released' OR purge_after IS NOT NULL),
    CONSTRAINT allocations_purging_is_released CHECK (NOT purging OR state IN ('released', 'purged'))
);
CREATE UNIQUE INDEX allocations_name_on_server ON allocations (db_server_id, db_name) WHERE state <> 'purged';
CREATE INDEX allocations_unfinished ON allocations (updated_at)
    WHERE state = 'allocating' OR (purging AND state <> 'purged');

-- All allocations but the purged ones hold a slot and count in current_instances.
CREATE FUNCTION allocations_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND OLD.state <> 'purged' THEN
        UPDATE db_servers SET current_instances = current_instances - 1 WHERE id = OLD.db_server_id;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') AND NEW.state <> 'purged' THEN
        UPDATE db_servers SET current_instances = current_instances + 1 WHERE id = NEW.db_server_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER allocations_counted_on_change AFTER INSERT OR DELETE ON allocations
    FOR EACH ROW EXECUTE FUNCTION allocations_count();
CREATE TRIGGER allocations_counted_on_update AFTER UPDATE ON allocations
    FOR EACH ROW WHEN ((OLD.state = 'purged') <> (NEW.state = 'purged')
                       OR OLD.db_server_id <> NEW.db_server_id)
    EXECUTE FUNCTION allocations_count();

-- Passwords of the tenants, encrypted as those of the servers are.
CREATE TABLE allocation_secrets (
    allocation_id uuid PRIMARY KEY REFERENCES allocations (id) ON DELETE CASCADE,
    key_id        text        NOT NULL CHECK (key_id <> ''),
    sealed        bytea       NOT NULL CHECK (length(sealed) > 28),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- Requests that found no room; they say how many pools are needed (DBS-24). A row lives until its request
-- gets a slot, is released or stops asking.
CREATE TABLE waiting (
    instance_id   text PRIMARY KEY,
    customer_id   text        NOT NULL,
    server_type   text        NOT NULL CHECK (server_type IN ('shared', 'dedicated')),
    since         timestamptz NOT NULL DEFAULT now(),
    last_asked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX waiting_asked ON waiting (last_asked_at);

-- Moves of tenants' databases (DBS-33). The id is that of the operation in instance-service.
CREATE TABLE moves (
    id               uuid PRIMARY KEY,
    allocation_id    uuid        NOT NULL REFERENCES allocations (id) ON DELETE CASCADE,
    source_server_id uuid        NOT NULL REFERENCES db_servers (id),
    target_server_id uuid        NOT NULL REFERENCES db_servers (id),
    -- The tier of the allocation after the move.
    plan_tier        text        NOT NULL
                     CHECK (plan_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    -- reserved: a slot is held on the target. copying, verified: the copy exists. switched: the copy is the
    -- database, the source is kept. aborting: the copy is being dropped. aborted, dropped: nothing is left of
    -- the copy, or of the source.
    state            text        NOT NULL
                     CHECK (state IN ('reserved', 'copying', 'verified', 'switched', 'aborting', 'aborted',
                                      'dropped')),
    -- The server where the move holds a slot besides the allocation's own: the target before the switch, the
    -- source after it.
    holds_server_id  uuid        REFERENCES db_servers (id),
    -- The password of the role on the target until the switch, encrypted for the id of the move.
    key_id           text,
    sealed           bytea,
    size_bytes       bigint      NOT NULL DEFAULT 0,
    last_error       text        NOT NULL DEFAULT '',
    switched_at      timestamptz,
    -- When logins to the source were switched off.
    closed_at        timestamptz,
    drop_after       timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    -- How long the instance was off, for the estimates of later moves.
    off_seconds      integer     CHECK (off_seconds >= 0),
    -- A database is copied while its instance runs, and what changed since is copied again when it is off.
    -- This counts the copies that were begun: what is found of one says nothing about the next.
    copies           integer     NOT NULL DEFAULT 0,
    -- What the source looked like before it was copied: catalogue, and writes to each table.
    trace            jsonb,
    -- Tables that were found equal at both ends after the copy, by name, and what the copy looked like:
    -- {"tables": […], "copy": {…}}. It is still true of those that nobody wrote to since.
    compared         jsonb,
    -- Nothing is written to the copy any more: whoever still copies tables finds this and stops.
    closed_to_copies boolean     NOT NULL DEFAULT false,
    CONSTRAINT moves_lead_elsewhere CHECK (source_server_id <> target_server_id),
    CONSTRAINT moves_secret_is_whole CHECK ((key_id IS NULL) = (sealed IS NULL)),
    CONSTRAINT moves_switched_has_an_end CHECK (state <> 'switched' OR drop_after IS NOT NULL)
);
-- A tenant is moved by one move at a time.
CREATE UNIQUE INDEX moves_one_at_a_time ON moves (allocation_id)
    WHERE state IN ('reserved', 'copying', 'verified', 'aborting');
CREATE INDEX moves_kept ON moves (drop_after) WHERE state = 'switched';
CREATE INDEX moves_off ON moves (switched_at DESC) WHERE off_seconds IS NOT NULL;

-- A held slot counts like a tenant (DBS-23).
CREATE FUNCTION moves_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND OLD.holds_server_id IS NOT NULL THEN
        UPDATE db_servers SET current_instances = current_instances - 1 WHERE id = OLD.holds_server_id;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') AND NEW.holds_server_id IS NOT NULL THEN
        UPDATE db_servers SET current_instances = current_instances + 1 WHERE id = NEW.holds_server_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER moves_counted_on_change AFTER INSERT OR DELETE ON moves
    FOR EACH ROW EXECUTE FUNCTION moves_count();
CREATE TRIGGER moves_counted_on_update AFTER UPDATE ON moves
    FOR EACH ROW WHEN (OLD.holds_server_id IS DISTINCT FROM NEW.holds_server_id)
    EXECUTE FUNCTION moves_count();

-- Changes of tenants' passwords (DBS-32). The id is that of the operation in instance-service, and of the
-- task.
CREATE TABLE rotations (
    id            uuid PRIMARY KEY,
    allocation_id uuid        NOT NULL REFERENCES allocations (id) ON DELETE CASCADE,
    db_server_id  uuid        NOT NULL REFERENCES db_servers (id),
    -- begun: the new role may be there. ready: it is, and both passwords are valid. switched: the new one is
    -- given out, both are valid. retired: the old role is gone. aborting: the new role is being dropped.
    -- aborted: nothing is left of it.
    state         text        NOT NULL
                  CHECK (state IN ('begun', 'ready', 'switched', 'retired', 'aborting', 'aborted')),
    old_user      text        NOT NULL,
    new_user      text        NOT NULL,
    -- The new password until the switch, encrypted for the id of the allocation.
    key_id        text,
    sealed        bytea,
    last_error    text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT rotations_change_the_role CHECK (old_user <> new_user),
    CONSTRAINT rotations_secret_is_whole CHECK ((key_id IS NULL) = (sealed IS NULL)),
    CONSTRAINT rotations_switch_needs_a_secret CHECK (state NOT IN ('begun', 'ready') OR sealed IS NOT NULL)
);
-- A tenant's password is changed by one rotation at a time.
CREATE UNIQUE INDEX rotations_one_at_a_time ON rotations (allocation_id)
    WHERE state IN ('begun', 'ready', 'switched', 'aborting');
CREATE INDEX rotations_unfinished ON rotations (updated_at)
    WHERE state IN ('begun', 'ready', 'switched', 'aborting');

-- TLS of the tenants' servers (DBS-35): private authorities, and the certificate that each server shall
-- serve. Keys are encrypted as passwords are.
CREATE TABLE authorities (
    id          uuid PRIMARY KEY,
    -- PEM. It is trusted until it ends, also after a younger one signs.
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
    -- SHA-256 of the certificate; it tells the worker that the certificate changed.
    fingerprint  text        NOT NULL CHECK (length(fingerprint) = 64),
    not_after    timestamptz NOT NULL,
    -- What the server was last seen to serve, and when it was looked at.
    served       text        NOT NULL DEFAULT '',
    seen_at      timestamptz,
    -- Connections of the platform insist on TLS. It is false only for a server from before it, until it is
    -- seen to serve it.
    enforced     boolean     NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);

-- When the worker last reached the cluster (DBS-14): one row.
CREATE TABLE cluster_contact (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    at       timestamptz NOT NULL
);

-- Work that an operator or the schedule began, with its result (DBS-21). Tasks that make a server end with
-- the server's own state and are not written again.
CREATE TABLE tasks (
    id           uuid PRIMARY KEY,
    kind         text        NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
    state        text        NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    -- `schedule`, or the user or service that asked.
    requested_by text        NOT NULL,
    -- `Idempotency-Key` of the caller.
    request_key  text,
    db_server_id uuid        REFERENCES db_servers (id),
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

-- Who changed what, and why; written in the transaction of the change.
CREATE TABLE audit_log (
    id         uuid PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    -- User id or service name.
    actor      text        NOT NULL,
    role       text        NOT NULL,
    action     text        NOT NULL,
    -- The name of a pool, the id of an instance, or the kind of a task.
    target     text        NOT NULL,
    reason     text        NOT NULL,
    request_id text        NOT NULL DEFAULT '',
    client_ip  text        NOT NULL DEFAULT ''
);
CREATE INDEX audit_log_of_target ON audit_log (target, at DESC);

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
