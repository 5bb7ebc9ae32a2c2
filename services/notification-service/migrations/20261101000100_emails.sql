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
    status           text        NOT NULL DEFAULT 'queued' CHECK (status IN ('queued', 'sending', 'sent', 'failed', 'cancelled')),
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
