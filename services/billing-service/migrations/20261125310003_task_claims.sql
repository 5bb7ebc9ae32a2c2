-- A task that a replica works on is left alone by the others until then, in real time.
ALTER TABLE tasks ADD COLUMN held_until timestamptz;
