-- Read-only copy of database-service's servers, without secrets (requirements X12, DBS-36). An older fact never overwrites a newer one: version.
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
