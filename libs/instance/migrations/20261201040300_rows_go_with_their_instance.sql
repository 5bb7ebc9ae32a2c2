-- A purged instance goes when its time for the accounts has passed, and what is left of its history with it.
ALTER TABLE operations DROP CONSTRAINT operations_instance_id_fkey,
    ADD CONSTRAINT operations_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES instances (id) ON DELETE CASCADE;
ALTER TABLE instance_events DROP CONSTRAINT instance_events_instance_id_fkey,
    ADD CONSTRAINT instance_events_instance_id_fkey
        FOREIGN KEY (instance_id) REFERENCES instances (id) ON DELETE CASCADE;
-- Retention finds what is old by these.
CREATE INDEX operations_ended ON operations (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX instance_events_by_age ON instance_events (at);
CREATE INDEX audit_log_by_age ON audit_log (at);
CREATE INDEX instances_purged ON instances (updated_at) WHERE status = 'purged';
