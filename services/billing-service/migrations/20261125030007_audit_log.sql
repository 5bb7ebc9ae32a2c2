-- What operators did, and why; written in the transaction of the action (SEC-17).
CREATE TABLE audit_log (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    -- User id or service name.
    actor       text        NOT NULL,
    role        text        NOT NULL,
    action      text        NOT NULL,
    customer_id uuid,
    -- Invoice, payment, subscription, hook.
    subject_id  uuid,
    reason      text        NOT NULL,
    request_id  text        NOT NULL DEFAULT '',
    details     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_of_customer ON audit_log (customer_id, at DESC);
