-- The newest sent mail, for the health page of operators.
CREATE INDEX emails_sent ON emails (sent_at DESC) WHERE sent_at IS NOT NULL;
