-- Moves of tenants' databases (DBS-33). The id is that of the operation in instance-service.
CREATE TABLE moves (
    id               uuid PRIMARY KEY,
    allocation_id    uuid        NOT NULL REFERENCES allocations (id) ON DELETE CASCADE,
    source_server_id uuid        NOT NULL REFERENCES db_servers (id),
    target_server_id uuid        NOT NULL REFERENCES db_servers (id),
    -- Tier of the allocation after the move.
    plan_tier        text        NOT NULL CHECK (plan_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    -- reserved: a slot is held on the target. copying, verified: the copy exists. switched: the copy is the database, the source is kept.
    -- aborting: the copy is being dropped. aborted, dropped: nothing is left of the copy, or of the source.
    state            text        NOT NULL CHECK (state IN ('reserved', 'copying', 'verified', 'switched', 'aborting', 'aborted', 'dropped')),
    -- The server where the move holds a slot besides the allocation's own: the target before the switch, the source after it.
    holds_server_id  uuid        REFERENCES db_servers (id),
    -- Password of the role on the target until the switch, encrypted for the id of the move.
    key_id           text,
    sealed           bytea,
    size_bytes       bigint      NOT NULL DEFAULT 0,
    last_error       text        NOT NULL DEFAULT '',
    switched_at      timestamptz,
    -- Logins to the source are off.
    closed_at        timestamptz,
    drop_after       timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT moves_lead_elsewhere CHECK (source_server_id <> target_server_id),
    CONSTRAINT moves_secret_is_whole CHECK ((key_id IS NULL) = (sealed IS NULL)),
    CONSTRAINT moves_switched_has_an_end CHECK (state <> 'switched' OR drop_after IS NOT NULL)
);
-- One move of a tenant at a time.
CREATE UNIQUE INDEX moves_one_at_a_time ON moves (allocation_id) WHERE state IN ('reserved', 'copying', 'verified', 'aborting');
CREATE INDEX moves_kept ON moves (drop_after) WHERE state = 'switched';

-- A held slot counts like a tenant (DBS-23).
CREATE FUNCTION moves_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND OLD.holds_server_id IS NOT NULL THEN
        UPDATE db_servers SET current_instances = current_instances - 1 WHERE id = OLD.holds_server_id;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') AND NEW.holds_server_id IS NOT NULL THEN
        UPDATE db_servers SET current_instances = current_instances + 1 WHERE id = NEW.holds_server_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER moves_counted_on_change AFTER INSERT OR DELETE ON moves
    FOR EACH ROW EXECUTE FUNCTION moves_count();
CREATE TRIGGER moves_counted_on_update AFTER UPDATE ON moves
    FOR EACH ROW WHEN (OLD.holds_server_id IS DISTINCT FROM NEW.holds_server_id)
    EXECUTE FUNCTION moves_count();
