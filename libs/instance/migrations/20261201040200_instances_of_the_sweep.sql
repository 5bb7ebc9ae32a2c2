-- The sweep looks at the few instances that may want something, not at all that were ever made.
CREATE INDEX instances_that_may_want ON instances (id)
    WHERE status IN ('terminated', 'suspended', 'error') OR billing_hold OR operator_hold;
