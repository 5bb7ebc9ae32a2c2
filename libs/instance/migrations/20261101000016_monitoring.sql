-- The one row by which operators steer the watch and the leader reports on it (MON-01…06).
CREATE TABLE monitoring (
    singleton              boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- Null: nobody has said; the leader then takes AUTO_START_MONITORING.
    enabled                boolean,
    changed_by             text        NOT NULL DEFAULT '',
    reason                 text        NOT NULL DEFAULT '',
    changed_at             timestamptz,
    -- Grows with each wish for a fresh watch; the leader reconnects when it sees a new one.
    restarts_wanted        bigint      NOT NULL DEFAULT 0,
    -- A wish to compare everything (or one instance) with the cluster; taken by the leader.
    reconcile_task         uuid,
    reconcile_instance     uuid,
    reconcile_requested_at timestamptz,
    reconcile_finished_at  timestamptz,
    -- Report of the leader.
    leader                 text        NOT NULL DEFAULT '',
    -- Grows with each change of leader: a report of an older leader is refused (REL-05).
    leader_generation      bigint      NOT NULL DEFAULT 0,
    watch_connected        boolean     NOT NULL DEFAULT false,
    last_event_at          timestamptz,
    last_relist_at         timestamptz,
    resource_version       text        NOT NULL DEFAULT '',
    reconnects             bigint      NOT NULL DEFAULT 0,
    instances_tracked      bigint      NOT NULL DEFAULT 0,
    queue_depth            bigint      NOT NULL DEFAULT 0,
    reported_at            timestamptz
);
INSERT INTO monitoring DEFAULT VALUES;

CREATE FUNCTION monitoring_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('monitoring', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER monitoring_wakes_leader AFTER UPDATE ON monitoring FOR EACH ROW
    WHEN (OLD.enabled IS DISTINCT FROM NEW.enabled OR OLD.restarts_wanted IS DISTINCT FROM NEW.restarts_wanted
          OR OLD.reconcile_task IS DISTINCT FROM NEW.reconcile_task)
    EXECUTE FUNCTION monitoring_notify();
