-- One live subscription an instance (INS-42).
CREATE UNIQUE INDEX subscriptions_live_instance ON subscriptions (instance_id) WHERE status <> 'ended';
