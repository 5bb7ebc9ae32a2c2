-- What an operator did says so: `platform` is what happened without anybody asking.
ALTER TABLE instance_events DROP CONSTRAINT instance_events_cause_check;
ALTER TABLE instance_events ADD CONSTRAINT instance_events_cause_check
    CHECK (cause IN ('platform', 'operator', 'tenant', 'customer', 'billing'));
