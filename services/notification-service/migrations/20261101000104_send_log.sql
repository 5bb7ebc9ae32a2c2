-- When mails were handed to SMTP in the last hour, over all replicas: the global rate limit counts these rows (NTF-12).
CREATE TABLE send_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX send_log_at ON send_log (at);
