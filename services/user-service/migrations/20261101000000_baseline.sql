-- The database of user-service: accounts, their sessions, mails that wait to be sent, closures, and who did
-- what.

-- Accounts. Profile, preferences and role of a person are one row: they change together and are read
-- together.
CREATE TABLE users (
    id                    uuid PRIMARY KEY,
    -- Trimmed and lower-cased by the domain; after the erasure a pseudonym.
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
    -- Overrides MAX_INSTANCES_PER_USER.
    max_instances         integer     CHECK (max_instances BETWEEN 0 AND 10000),
    -- The last answers of instance-service and billing-service, shown while those are away.
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
-- One open account has an address (USR-02); the address of a closed one is free again.
CREATE UNIQUE INDEX users_email ON users (email) WHERE closed_at IS NULL;
CREATE INDEX users_created ON users (created_at DESC, id);
CREATE INDEX users_super_admins ON users (role) WHERE role = 'super_admin';

-- Sessions (USR-11). A session is the family of its refresh tokens: ending it kills them all, and every
-- access token that names it.
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    -- It lasts 30 days instead of 7.
    remembered   boolean     NOT NULL,
    ip           text        NOT NULL,
    user_agent   text        NOT NULL,
    ended_at     timestamptz,
    end_reason   text
                 CHECK (end_reason IN ('logout', 'revoked', 'password', 'limit', 'reuse', 'admin', 'closed')),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX sessions_live ON sessions (user_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Refresh tokens, stored as SHA-256 (USR-12). A used one stays until its session is removed, so that its
-- reuse is seen.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id uuid        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- Mails with a token that are to be sent. A use case adds a row in its transaction; the sender makes the
-- token, so that no secret rests here.
CREATE TABLE mail_requests (
    id         uuid PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id),
    kind       text        NOT NULL CHECK (kind IN ('verification', 'password_reset')),
    -- The sender works on what is pending. Dropped is what has no use since, for example because the account
    -- was closed.
    state      text        NOT NULL DEFAULT 'pending'
               CHECK (state IN ('pending', 'sent', 'dropped', 'expired')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    sent_at    timestamptz,
    attempts   integer     NOT NULL DEFAULT 0,
    next_try   timestamptz NOT NULL,
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);
CREATE INDEX mail_requests_pending ON mail_requests (next_try) WHERE state = 'pending';
CREATE INDEX mail_requests_newest ON mail_requests (user_id, kind, created_at DESC);

-- Tokens in mails, stored as SHA-256 (USR-07, USR-14). Each try to send makes one: which of them arrived is
-- not known.
CREATE TABLE mail_tokens (
    token_hash      bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    mail_request_id uuid        NOT NULL REFERENCES mail_requests (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz
);
CREATE INDEX mail_tokens_request ON mail_tokens (mail_request_id);

-- Account closures in work (USR-20). Instances are terminated by calls that are repeated until they succeed;
-- then, after a time, the person is erased.
CREATE TABLE closures (
    user_id       uuid PRIMARY KEY REFERENCES users (id),
    created_at    timestamptz NOT NULL,
    erase_after   timestamptz NOT NULL,
    terminated_at timestamptz,
    erased_at     timestamptz,
    attempts      integer     NOT NULL DEFAULT 0,
    next_try      timestamptz NOT NULL,
    CHECK (erased_at IS NULL OR terminated_at IS NOT NULL)
);
CREATE INDEX closures_to_terminate ON closures (next_try) WHERE terminated_at IS NULL;
CREATE INDEX closures_to_erase ON closures (erase_after)
    WHERE terminated_at IS NOT NULL AND erased_at IS NULL;

-- Who did what to whom (USR-27). Entries are only added: the service owns the table, and grants do not bind
-- an owner, so a trigger refuses too.
CREATE TABLE audit (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL,
    -- Account id, or the name of a service or command.
    actor       text        NOT NULL,
    action      text        NOT NULL,
    target      text        NOT NULL,
    -- The account that the entry is about; its owner may read it.
    customer_id uuid,
    request_id  text        NOT NULL,
    ip          text        NOT NULL,
    reason      text        NOT NULL
);
CREATE INDEX audit_customer ON audit (customer_id, at DESC);
CREATE INDEX audit_at ON audit (at DESC, id);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'permission denied for table audit: entries are never changed or removed'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM PUBLIC;
REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM CURRENT_USER;

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
