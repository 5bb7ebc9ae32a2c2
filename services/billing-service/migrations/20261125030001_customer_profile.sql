-- What an invoice says about its buyer.
ALTER TABLE customers
    ADD COLUMN company       text NOT NULL DEFAULT '' CHECK (length(company) <= 200),
    ADD COLUMN tax_id        text NOT NULL DEFAULT '' CHECK (length(tax_id) <= 50),
    ADD COLUMN billing_email text NOT NULL DEFAULT '' CHECK (length(billing_email) <= 254),
    -- {street, city, postal_code, region}
    ADD COLUMN address       jsonb NOT NULL DEFAULT '{}',
    -- ISO 3166-1 alpha-2; empty: not said.
    ADD COLUMN country       text NOT NULL DEFAULT '' CHECK (country ~ '^([A-Z]{2})?$'),
    -- The provider could not be read since then (BIL-34).
    ADD COLUMN stale_since   timestamptz,
    -- Last complete look at the provider.
    ADD COLUMN synced_at     timestamptz;
