-- A paid or trial right to run one instance.
CREATE TABLE subscriptions (
    id                   uuid PRIMARY KEY,
    order_id             uuid           NOT NULL UNIQUE REFERENCES orders (id),
    customer_id          uuid           NOT NULL REFERENCES customers (id),
    instance_id          uuid           NOT NULL,
    plan_name            text           NOT NULL,
    entitlement_version  bigint         NOT NULL,
    billing_period       text           NOT NULL CHECK (billing_period IN ('monthly', 'quarterly', 'biannual', 'annual')),
    price_minor          numeric(20, 0) NOT NULL CHECK (price_minor >= 0),
    currency             char(3)        NOT NULL,
    status               text           NOT NULL
        CHECK (status IN ('pending', 'trialing', 'active', 'past_due', 'suspended', 'cancelling', 'ended')),
    trial_ends_at        timestamptz,
    -- Day of the month on which periods begin; kept through short months (BIL-20).
    anchor_day           smallint       NOT NULL CHECK (anchor_day BETWEEN 1 AND 31),
    current_period_start timestamptz,
    current_period_end   timestamptz,
    cancel_at            timestamptz,
    ended_at             timestamptz,
    end_reason           text,
    provider             text           NOT NULL CHECK (provider IN ('ledger', 'killbill')),
    provider_id          text           NOT NULL,
    -- Optimistic lock.
    version              bigint         NOT NULL DEFAULT 1,
    created_at           timestamptz    NOT NULL DEFAULT now(),
    updated_at           timestamptz    NOT NULL DEFAULT now(),
    FOREIGN KEY (plan_name, entitlement_version) REFERENCES plan_entitlements (plan_name, version),
    CHECK ((status = 'ended') = (ended_at IS NOT NULL)),
    CHECK (status <> 'trialing' OR trial_ends_at IS NOT NULL),
    CHECK (current_period_end > current_period_start)
);
