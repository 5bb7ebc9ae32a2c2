-- One live order an instance: an order is idempotent by its instance.
CREATE UNIQUE INDEX orders_live_instance ON orders (instance_id) WHERE state <> 'cancelled';
