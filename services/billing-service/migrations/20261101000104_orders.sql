-- The wish of a customer, with all settings of the instance, written before the provider is asked (BIL-08).
CREATE TABLE orders (
    id                  uuid PRIMARY KEY,
    instance_id         uuid        NOT NULL,
    customer_id         uuid        NOT NULL REFERENCES customers (id),
    -- Chosen here, and the provider's key too: asking twice makes one subscription.
    subscription_id     uuid        NOT NULL UNIQUE,
    plan_name           text        NOT NULL,
    entitlement_version bigint      NOT NULL,
    trial               boolean     NOT NULL,
    settings            jsonb       NOT NULL,
    -- placed: the provider may or may not know; subscribed: the subscription row exists; cancelled: taken back.
    state               text        NOT NULL DEFAULT 'placed' CHECK (state IN ('placed', 'subscribed', 'cancelled')),
    -- The instance exists.
    confirmed_at        timestamptz,
    cancel_reason       text,
    -- The provider must still be told that the subscription ended.
    provider_cancel_due boolean     NOT NULL DEFAULT false,
    -- The sweep looks again then.
    next_check_at       timestamptz NOT NULL DEFAULT now(),
    created_at          timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (plan_name, entitlement_version) REFERENCES plan_entitlements (plan_name, version),
    CHECK ((state = 'cancelled') = (cancel_reason IS NOT NULL))
);
