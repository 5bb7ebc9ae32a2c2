-- A claim has an identity of its own: whoever claimed an operation before, under whatever name, changes nothing any more.
ALTER TABLE operations ADD COLUMN lease_token uuid;
-- An operation whose row or step this release does not know is parked for one that does.
ALTER TABLE operations DROP CONSTRAINT operations_parked_for_check;
ALTER TABLE operations ADD CONSTRAINT operations_parked_for_check
    CHECK (parked_for IN ('ready', 'gone', 'pool', 'job', 'release'));
