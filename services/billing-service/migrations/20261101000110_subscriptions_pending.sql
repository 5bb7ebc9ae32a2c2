-- Orders that wait for their first payment, for the sweep that ends them (BIL-13).
CREATE INDEX subscriptions_pending ON subscriptions (created_at) WHERE status = 'pending';
