-- A payment through a gateway: when it was begun and until when it may take, in real time (the clock of billing may be moved, a phone's prompt
-- may not). `next_poll_at` is real time too.
ALTER TABLE payments
    ADD COLUMN begun_at   timestamptz,
    ADD COLUMN expires_at timestamptz,
    ADD CHECK ((begun_at IS NULL) = (expires_at IS NULL));
-- Also what ended without money is looked at again for a while: money may come late.
DROP INDEX payments_poll;
CREATE INDEX payments_poll ON payments (next_poll_at) WHERE next_poll_at IS NOT NULL;
