-- Subscriptions whose instance is asked for. A fact about an instance is a hint: what it stands for is read from
-- instance-service, outside of every transaction, and again until it has answered. Times are real ones.
CREATE TABLE instance_checks (
    subscription_id uuid PRIMARY KEY,
    due_at          timestamptz NOT NULL
);
CREATE INDEX instance_checks_due ON instance_checks (due_at);

-- The comparison of all of them, which finds what no fact told.
INSERT INTO schedule (name, due_at) VALUES ('instances', now());

-- What an invoice says about a buyer who is no company, and the country that was given at registration: it holds until
-- the billing account says otherwise.
ALTER TABLE customers
    ADD COLUMN person             text NOT NULL DEFAULT '',
    ADD COLUMN registered_country text NOT NULL DEFAULT '' CHECK (registered_country ~ '^([A-Z]{2})?$');
