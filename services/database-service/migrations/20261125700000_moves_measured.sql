-- What was measured of a move, for the estimates of later ones; another server of its own for a tenant whose first one goes into maintenance; the
-- end of the volumes of removed pools (DBS-20, DBS-33).
ALTER TABLE moves ADD COLUMN off_seconds integer CHECK (off_seconds >= 0);
CREATE INDEX moves_off ON moves (switched_at DESC) WHERE off_seconds IS NOT NULL;

-- A dedicated server whose tenant shall move to another one of its own: it is not found for its tenant any more.
ALTER TABLE db_servers ADD COLUMN retiring boolean NOT NULL DEFAULT false;
DROP INDEX db_servers_one_dedicated;
CREATE UNIQUE INDEX db_servers_one_dedicated ON db_servers (instance_id) WHERE status <> 'deprovisioned' AND NOT retiring;

-- When the volume of a removed pool was seen to be gone.
ALTER TABLE db_servers ADD COLUMN volume_removed_at timestamptz;
CREATE INDEX db_servers_volumes ON db_servers (status_since) WHERE status = 'deprovisioned' AND volume_removed_at IS NULL;
