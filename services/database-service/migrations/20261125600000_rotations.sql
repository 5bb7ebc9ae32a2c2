-- Changes of tenants' passwords (DBS-32). The id is that of the operation in instance-service, and of the task.
CREATE TABLE rotations (
    id            uuid PRIMARY KEY,
    allocation_id uuid        NOT NULL REFERENCES allocations (id) ON DELETE CASCADE,
    db_server_id  uuid        NOT NULL REFERENCES db_servers (id),
    -- begun: the new role may be there. ready: it is, and both passwords are valid. switched: the new one is given out, both are valid.
    -- retired: the old role is gone. aborting: the new role is being dropped. aborted: nothing is left of it.
    state         text        NOT NULL CHECK (state IN ('begun', 'ready', 'switched', 'retired', 'aborting', 'aborted')),
    old_user      text        NOT NULL,
    new_user      text        NOT NULL,
    -- New password until the switch, encrypted for the id of the allocation.
    key_id        text,
    sealed        bytea,
    last_error    text        NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT rotations_change_the_role CHECK (old_user <> new_user),
    CONSTRAINT rotations_secret_is_whole CHECK ((key_id IS NULL) = (sealed IS NULL)),
    CONSTRAINT rotations_switch_needs_a_secret CHECK (state NOT IN ('begun', 'ready') OR sealed IS NOT NULL)
);
-- One at a time.
CREATE UNIQUE INDEX rotations_one_at_a_time ON rotations (allocation_id) WHERE state IN ('begun', 'ready', 'switched', 'aborting');
CREATE INDEX rotations_unfinished ON rotations (updated_at) WHERE state IN ('begun', 'ready', 'switched', 'aborting');

-- The administrator's password of a server while it changes: written down before the server gets it. Until it is the one, both are tried.
ALTER TABLE server_secrets
    ADD COLUMN next_key_id text,
    ADD COLUMN next_sealed bytea,
    ADD COLUMN next_hash   text,
    ADD CONSTRAINT server_secrets_next_is_whole CHECK (((next_key_id IS NULL) = (next_sealed IS NULL)) AND ((next_key_id IS NULL) = (next_hash IS NULL)));
