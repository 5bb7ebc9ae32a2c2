-- Who used a coupon, for which subscription, on how many invoices so far (BIL-36).
ALTER TABLE coupons
    ADD COLUMN starts_at         timestamptz,
    ADD COLUMN once_per_customer boolean NOT NULL DEFAULT true,
    ADD CHECK (uses >= 0);
CREATE TABLE coupon_redemptions (
    -- Written with the order, before the subscription is there.
    subscription_id uuid PRIMARY KEY,
    code            text        NOT NULL REFERENCES coupons (code),
    customer_id     uuid        NOT NULL REFERENCES customers (id),
    once            boolean     NOT NULL,
    invoices        integer     NOT NULL DEFAULT 0 CHECK (invoices >= 0),
    redeemed_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX coupon_redemptions_once ON coupon_redemptions (code, customer_id) WHERE once;
