-- Closures are worked on again a minute after they began, for what came up at the same moment (USR-20).
CREATE INDEX closures_due ON closures (next_try) WHERE erased_at IS NULL;
