-- Who did what to whom (USR-27). Append-only: the service owns the table, and grants do not bind an owner, so a trigger refuses too.
CREATE TABLE audit (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL,
    -- Account id, or the name of a service or command.
    actor       text        NOT NULL,
    action      text        NOT NULL,
    target      text        NOT NULL,
    -- Account that the entry is about; its owner may read it.
    customer_id uuid,
    request_id  text        NOT NULL,
    ip          text        NOT NULL,
    reason      text        NOT NULL
);
CREATE INDEX audit_customer ON audit (customer_id, at DESC);
CREATE INDEX audit_at ON audit (at DESC, id);

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'permission denied for table audit: entries are never changed or removed'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM PUBLIC;
REVOKE UPDATE, DELETE, TRUNCATE ON audit FROM CURRENT_USER;
