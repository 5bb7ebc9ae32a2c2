-- What a customer has, what is wanted of it and what was last seen of it. Words mirror the enums of libs/instance (domain).
CREATE TABLE instances (
    id                     uuid PRIMARY KEY,
    customer_id            uuid        NOT NULL,
    subscription_id        uuid,
    plan                   text        NOT NULL,
    plan_tier              text        NOT NULL CHECK (plan_tier IN ('basic', 'standard', 'premium', 'enterprise')),
    -- Tier of the database that database-service is asked for.
    db_tier                text        NOT NULL CHECK (db_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    -- Display text only; never part of an object's name or label.
    name                   text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    description            text        NOT NULL DEFAULT '' CHECK (char_length(description) <= 500),
    odoo_version           text        NOT NULL,
    instance_type          text        NOT NULL DEFAULT 'production' CHECK (instance_type IN ('development', 'staging', 'production')),

    status                 text        NOT NULL CHECK (status IN ('pending_payment', 'creating', 'starting', 'running', 'stopping', 'stopped',
                                       'restarting', 'updating', 'maintenance', 'suspended', 'error', 'terminating', 'terminated', 'purged')),
    desired_state          text        NOT NULL CHECK (desired_state IN ('running', 'stopped', 'suspended', 'terminated')),
    -- Where an end of the suspension leads back to.
    desired_before_suspend text        CHECK (desired_before_suspend IN ('running', 'stopped')),
    -- Why it is suspended: each hold is set and taken away by its own side; it runs again when none is left.
    billing_hold           boolean     NOT NULL DEFAULT false,
    operator_hold          boolean     NOT NULL DEFAULT false,
    suspended_reason       text,
    billing_status         text        NOT NULL DEFAULT 'none' CHECK (billing_status IN ('none', 'trial', 'paid', 'payment_required', 'closed')),
    provisioning_status    text        NOT NULL DEFAULT 'pending' CHECK (provisioning_status IN ('pending', 'provisioning', 'completed', 'failed')),

    -- Grows when the wanted objects change; equal to observed_generation once they are applied.
    generation             bigint      NOT NULL DEFAULT 1,
    observed_generation    bigint      NOT NULL DEFAULT 0,
    observed_phase         text        NOT NULL DEFAULT 'not_found' CHECK (observed_phase IN ('pending', 'running', 'failed', 'not_found')),
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
    -- Known once the allocation is made.
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
    -- Value of the pod template's annotation saasodoo.io/restarted-at.
    restarted_at           timestamptz,
    purge_after            timestamptz,
    last_health_check      timestamptz,
    labels                 jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    credentials_until      timestamptz NOT NULL,
    credentials_revealed_at timestamptz,

    -- Optimistic lock: a decision names the version that it was made on and adds one. Notes of what was seen (observed_*, last_health_check) leave it alone.
    version                bigint      NOT NULL DEFAULT 1,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    started_at             timestamptz,

    CHECK (status NOT IN ('terminated', 'purged') OR purge_after IS NOT NULL)
);

-- INS-07, INS-10: one owner of a host name until the purge.
CREATE UNIQUE INDEX instances_subdomain ON instances (subdomain) WHERE status <> 'purged';
-- INS-42.
CREATE UNIQUE INDEX instances_subscription ON instances (subscription_id) WHERE status NOT IN ('terminated', 'purged');
CREATE INDEX instances_customer ON instances (customer_id, created_at);
CREATE INDEX instances_status ON instances (status, created_at);
CREATE INDEX instances_purge ON instances (purge_after) WHERE status = 'terminated';
-- Finds suspensions that still wait for their operation.
CREATE INDEX instances_billing_hold ON instances (id) WHERE billing_hold;

-- Wakes the worker when the wanted objects changed.
CREATE FUNCTION instances_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('instances', NEW.id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER instances_wake_worker AFTER UPDATE ON instances FOR EACH ROW
    WHEN (OLD.generation IS DISTINCT FROM NEW.generation) EXECUTE FUNCTION instances_notify();
