-- What happened to a mail, one row each.
CREATE TABLE email_events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_id uuid        NOT NULL REFERENCES emails (id) ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT now(),
    kind     text        NOT NULL CHECK (kind IN ('queued', 'postponed', 'deferred', 'sent', 'failed', 'cancelled', 'resent')),
    detail   text        NOT NULL DEFAULT ''
);
CREATE INDEX email_events_email ON email_events (email_id, id);
