-- The ladder, a change that waits, and when the engine must look again.
ALTER TABLE subscriptions
    ADD COLUMN ladder_state                text NOT NULL DEFAULT 'none' CHECK (ladder_state IN ('none', 'warning', 'suspended', 'terminated')),
    ADD COLUMN ladder_since                timestamptz,
    -- A change of the plan that was asked for: a downgrade waits for its date, an upgrade for its invoice.
    ADD COLUMN pending_plan_name           text,
    ADD COLUMN pending_entitlement_version bigint,
    ADD COLUMN pending_effective_at        timestamptz,
    ADD COLUMN pending_invoice_id          uuid,
    ADD COLUMN cancel_reason               text,
    ADD COLUMN coupon                      text,
    -- Billing time at which something is due; empty: look now. The sweep reads nothing else.
    ADD COLUMN next_due_at                 timestamptz,
    ADD CHECK ((pending_plan_name IS NULL) = (pending_entitlement_version IS NULL)),
    ADD CHECK ((ladder_state = 'none') = (ladder_since IS NULL));
CREATE INDEX subscriptions_due ON subscriptions (next_due_at NULLS FIRST) WHERE status <> 'ended';

-- Mails that are sent once for a subscription: trial reminders (BIL-11).
CREATE TABLE subscription_reminders (
    subscription_id uuid        NOT NULL REFERENCES subscriptions (id),
    kind            text        NOT NULL,
    sent_at         timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, kind)
);
