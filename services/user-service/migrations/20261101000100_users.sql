-- Accounts. Profile, preferences and role of a person are one row: they change together and are read together.
CREATE TABLE users (
    id                    uuid PRIMARY KEY,
    -- Trimmed and lower-cased by the domain; after erasure a pseudonym.
    email                 text        NOT NULL CHECK (email = lower(email) AND length(email) <= 254),
    password_hash         text        NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    -- An administrator asked for a new password: the present one opens nothing.
    password_reset_needed boolean     NOT NULL DEFAULT false,
    first_name            text        NOT NULL,
    last_name             text        NOT NULL,
    phone                 text        NOT NULL DEFAULT '',
    company               text        NOT NULL DEFAULT '',
    country               text        NOT NULL DEFAULT '',
    timezone              text        NOT NULL DEFAULT '',
    language              text        NOT NULL DEFAULT '',
    avatar_url            text        NOT NULL DEFAULT '',
    role                  text        NOT NULL DEFAULT 'customer'
                          CHECK (role IN ('customer', 'operator', 'admin', 'super_admin')),
    is_active             boolean     NOT NULL DEFAULT true,
    verified_at           timestamptz,
    terms_version         text        NOT NULL,
    terms_accepted_at     timestamptz NOT NULL,
    marketing_consent     boolean     NOT NULL DEFAULT false,
    theme                 text        NOT NULL DEFAULT 'system' CHECK (theme IN ('light', 'dark', 'system')),
    notify_instance       boolean     NOT NULL DEFAULT true,
    notify_backup         boolean     NOT NULL DEFAULT true,
    notify_product        boolean     NOT NULL DEFAULT true,
    -- Override of MAX_INSTANCES_PER_USER.
    max_instances         integer     CHECK (max_instances BETWEEN 0 AND 10000),
    -- Last answers of instance-service and billing-service, shown while they are away.
    seen_instance_count   integer     NOT NULL DEFAULT 0,
    seen_plan             text,
    seen_standing         text        NOT NULL DEFAULT 'none',
    version               bigint      NOT NULL DEFAULT 1,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    last_login_at         timestamptz,
    closed_at             timestamptz,
    erased_at             timestamptz,
    CHECK (closed_at IS NULL OR NOT is_active),
    CHECK (erased_at IS NULL OR closed_at IS NOT NULL)
);
-- One open account per address (USR-02); the address of a closed one is free again.
CREATE UNIQUE INDEX users_email ON users (email) WHERE closed_at IS NULL;
CREATE INDEX users_created ON users (created_at DESC, id);
CREATE INDEX users_super_admins ON users (role) WHERE role = 'super_admin';
