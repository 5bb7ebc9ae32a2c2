-- The operators' question: the newest first, of one customer or of all.
CREATE INDEX emails_created ON emails (created_at DESC);
CREATE INDEX emails_customer ON emails (customer_id, created_at DESC);
