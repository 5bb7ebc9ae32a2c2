-- Work at fixed times, done by the replica that takes it first. Real time, not billing time.
CREATE TABLE schedule (
    name   text PRIMARY KEY,
    due_at timestamptz NOT NULL
);
INSERT INTO schedule (name, due_at) VALUES ('audit', now());

-- The audit: books against documents, subscriptions against instances (BIL-37).
CREATE TABLE audit_runs (
    id          uuid PRIMARY KEY,
    -- Who wanted it: schedule, or the task of an admin.
    cause       text        NOT NULL,
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
    -- How many of each kind.
    counts      jsonb       NOT NULL DEFAULT '{}',
    reason      text        NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX audit_runs_done ON audit_runs (finished_at DESC) WHERE state = 'done';

-- What a run found, the first of each kind.
CREATE TABLE audit_findings (
    run_id      uuid    NOT NULL REFERENCES audit_runs (id) ON DELETE CASCADE,
    position    integer NOT NULL,
    kind        text    NOT NULL,
    -- Entry, invoice, payment, subscription, instance; empty: the whole of something.
    subject_id  uuid,
    customer_id uuid,
    detail      text    NOT NULL,
    PRIMARY KEY (run_id, position)
);

-- The history of one invoice and of one payment.
CREATE INDEX journal_entries_invoice ON journal_entries (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX journal_entries_payment ON journal_entries (payment_id) WHERE payment_id IS NOT NULL;
