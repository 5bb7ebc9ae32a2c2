-- Requests that found no room; they say how many pools are needed (DBS-24). A row lives until its request gets a slot, is released or stops asking.
CREATE TABLE waiting (
    instance_id   text PRIMARY KEY,
    customer_id   text        NOT NULL,
    server_type   text        NOT NULL CHECK (server_type IN ('shared', 'dedicated')),
    since         timestamptz NOT NULL DEFAULT now(),
    last_asked_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX waiting_asked ON waiting (last_asked_at);
