-- Which tenant has its database where (DBS-08, DBS-23). The names are those on the server.
CREATE TABLE allocations (
    id           uuid PRIMARY KEY,
    instance_id  text        NOT NULL UNIQUE CHECK (length(instance_id) BETWEEN 1 AND 63),
    customer_id  text        NOT NULL CHECK (length(customer_id) BETWEEN 1 AND 63),
    db_server_id uuid        NOT NULL REFERENCES db_servers (id),
    db_name      text        NOT NULL CHECK (length(db_name) BETWEEN 1 AND 62),
    db_user      text        NOT NULL CHECK (length(db_user) BETWEEN 1 AND 62),
    plan_tier    text        NOT NULL CHECK (plan_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    state        text        NOT NULL CHECK (state IN ('allocating', 'allocated', 'released', 'purged')),
    -- Dropping has begun: there is no way back to allocated.
    purging      boolean     NOT NULL DEFAULT false,
    last_error   text        NOT NULL DEFAULT '',
    allocated_at timestamptz,
    released_at  timestamptz,
    purge_after  timestamptz,
    purged_at    timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT allocations_released_has_an_end CHECK (state <> 'released' OR purge_after IS NOT NULL),
    CONSTRAINT allocations_purging_is_released CHECK (NOT purging OR state IN ('released', 'purged'))
);
CREATE UNIQUE INDEX allocations_name_on_server ON allocations (db_server_id, db_name) WHERE state <> 'purged';
CREATE INDEX allocations_unfinished ON allocations (updated_at) WHERE state = 'allocating' OR (purging AND state <> 'purged');

-- current_instances = allocations that hold a slot: all but the purged ones.
CREATE FUNCTION allocations_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('UPDATE', 'DELETE') AND OLD.state <> 'purged' THEN
        UPDATE db_servers SET current_instances = current_instances - 1 WHERE id = OLD.db_server_id;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') AND NEW.state <> 'purged' THEN
        UPDATE db_servers SET current_instances = current_instances + 1 WHERE id = NEW.db_server_id;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER allocations_counted_on_change AFTER INSERT OR DELETE ON allocations
    FOR EACH ROW EXECUTE FUNCTION allocations_count();
CREATE TRIGGER allocations_counted_on_update AFTER UPDATE ON allocations
    FOR EACH ROW WHEN ((OLD.state = 'purged') <> (NEW.state = 'purged') OR OLD.db_server_id <> NEW.db_server_id)
    EXECUTE FUNCTION allocations_count();
