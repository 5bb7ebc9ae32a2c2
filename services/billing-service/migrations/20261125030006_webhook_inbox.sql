-- Hooks as they came: hints, stored before anything else (BIL-30). Equal bodies wait as one; after it was done, an equal one is a new hint.
CREATE TABLE webhook_inbox (
    id            uuid PRIMARY KEY,
    provider      text        NOT NULL,
    received_at   timestamptz NOT NULL DEFAULT now(),
    body          bytea       NOT NULL,
    content_type  text        NOT NULL DEFAULT '',
    digest        bytea       NOT NULL CHECK (length(digest) = 32),
    -- How often it came while it waited.
    deliveries    integer     NOT NULL DEFAULT 1,
    -- new, done, ignored (nothing that we know), failed
    state         text        NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'done', 'ignored', 'failed')),
    attempts      integer     NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL DEFAULT now(),
    processed_at  timestamptz,
    customer_id   uuid,
    -- A safe text.
    outcome       text        NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX webhook_inbox_waiting ON webhook_inbox (provider, digest) WHERE state = 'new';
CREATE INDEX webhook_inbox_due ON webhook_inbox (next_at) WHERE state = 'new';
CREATE INDEX webhook_inbox_received ON webhook_inbox (received_at DESC);
