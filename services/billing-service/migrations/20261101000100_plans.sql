-- What can be bought (BIL-01). Filled from the catalogue file; a plan that leaves the file stays as a row that is not for sale.
CREATE TABLE plans (
    name           text PRIMARY KEY,
    product        text           NOT NULL,
    tier           text           NOT NULL CHECK (tier IN ('basic', 'standard', 'premium', 'enterprise')),
    billing_period text           NOT NULL CHECK (billing_period IN ('monthly', 'quarterly', 'biannual', 'annual')),
    description    text           NOT NULL,
    -- Minor units of the currency (BIL-06).
    price_minor    numeric(20, 0) NOT NULL CHECK (price_minor >= 0),
    currency       char(3)        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    trial_days     integer        NOT NULL CHECK (trial_days BETWEEN 0 AND 365),
    active         boolean        NOT NULL,
    -- Order in lists.
    position       integer        NOT NULL,
    updated_at     timestamptz    NOT NULL DEFAULT now()
);
