-- Orders that are on their way to the provider, by customer: few at any time.
CREATE INDEX orders_placed ON orders (customer_id) WHERE state = 'placed';
