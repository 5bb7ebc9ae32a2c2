-- PostgreSQL servers that hold tenants (DBS-36). No password is in this table: see server_secrets.
CREATE SEQUENCE shared_pool_number;
CREATE SEQUENCE dedicated_pool_number;

CREATE TABLE db_servers (
    id                    uuid PRIMARY KEY,
    name                  text        NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 52),
    server_type           text        NOT NULL CHECK (server_type IN ('platform', 'shared', 'dedicated')),
    status                text        NOT NULL CHECK (status IN ('provisioning', 'initializing', 'active', 'full', 'maintenance', 'error', 'deprovisioning', 'deprovisioned')),
    health_status         text        NOT NULL DEFAULT 'unknown' CHECK (health_status IN ('unknown', 'healthy', 'degraded', 'unhealthy')),
    -- As a tenant's pod reaches it; empty until the worker has reported it.
    host                  text        NOT NULL DEFAULT '',
    port                  integer     NOT NULL DEFAULT 5432 CHECK (port BETWEEN 1 AND 65535),
    -- As services of the platform reach it (CLUSTER_ADDRESSING).
    platform_host         text        NOT NULL DEFAULT '',
    platform_port         integer     NOT NULL DEFAULT 5432 CHECK (platform_port BETWEEN 1 AND 65535),
    admin_user            text        NOT NULL DEFAULT 'pool_admin',
    -- Derived from allocations by a trigger (DBS-23); nobody else writes it.
    current_instances     integer     NOT NULL DEFAULT 0,
    max_instances         integer     NOT NULL CHECK (max_instances BETWEEN 1 AND 500),
    priority              integer     NOT NULL DEFAULT 100 CHECK (priority BETWEEN 0 AND 1000),
    allocation_strategy   text        NOT NULL DEFAULT 'automatic' CHECK (allocation_strategy IN ('automatic', 'manual')),
    postgres_version      text        NOT NULL DEFAULT '',
    image                 text        NOT NULL,
    cpu_request           text        NOT NULL,
    cpu_limit             text        NOT NULL,
    memory_request        text        NOT NULL,
    memory_limit          text        NOT NULL,
    storage_size          text        NOT NULL,
    -- The tenant of a dedicated server.
    instance_id           text,
    -- Last word of the worker: empty, applied, ready, not_ready, removed, failed.
    observed              text        NOT NULL DEFAULT '' CHECK (observed IN ('', 'applied', 'ready', 'not_ready', 'removed', 'failed')),
    node                  text        NOT NULL DEFAULT '',
    last_error            text        NOT NULL DEFAULT '',
    health_check_failures integer     NOT NULL DEFAULT 0 CHECK (health_check_failures >= 0),
    last_health_check     timestamptz,
    -- A pool in the making whose slots are all spoken for by waiting requests (DBS-24).
    booked_out            boolean     NOT NULL DEFAULT false,
    -- Of the wanted objects; the worker applies them again when it grows.
    generation            bigint      NOT NULL DEFAULT 1,
    -- Of the row; grows with each change, so that an older fact never overwrites a newer one.
    version               bigint      NOT NULL DEFAULT 1,
    provisioned_by        text        NOT NULL DEFAULT 'automatic',
    provisioned_at        timestamptz,
    last_allocated_at     timestamptz,
    status_since          timestamptz NOT NULL DEFAULT now(),
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT db_servers_never_overfull CHECK (current_instances BETWEEN 0 AND max_instances),
    CONSTRAINT db_servers_dedicated_has_tenant CHECK ((server_type = 'dedicated') = (instance_id IS NOT NULL))
);
-- DBS-24: exactly one shared pool in the making that still has room to promise.
CREATE UNIQUE INDEX db_servers_one_in_the_making ON db_servers (server_type)
    WHERE server_type = 'shared' AND status IN ('provisioning', 'initializing') AND NOT booked_out;
-- One dedicated server for a tenant.
CREATE UNIQUE INDEX db_servers_one_dedicated ON db_servers (instance_id) WHERE status <> 'deprovisioned';
CREATE INDEX db_servers_selection ON db_servers (server_type, status, priority);
