-- Money that arrives, or is on its way (BIL-26).
CREATE TABLE payments (
    id                uuid PRIMARY KEY,
    customer_id       uuid           NOT NULL REFERENCES customers (id),
    invoice_id        uuid           NOT NULL REFERENCES invoices (id),
    amount_minor      numeric(20, 0) NOT NULL CHECK (amount_minor > 0),
    refunded_minor    numeric(20, 0) NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND amount_minor),
    currency          char(3)        NOT NULL,
    -- ecocash, onemoney, card, bank, test, …
    method            text           NOT NULL,
    -- paynow, external, test, killbill
    gateway           text           NOT NULL,
    -- Ours towards the gateway, or the bank's; one payment each.
    reference         text           NOT NULL,
    -- The gateway's own name of it.
    gateway_reference text           NOT NULL DEFAULT '',
    gateway_status    text           NOT NULL DEFAULT '',
    state             text           NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'paid', 'failed', 'cancelled', 'refunded', 'disputed')),
    -- Where the gateway is asked; allow-listed host.
    poll_url          text           NOT NULL DEFAULT '',
    redirect_url      text           NOT NULL DEFAULT '',
    next_poll_at      timestamptz,
    polls             integer        NOT NULL DEFAULT 0,
    -- Why an admin recorded it, or why it failed.
    reason            text           NOT NULL DEFAULT '',
    actor             text           NOT NULL DEFAULT '',
    received_at       timestamptz,
    settled_at        timestamptz,
    created_at        timestamptz    NOT NULL DEFAULT now(),
    updated_at        timestamptz    NOT NULL DEFAULT now(),
    UNIQUE (gateway, reference)
);
CREATE INDEX payments_customer ON payments (customer_id, created_at DESC);
CREATE INDEX payments_invoice ON payments (invoice_id);
CREATE INDEX payments_poll ON payments (next_poll_at) WHERE state = 'pending' AND next_poll_at IS NOT NULL;

CREATE FUNCTION payments_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
       OR (OLD.state IN ('paid', 'refunded') AND NEW.state NOT IN ('paid', 'refunded', 'disputed'))
       OR (NEW.customer_id, NEW.invoice_id, NEW.amount_minor, NEW.currency, NEW.gateway, NEW.reference)
          IS DISTINCT FROM (OLD.customer_id, OLD.invoice_id, OLD.amount_minor, OLD.currency, OLD.gateway, OLD.reference) THEN
        RAISE EXCEPTION 'there is no way back from a paid payment' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_forward BEFORE UPDATE OR DELETE ON payments FOR EACH ROW EXECUTE FUNCTION payments_forward();

-- Money given back (BIL-29).
CREATE TABLE refunds (
    id           uuid PRIMARY KEY,
    payment_id   uuid           NOT NULL REFERENCES payments (id),
    amount_minor numeric(20, 0) NOT NULL CHECK (amount_minor > 0),
    currency     char(3)        NOT NULL,
    reason       text           NOT NULL,
    actor        text           NOT NULL,
    -- Repeats of a request find the first one.
    key          text           NOT NULL UNIQUE,
    created_at   timestamptz    NOT NULL
);

-- Credit of a customer: given by an admin, or money that had no invoice any more. Used before the next invoice is paid.
CREATE TABLE credits (
    id              uuid PRIMARY KEY,
    customer_id     uuid           NOT NULL REFERENCES customers (id),
    amount_minor    numeric(20, 0) NOT NULL CHECK (amount_minor > 0),
    remaining_minor numeric(20, 0) NOT NULL CHECK (remaining_minor BETWEEN 0 AND amount_minor),
    currency        char(3)        NOT NULL,
    reason          text           NOT NULL,
    actor           text           NOT NULL,
    key             text           NOT NULL UNIQUE,
    created_at      timestamptz    NOT NULL
);
CREATE INDEX credits_left ON credits (customer_id, created_at) WHERE remaining_minor > 0;
