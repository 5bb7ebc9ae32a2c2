-- Sessions (USR-11). A session is the family of its refresh tokens: ending it kills them all and every access token that names it.
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    -- 30 days instead of 7.
    remembered   boolean     NOT NULL,
    ip           text        NOT NULL,
    user_agent   text        NOT NULL,
    ended_at     timestamptz,
    end_reason   text        CHECK (end_reason IN ('logout', 'revoked', 'password', 'limit', 'reuse', 'admin', 'closed')),
    CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);
CREATE INDEX sessions_live ON sessions (user_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Refresh tokens, stored as SHA-256 (USR-12). A used one stays until its session is removed, so that its reuse is seen.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id uuid        NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);
