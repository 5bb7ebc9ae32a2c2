-- What the audit found, over all runs: one row from the run that finds it to the one that does not any more (BIL-37).
CREATE TABLE findings (
    id                 uuid PRIMARY KEY,
    kind               text        NOT NULL,
    subject_id         uuid,
    customer_id        uuid,
    -- What tells two of one kind and subject apart: a currency, an issuer.
    scope              text        NOT NULL DEFAULT '',
    detail             text        NOT NULL,
    first_seen_at      timestamptz NOT NULL,
    last_seen_at       timestamptz NOT NULL,
    last_run           uuid        NOT NULL,
    resolved_at        timestamptz,
    acknowledged_at    timestamptz,
    acknowledged_by    text        NOT NULL DEFAULT '',
    acknowledge_reason text        NOT NULL DEFAULT '',
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by = ''))
);
CREATE UNIQUE INDEX findings_open ON findings (kind, subject_id, customer_id, scope) NULLS NOT DISTINCT WHERE resolved_at IS NULL;
CREATE INDEX findings_seen ON findings (last_seen_at DESC);
-- The run of an order.
CREATE INDEX audit_runs_cause ON audit_runs (cause);
