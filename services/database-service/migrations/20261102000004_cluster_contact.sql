-- When the worker last reached the cluster (DBS-14): one row.
CREATE TABLE cluster_contact (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    at       timestamptz NOT NULL
);
