-- A move of a database waits for the job that copies it.
ALTER TABLE operations DROP CONSTRAINT operations_parked_for_check;
ALTER TABLE operations ADD CONSTRAINT operations_parked_for_check CHECK (parked_for IN ('ready', 'gone', 'pool', 'job'));
