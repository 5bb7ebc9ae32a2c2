-- The timeline that the owner reads (INS-34). Texts are safe; who of the operators did something stands in audit_log.
CREATE TABLE instance_events (
    id           uuid PRIMARY KEY,
    instance_id  uuid        NOT NULL REFERENCES instances (id),
    at           timestamptz NOT NULL DEFAULT now(),
    -- Such as status_changed, operation_requested, restarted, oom_killed.
    type         text        NOT NULL,
    cause        text        NOT NULL CHECK (cause IN ('platform', 'tenant', 'customer', 'billing')),
    message      text        NOT NULL,
    operation_id uuid
);
CREATE INDEX instance_events_of_instance ON instance_events (instance_id, at DESC, id DESC);
