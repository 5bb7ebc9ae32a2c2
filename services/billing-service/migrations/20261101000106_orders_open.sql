-- The sweep's question: what is not finished?
CREATE INDEX orders_open ON orders (next_check_at)
    WHERE state = 'placed' OR (state = 'subscribed' AND confirmed_at IS NULL) OR provider_cancel_due;
