-- What a plan gives. Versions are never changed: a subscription keeps the version that it was bought with.
CREATE TABLE plan_entitlements (
    plan_name       text        NOT NULL REFERENCES plans (name),
    version         bigint      NOT NULL CHECK (version > 0),
    cpu_millis      integer     NOT NULL CHECK (cpu_millis > 0),
    memory_mib      bigint      NOT NULL CHECK (memory_mib > 0),
    storage_mib     bigint      NOT NULL CHECK (storage_mib > 0),
    db_type         text        NOT NULL CHECK (db_type IN ('shared', 'dedicated')),
    db_tier         text        NOT NULL CHECK (db_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    backup_schedule text        NOT NULL,
    backups_keep    integer     NOT NULL CHECK (backups_keep >= 0),
    max_users_note  text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan_name, version)
);
