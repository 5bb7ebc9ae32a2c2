-- The senders' question: what is due, security mails first.
CREATE INDEX emails_due ON emails (priority, next_attempt_at) WHERE status IN ('queued', 'sending');
