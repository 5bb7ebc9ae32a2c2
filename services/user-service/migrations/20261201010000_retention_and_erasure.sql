-- The audit keeps two years, and of whoever was erased it keeps what was done but not by whom in person
-- (USR-20, USR-27). Entries are still only added: an entry goes when it is old, and only address and reason
-- of an erased person can be blanked. The service owns the table, so that a trigger is what binds it.
DROP TRIGGER audit_keeps_rows ON audit;

CREATE FUNCTION audit_row_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.at < now() - interval '730 days' THEN
            RETURN OLD;
        END IF;
    ELSIF (NEW.id, NEW.at, NEW.actor, NEW.action, NEW.target, NEW.customer_id, NEW.request_id)
          IS NOT DISTINCT FROM
          (OLD.id, OLD.at, OLD.actor, OLD.action, OLD.target, OLD.customer_id, OLD.request_id)
          AND NEW.ip IN (OLD.ip, '') AND NEW.reason IN (OLD.reason, 'erased')
          AND EXISTS (SELECT FROM users WHERE erased_at IS NOT NULL
                      AND (id = OLD.customer_id OR id::text IN (OLD.actor, OLD.target))) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'permission denied for table audit: entries are never changed or removed'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_row_stays();
CREATE TRIGGER audit_is_never_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
GRANT UPDATE (ip, reason), DELETE ON audit TO CURRENT_USER;

-- What the erasure and the sweep of old rows look for.
CREATE INDEX audit_actor ON audit (actor);
CREATE INDEX audit_target ON audit (target);
CREATE INDEX users_erased ON users (id) WHERE erased_at IS NOT NULL;
CREATE INDEX outbox_aggregate ON outbox (aggregate_id);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX refresh_tokens_expiry ON refresh_tokens (expires_at);
