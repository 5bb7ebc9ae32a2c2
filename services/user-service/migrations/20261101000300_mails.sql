-- Mails with a token that are to be sent. A use case adds a row in its transaction; the sender makes the token, so that no secret rests here.
CREATE TABLE mail_requests (
    id         uuid PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id),
    kind       text        NOT NULL CHECK (kind IN ('verification', 'password_reset')),
    -- pending: the sender works on it; dropped: without use since, for example because the account was closed.
    state      text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'dropped', 'expired')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    sent_at    timestamptz,
    attempts   integer     NOT NULL DEFAULT 0,
    next_try   timestamptz NOT NULL,
    CHECK ((state = 'sent') = (sent_at IS NOT NULL))
);
CREATE INDEX mail_requests_pending ON mail_requests (next_try) WHERE state = 'pending';
CREATE INDEX mail_requests_newest ON mail_requests (user_id, kind, created_at DESC);

-- Tokens in mails, stored as SHA-256 (USR-07, USR-14). Each try to send makes one: which of them arrived is not known.
CREATE TABLE mail_tokens (
    token_hash      bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    mail_request_id uuid        NOT NULL REFERENCES mail_requests (id) ON DELETE CASCADE,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz
);
CREATE INDEX mail_tokens_request ON mail_tokens (mail_request_id);
