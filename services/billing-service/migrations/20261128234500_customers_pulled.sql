-- When the last pull began whose state was applied: what a hook hinted at before that is seen.
ALTER TABLE customers ADD COLUMN pulled_at timestamptz;
