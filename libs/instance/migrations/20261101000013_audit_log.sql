-- What operators and services did, and why; written in the transaction of the action (SEC-17).
CREATE TABLE audit_log (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    -- User id or service name.
    actor       text        NOT NULL,
    role        text        NOT NULL,
    action      text        NOT NULL,
    instance_id uuid,
    reason      text        NOT NULL,
    request_id  text        NOT NULL DEFAULT '',
    client_ip   text        NOT NULL DEFAULT '',
    details     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_of_instance ON audit_log (instance_id, at DESC);
