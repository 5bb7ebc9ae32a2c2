-- The database of notification-service: mails, what happened to them, and how fast they go out.

-- One mail to one customer: queue, outbox and history in one table (NTF-01).
CREATE TABLE emails (
    id               uuid PRIMARY KEY,
    -- Event id, or the key that a calling service chose.
    dedupe_key       text        NOT NULL CHECK (length(dedupe_key) BETWEEN 1 AND 200),
    template_name    text        NOT NULL,
    -- The recipient is always the address of this account (NTF-11); it is looked up when the mail is sent.
    customer_id      uuid        NOT NULL,
    recipient        text,
    subject          text        NOT NULL,
    variables        jsonb       NOT NULL DEFAULT '{}',
    -- Tokens and the like: needed to render, cleared when the mail is sent, never shown (NTF-10).
    secret_variables jsonb,
    -- A switchable kind is not sent to a customer who switched it off.
    switchable       boolean     NOT NULL,
    -- A sample for an operator.
    test             boolean     NOT NULL DEFAULT false,
    status           text        NOT NULL DEFAULT 'queued'
                     CHECK (status IN ('queued', 'sending', 'sent', 'failed', 'cancelled')),
    -- Lower is sent first: security mails do not wait behind a crowd (NTF-12).
    priority         smallint    NOT NULL,
    attempts         integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_attempt_at  timestamptz NOT NULL DEFAULT now(),
    -- A sender holds the mail until then; after it, another one may take it.
    lease_until      timestamptz,
    lease_token      uuid,
    message_id       text        NOT NULL UNIQUE,
    last_error       text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    sent_at          timestamptz,
    CHECK ((status = 'sending') = (lease_token IS NOT NULL)),
    CHECK ((status = 'sent') = (sent_at IS NOT NULL)),
    -- One mail per event, template and customer (NTF-09).
    UNIQUE (dedupe_key, template_name, customer_id)
);
-- The senders' question: what is due, security mails first.
CREATE INDEX emails_due ON emails (priority, next_attempt_at) WHERE status IN ('queued', 'sending');
-- The operators' question: the newest first, of one customer or of all.
CREATE INDEX emails_created ON emails (created_at DESC);
CREATE INDEX emails_customer ON emails (customer_id, created_at DESC);
-- The newest sent mail, for the health page of operators.
CREATE INDEX emails_sent ON emails (sent_at DESC) WHERE sent_at IS NOT NULL;

-- Wakes the senders at the commit of a new or requeued mail; a sweep stands behind it.
CREATE FUNCTION emails_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('emails', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER emails_wake_senders AFTER INSERT ON emails FOR EACH STATEMENT EXECUTE FUNCTION emails_notify();

-- What happened to a mail, one row each.
CREATE TABLE email_events (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email_id uuid        NOT NULL REFERENCES emails (id) ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT now(),
    kind     text        NOT NULL
             CHECK (kind IN ('queued', 'postponed', 'deferred', 'sent', 'failed', 'cancelled', 'resent')),
    detail   text        NOT NULL DEFAULT ''
);
CREATE INDEX email_events_email ON email_events (email_id, id);

-- When mails were handed to SMTP in the last hour, over all replicas: the global rate limit counts these rows
-- (NTF-12).
CREATE TABLE send_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX send_log_at ON send_log (at);

-- Messages whose effect is done, written in the transaction of the effect (REL-03).
CREATE TABLE inbox (
    consumer     text        NOT NULL,
    message_id   uuid        NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_processed ON inbox (processed_at);
