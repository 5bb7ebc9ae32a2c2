-- A rate begins on a day and holds until the next one of its country; a row without a rate ends it. Rows that have begun are never changed.
ALTER TABLE tax_rates
    ADD COLUMN valid_from date NOT NULL DEFAULT '2000-01-01',
    ADD COLUMN created_at timestamptz NOT NULL DEFAULT now(),
    ALTER COLUMN rate_bp DROP NOT NULL,
    DROP CONSTRAINT tax_rates_pkey,
    ADD PRIMARY KEY (country, valid_from);
-- Who used a coupon, newest first.
CREATE INDEX coupon_redemptions_code ON coupon_redemptions (code, redeemed_at DESC);
