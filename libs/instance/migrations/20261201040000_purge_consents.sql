-- Who said that the data of an instance may be removed after its retention although no backup of it was made:
-- the owner, who left the backup out or closed the account, or an administrator, with the reason (INS-26).
-- Without such a word the data stays. The row goes when the instance comes back: another end needs another
-- word.
CREATE TABLE purge_consents (
    instance_id uuid PRIMARY KEY REFERENCES instances (id) ON DELETE CASCADE,
    -- User id or service name.
    given_by    text        NOT NULL,
    -- Role word, or `service`.
    role        text        NOT NULL,
    reason      text        NOT NULL DEFAULT '',
    request_id  text        NOT NULL DEFAULT '',
    given_at    timestamptz NOT NULL DEFAULT now()
);
