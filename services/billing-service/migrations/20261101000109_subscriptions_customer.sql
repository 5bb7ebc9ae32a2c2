-- Lists of a customer, newest first.
CREATE INDEX subscriptions_customer ON subscriptions (customer_id, created_at DESC);
