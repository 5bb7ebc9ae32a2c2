-- The database of billing-service: what can be bought, who bought what, and the books.

-- The domain clock of billing: real time plus this offset (one row). It only goes forward, and moves money
-- and nothing else.
CREATE TABLE billing_clock (
    only_row       boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    offset_seconds bigint      NOT NULL DEFAULT 0 CHECK (offset_seconds >= 0),
    moved_at       timestamptz NOT NULL DEFAULT now()
);
INSERT INTO billing_clock DEFAULT VALUES;

CREATE FUNCTION billing_clock_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR NEW.offset_seconds < OLD.offset_seconds THEN
        RAISE EXCEPTION 'the billing clock only goes forward' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER billing_clock_forward BEFORE UPDATE OR DELETE ON billing_clock
    FOR EACH ROW EXECUTE FUNCTION billing_clock_forward();

-- What can be bought (BIL-01). It is filled from the catalogue file; a plan that leaves the file stays as a
-- row that is not for sale.
CREATE TABLE plans (
    name           text PRIMARY KEY,
    product        text           NOT NULL,
    tier           text           NOT NULL CHECK (tier IN ('basic', 'standard', 'premium', 'enterprise')),
    billing_period text           NOT NULL
                   CHECK (billing_period IN ('monthly', 'quarterly', 'biannual', 'annual')),
    description    text           NOT NULL,
    -- Minor units of the currency (BIL-06).
    price_minor    numeric(20, 0) NOT NULL CHECK (price_minor >= 0),
    currency       char(3)        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    trial_days     integer        NOT NULL CHECK (trial_days BETWEEN 0 AND 365),
    active         boolean        NOT NULL,
    -- The order in lists.
    position       integer        NOT NULL,
    updated_at     timestamptz    NOT NULL DEFAULT now()
);

-- What a plan gives. Versions are never changed: a subscription keeps the version that it was bought with.
CREATE TABLE plan_entitlements (
    plan_name       text        NOT NULL REFERENCES plans (name),
    version         bigint      NOT NULL CHECK (version > 0),
    cpu_millis      integer     NOT NULL CHECK (cpu_millis > 0),
    memory_mib      bigint      NOT NULL CHECK (memory_mib > 0),
    storage_mib     bigint      NOT NULL CHECK (storage_mib > 0),
    db_type         text        NOT NULL CHECK (db_type IN ('shared', 'dedicated')),
    db_tier         text        NOT NULL CHECK (db_tier IN ('starter', 'standard', 'premium', 'enterprise')),
    backup_schedule text        NOT NULL,
    backups_keep    integer     NOT NULL CHECK (backups_keep >= 0),
    max_users_note  text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (plan_name, version)
);

-- The digest of the catalogue file that was applied last: a start with the same file writes nothing.
CREATE TABLE catalogue_state (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    digest     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- The billing account of a customer: one each, made by the event of the registration or by the first order
-- (BIL-07).
CREATE TABLE customers (
    -- The customer's id in user-service, and the key of the account at the provider.
    id                    uuid PRIMARY KEY,
    currency              char(3)     NOT NULL DEFAULT 'USD',
    -- The provider's own name of the account; empty until it was made there.
    provider_account_id   text,
    -- Hash of the normalised address, for the trial rule (BIL-09); never the address.
    email_hash            bytea       CHECK (length(email_hash) = 32),
    created_at            timestamptz NOT NULL DEFAULT now(),
    closed_at             timestamptz,
    -- What an invoice says about its buyer.
    company               text        NOT NULL DEFAULT '' CHECK (length(company) <= 200),
    tax_id                text        NOT NULL DEFAULT '' CHECK (length(tax_id) <= 50),
    billing_email         text        NOT NULL DEFAULT '' CHECK (length(billing_email) <= 254),
    -- {street, city, postal_code, region}
    address               jsonb       NOT NULL DEFAULT '{}',
    -- ISO 3166-1 alpha-2; empty when the customer did not say.
    country               text        NOT NULL DEFAULT '' CHECK (country ~ '^([A-Z]{2})?$'),
    -- The provider could not be read since then (BIL-34).
    stale_since           timestamptz,
    -- The last complete look at the provider.
    synced_at             timestamptz,
    -- It rises with each snapshot that was applied and each call that the provider answered: a snapshot that
    -- was pulled before either is old.
    sync_seq              bigint      NOT NULL DEFAULT 0,
    -- What the provider owes the customer; when it is empty, our own table of credits says it.
    provider_credit_minor numeric(20, 0),
    -- When the last pull began whose state was applied: what a hook hinted at before that is seen.
    pulled_at             timestamptz
);
CREATE INDEX customers_synced ON customers (synced_at NULLS FIRST) WHERE provider_account_id IS NOT NULL;
CREATE INDEX customers_provider_account ON customers (provider_account_id);

-- The wish of a customer, with all settings of the instance, written before the provider is asked (BIL-08).
CREATE TABLE orders (
    id                  uuid PRIMARY KEY,
    instance_id         uuid        NOT NULL,
    customer_id         uuid        NOT NULL REFERENCES customers (id),
    -- It is chosen here, and is the provider's key too: asking twice makes one subscription.
    subscription_id     uuid        NOT NULL UNIQUE,
    plan_name           text        NOT NULL,
    entitlement_version bigint      NOT NULL,
    trial               boolean     NOT NULL,
    settings            jsonb       NOT NULL,
    -- placed: the provider may or may not know. subscribed: the subscription row exists. cancelled: taken
    -- back.
    state               text        NOT NULL DEFAULT 'placed'
                        CHECK (state IN ('placed', 'subscribed', 'cancelled')),
    -- When the instance was known to exist.
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
-- An instance has one live order: an order is idempotent by its instance.
CREATE UNIQUE INDEX orders_live_instance ON orders (instance_id) WHERE state <> 'cancelled';
-- The sweep's question: what is not finished?
CREATE INDEX orders_open ON orders (next_check_at)
    WHERE state = 'placed' OR (state = 'subscribed' AND confirmed_at IS NULL) OR provider_cancel_due;
-- Orders that are on their way to the provider, by customer: few at any time.
CREATE INDEX orders_placed ON orders (customer_id) WHERE state = 'placed';

-- A paid or trial right to run one instance.
CREATE TABLE subscriptions (
    id                          uuid PRIMARY KEY,
    order_id                    uuid           NOT NULL UNIQUE REFERENCES orders (id),
    customer_id                 uuid           NOT NULL REFERENCES customers (id),
    instance_id                 uuid           NOT NULL,
    plan_name                   text           NOT NULL,
    entitlement_version         bigint         NOT NULL,
    billing_period              text           NOT NULL
                                CHECK (billing_period IN ('monthly', 'quarterly', 'biannual', 'annual')),
    price_minor                 numeric(20, 0) NOT NULL CHECK (price_minor >= 0),
    currency                    char(3)        NOT NULL,
    status                      text           NOT NULL
                                CHECK (status IN ('pending', 'trialing', 'active', 'past_due', 'suspended',
                                                  'cancelling', 'ended')),
    trial_ends_at               timestamptz,
    -- The day of the month on which periods begin; it is kept through short months (BIL-20).
    anchor_day                  smallint       NOT NULL CHECK (anchor_day BETWEEN 1 AND 31),
    current_period_start        timestamptz,
    current_period_end          timestamptz,
    cancel_at                   timestamptz,
    ended_at                    timestamptz,
    end_reason                  text,
    provider                    text           NOT NULL CHECK (provider IN ('ledger', 'killbill')),
    provider_id                 text           NOT NULL,
    -- Optimistic lock.
    version                     bigint         NOT NULL DEFAULT 1,
    created_at                  timestamptz    NOT NULL DEFAULT now(),
    updated_at                  timestamptz    NOT NULL DEFAULT now(),
    -- How far the ladder of reminders went for an unpaid invoice.
    ladder_state                text           NOT NULL DEFAULT 'none'
                                CHECK (ladder_state IN ('none', 'warning', 'suspended', 'terminated')),
    ladder_since                timestamptz,
    -- A change of the plan that was asked for: a downgrade waits for its date, an upgrade for its invoice.
    pending_plan_name           text,
    pending_entitlement_version bigint,
    pending_effective_at        timestamptz,
    pending_invoice_id          uuid,
    cancel_reason               text,
    coupon                      text,
    -- Billing time at which something is due; empty means: look now. The sweep reads nothing else.
    next_due_at                 timestamptz,
    FOREIGN KEY (plan_name, entitlement_version) REFERENCES plan_entitlements (plan_name, version),
    CHECK ((status = 'ended') = (ended_at IS NOT NULL)),
    CHECK (status <> 'trialing' OR trial_ends_at IS NOT NULL),
    CHECK (current_period_end > current_period_start),
    CHECK ((pending_plan_name IS NULL) = (pending_entitlement_version IS NULL)),
    CHECK ((ladder_state = 'none') = (ladder_since IS NULL))
);
-- An instance has one live subscription (INS-42).
CREATE UNIQUE INDEX subscriptions_live_instance ON subscriptions (instance_id) WHERE status <> 'ended';
-- Lists of a customer, newest first.
CREATE INDEX subscriptions_customer ON subscriptions (customer_id, created_at DESC);
-- Orders that wait for their first payment, for the sweep that ends them (BIL-13).
CREATE INDEX subscriptions_pending ON subscriptions (created_at) WHERE status = 'pending';
CREATE INDEX subscriptions_due ON subscriptions (next_due_at NULLS FIRST) WHERE status <> 'ended';

-- Mails that are sent once for a subscription: trial reminders (BIL-11).
CREATE TABLE subscription_reminders (
    subscription_id uuid        NOT NULL REFERENCES subscriptions (id),
    kind            text        NOT NULL,
    sent_at         timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, kind)
);

-- One trial for a customer and for an address, for life (BIL-09). A grant is taken back only when its
-- instance never came to be.
CREATE TABLE trial_grants (
    subscription_id uuid PRIMARY KEY,
    customer_id     uuid        NOT NULL UNIQUE REFERENCES customers (id),
    email_hash      bytea       NOT NULL UNIQUE CHECK (length(email_hash) = 32),
    plan_name       text        NOT NULL,
    granted_at      timestamptz NOT NULL DEFAULT now()
);

-- Discounts (BIL-36).
CREATE TABLE coupons (
    code              text PRIMARY KEY CHECK (code ~ '^[A-Z0-9_-]{3,40}$'),
    -- Hundredths of a percent, or an amount.
    percent_bp        integer        CHECK (percent_bp BETWEEN 1 AND 10000),
    amount_minor      numeric(20, 0) CHECK (amount_minor > 0),
    currency          char(3),
    -- For how many invoices of a subscription it holds; empty means all.
    invoices          integer        CHECK (invoices > 0),
    max_uses          integer        CHECK (max_uses > 0),
    uses              integer        NOT NULL DEFAULT 0,
    active            boolean        NOT NULL DEFAULT true,
    expires_at        timestamptz,
    created_at        timestamptz    NOT NULL DEFAULT now(),
    starts_at         timestamptz,
    once_per_customer boolean        NOT NULL DEFAULT true,
    CHECK ((percent_bp IS NULL) <> (amount_minor IS NULL)),
    CHECK ((amount_minor IS NULL) = (currency IS NULL)),
    CHECK (uses >= 0)
);

-- Who used a coupon, for which subscription, on how many invoices so far (BIL-36).
CREATE TABLE coupon_redemptions (
    -- It is written with the order, before the subscription is there.
    subscription_id uuid PRIMARY KEY,
    code            text        NOT NULL REFERENCES coupons (code),
    customer_id     uuid        NOT NULL REFERENCES customers (id),
    once            boolean     NOT NULL,
    invoices        integer     NOT NULL DEFAULT 0 CHECK (invoices >= 0),
    redeemed_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX coupon_redemptions_once ON coupon_redemptions (code, customer_id) WHERE once;
-- Who used a coupon, newest first.
CREATE INDEX coupon_redemptions_code ON coupon_redemptions (code, redeemed_at DESC);

-- A rate begins on a day and holds until the next one of its country; a row without a rate ends it. Rows that
-- have begun are never changed (BIL-36).
CREATE TABLE tax_rates (
    country        text        CHECK (country ~ '^[A-Z]{2}$'),
    name           text        NOT NULL,
    -- Hundredths of a percent.
    rate_bp        integer     CHECK (rate_bp BETWEEN 0 AND 10000),
    -- A buyer with a tax id owes the tax itself.
    reverse_charge boolean     NOT NULL DEFAULT false,
    valid_from     date        NOT NULL DEFAULT '2000-01-01',
    created_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (country, valid_from)
);

-- Numbers of invoices: taken by an UPDATE in the transaction that issues, so that there is no gap (BIL-17).
CREATE TABLE invoice_numbers (
    issuer text PRIMARY KEY,
    last   bigint NOT NULL DEFAULT 0 CHECK (last >= 0)
);

-- Documents over the journal. One is written as a draft with its lines, then issued; after that only state
-- and balance move.
CREATE TABLE invoices (
    id              uuid PRIMARY KEY,
    issuer          text           NOT NULL,
    sequence        bigint,
    -- As printed; the provider's when it keeps the books.
    number          text,
    customer_id     uuid           NOT NULL REFERENCES customers (id),
    subscription_id uuid           REFERENCES subscriptions (id),
    kind            text           NOT NULL
                    CHECK (kind IN ('first', 'recurring', 'upgrade', 'manual', 'credit_note')),
    -- The same document is written once, whoever asks how often.
    key             text           NOT NULL UNIQUE,
    status          text           NOT NULL DEFAULT 'draft'
                    CHECK (status IN ('draft', 'open', 'paid', 'void', 'written_off')),
    currency        char(3)        NOT NULL,
    subtotal_minor  numeric(20, 0) NOT NULL DEFAULT 0,
    tax_minor       numeric(20, 0) NOT NULL DEFAULT 0,
    total_minor     numeric(20, 0) NOT NULL DEFAULT 0,
    -- What is left to pay.
    balance_minor   numeric(20, 0) NOT NULL DEFAULT 0,
    -- The buyer as it was then, tax note and rate.
    buyer           jsonb          NOT NULL DEFAULT '{}',
    note            text           NOT NULL DEFAULT '',
    -- The invoice that a credit note corrects.
    corrects_id     uuid           REFERENCES invoices (id),
    issued_at       timestamptz,
    due_at          timestamptz,
    paid_at         timestamptz,
    closed_reason   text,
    provider        text           NOT NULL CHECK (provider IN ('ledger', 'killbill')),
    provider_id     text           NOT NULL,
    created_at      timestamptz    NOT NULL DEFAULT now(),
    UNIQUE (issuer, sequence),
    UNIQUE (provider, provider_id),
    CHECK (total_minor = subtotal_minor + tax_minor),
    CHECK (status = 'draft' OR (issued_at IS NOT NULL AND due_at IS NOT NULL AND number IS NOT NULL)),
    CHECK (status <> 'paid' OR balance_minor = 0)
);
CREATE INDEX invoices_customer ON invoices (customer_id, issued_at DESC);
CREATE INDEX invoices_subscription ON invoices (subscription_id, issued_at DESC);
CREATE INDEX invoices_open ON invoices (subscription_id, due_at) WHERE status = 'open';

CREATE FUNCTION invoices_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'draft' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' OR NEW.status = 'draft'
       OR (OLD.status IN ('paid', 'void', 'written_off') AND NEW.status = 'open' AND OLD.status <> 'paid')
       OR to_jsonb(NEW) - ARRAY['status', 'balance_minor', 'paid_at', 'closed_reason']
          IS DISTINCT FROM to_jsonb(OLD) - ARRAY['status', 'balance_minor', 'paid_at', 'closed_reason'] THEN
        RAISE EXCEPTION 'an issued invoice is immutable' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER invoices_immutable BEFORE UPDATE OR DELETE ON invoices
    FOR EACH ROW EXECUTE FUNCTION invoices_immutable();

CREATE TABLE invoice_lines (
    invoice_id   uuid           NOT NULL REFERENCES invoices (id),
    position     integer        NOT NULL,
    kind         text           NOT NULL
                 CHECK (kind IN ('plan', 'proration', 'discount', 'credit', 'tax', 'manual')),
    description  text           NOT NULL,
    quantity     integer        NOT NULL DEFAULT 1,
    unit_minor   numeric(20, 0) NOT NULL,
    amount_minor numeric(20, 0) NOT NULL,
    period_start timestamptz,
    period_end   timestamptz,
    PRIMARY KEY (invoice_id, position)
);

CREATE FUNCTION invoice_lines_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    of_invoice uuid := CASE WHEN TG_OP = 'DELETE' THEN OLD.invoice_id ELSE NEW.invoice_id END;
BEGIN
    IF NOT EXISTS (SELECT FROM invoices WHERE id = of_invoice AND status = 'draft') THEN
        RAISE EXCEPTION 'an issued invoice is immutable' USING ERRCODE = 'check_violation';
    END IF;
    RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER invoice_lines_immutable BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines
    FOR EACH ROW EXECUTE FUNCTION invoice_lines_immutable();

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
    -- Ours towards the gateway, or the bank's: it names one payment.
    reference         text           NOT NULL,
    -- The gateway's own name of the payment.
    gateway_reference text           NOT NULL DEFAULT '',
    gateway_status    text           NOT NULL DEFAULT '',
    state             text           NOT NULL DEFAULT 'pending'
                      CHECK (state IN ('pending', 'paid', 'failed', 'cancelled', 'refunded', 'disputed')),
    -- Where the gateway is asked; its host is on a list of allowed ones.
    poll_url          text           NOT NULL DEFAULT '',
    redirect_url      text           NOT NULL DEFAULT '',
    -- Real time, as begun_at and expires_at are: the clock of billing may be moved, a phone's prompt may not.
    next_poll_at      timestamptz,
    polls             integer        NOT NULL DEFAULT 0,
    -- Why an admin recorded it, or why it failed.
    reason            text           NOT NULL DEFAULT '',
    actor             text           NOT NULL DEFAULT '',
    received_at       timestamptz,
    settled_at        timestamptz,
    created_at        timestamptz    NOT NULL DEFAULT now(),
    updated_at        timestamptz    NOT NULL DEFAULT now(),
    -- When a payment through a gateway was begun, and until when it may take.
    begun_at          timestamptz,
    expires_at        timestamptz,
    UNIQUE (gateway, reference),
    CHECK ((begun_at IS NULL) = (expires_at IS NULL))
);
CREATE INDEX payments_customer ON payments (customer_id, created_at DESC);
CREATE INDEX payments_invoice ON payments (invoice_id);
-- What ended without money is looked at again for a while, too: money may come late.
CREATE INDEX payments_poll ON payments (next_poll_at) WHERE next_poll_at IS NOT NULL;

CREATE FUNCTION payments_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
       OR (OLD.state IN ('paid', 'refunded') AND NEW.state NOT IN ('paid', 'refunded', 'disputed'))
       OR (NEW.customer_id, NEW.invoice_id, NEW.amount_minor, NEW.currency, NEW.gateway, NEW.reference)
          IS DISTINCT FROM
          (OLD.customer_id, OLD.invoice_id, OLD.amount_minor, OLD.currency, OLD.gateway, OLD.reference) THEN
        RAISE EXCEPTION 'there is no way back from a paid payment' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER payments_forward BEFORE UPDATE OR DELETE ON payments
    FOR EACH ROW EXECUTE FUNCTION payments_forward();

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

-- Credit of a customer: given by an admin, or money that had no invoice any more. It is used before the next
-- invoice is paid.
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

-- The books: double entry. An entry is a fact about money; its lines sum to nothing in each currency; neither
-- ever changes.
CREATE TABLE journal_entries (
    id          uuid PRIMARY KEY,
    -- Billing time.
    at          timestamptz NOT NULL,
    -- invoice_issued, payment, refund, credit_given, credit_used, void, write_off, dispute
    kind        text        NOT NULL,
    customer_id uuid        NOT NULL REFERENCES customers (id),
    invoice_id  uuid        REFERENCES invoices (id),
    payment_id  uuid        REFERENCES payments (id),
    -- The same fact is booked once.
    key         text        NOT NULL UNIQUE,
    memo        text        NOT NULL DEFAULT '',
    written_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX journal_entries_customer ON journal_entries (customer_id, at);
-- The history of one invoice and of one payment.
CREATE INDEX journal_entries_invoice ON journal_entries (invoice_id) WHERE invoice_id IS NOT NULL;
CREATE INDEX journal_entries_payment ON journal_entries (payment_id) WHERE payment_id IS NOT NULL;

CREATE TABLE journal_lines (
    entry_id     uuid           NOT NULL REFERENCES journal_entries (id),
    position     integer        NOT NULL,
    -- receivable, revenue, tax, payments:<gateway>, credit, write_off, goodwill
    account      text           NOT NULL CHECK (account ~ '^[a-z_]+(:[a-z_]+)?$'),
    -- Debit is positive, credit negative.
    amount_minor numeric(20, 0) NOT NULL CHECK (amount_minor <> 0),
    currency     char(3)        NOT NULL,
    PRIMARY KEY (entry_id, position)
);
CREATE INDEX journal_lines_account ON journal_lines (account, currency);

CREATE FUNCTION journal_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entry uuid := CASE WHEN TG_TABLE_NAME = 'journal_entries' THEN (to_jsonb(NEW) ->> 'id')::uuid
                       ELSE (to_jsonb(NEW) ->> 'entry_id')::uuid END;
BEGIN
    IF (SELECT count(*) FROM journal_lines WHERE entry_id = entry) < 2
       OR EXISTS (SELECT FROM journal_lines WHERE entry_id = entry
                  GROUP BY currency HAVING sum(amount_minor) <> 0) THEN
        RAISE EXCEPTION 'journal entry % is not balanced', entry USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER journal_entries_balanced AFTER INSERT ON journal_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_balanced();
CREATE CONSTRAINT TRIGGER journal_lines_balanced AFTER INSERT ON journal_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION journal_balanced();

CREATE FUNCTION journal_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is immutable' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER journal_entries_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entries
    FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();
CREATE TRIGGER journal_lines_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_lines
    FOR EACH STATEMENT EXECUTE FUNCTION journal_immutable();

-- The provider as a whole (one row): since when it does not answer (BIL-34).
CREATE TABLE provider_state (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    away_since timestamptz
);
INSERT INTO provider_state DEFAULT VALUES;

-- What a provider that keeps the books shall be told, written before it is told. Money (payment, credit,
-- write_off, void, refund) is told until it was heard. The rest is a wish of a customer who waits for the
-- answer: when that is lost, the provider's state says whether it was done, and what was not done is dropped.
CREATE TABLE provider_calls (
    id              uuid PRIMARY KEY,
    customer_id     uuid        NOT NULL REFERENCES customers (id),
    subscription_id uuid        REFERENCES subscriptions (id),
    kind            text        NOT NULL
                    CHECK (kind IN ('change', 'undo_change', 'cancel', 'undo_cancel', 'payment', 'credit',
                                    'write_off', 'void', 'refund')),
    -- The same wish is written once.
    key             text        UNIQUE,
    -- Payment or invoice.
    subject_id      uuid,
    details         jsonb       NOT NULL DEFAULT '{}',
    state           text        NOT NULL DEFAULT 'waiting'
                    CHECK (state IN ('waiting', 'done', 'refused', 'dropped')),
    attempts        integer     NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    -- A safe text.
    outcome         text        NOT NULL DEFAULT '',
    CHECK ((state = 'waiting') = (finished_at IS NULL))
);
-- A subscription has one wish at a time.
CREATE UNIQUE INDEX provider_calls_one ON provider_calls (subscription_id)
    WHERE state = 'waiting' AND kind IN ('change', 'undo_change', 'cancel', 'undo_cancel');
CREATE INDEX provider_calls_due ON provider_calls (next_at) WHERE state = 'waiting';
CREATE INDEX provider_calls_customer ON provider_calls (customer_id) WHERE state = 'waiting';

-- Hooks as they came: hints, stored before anything else (BIL-30). Equal bodies wait as one; after it was
-- done, an equal one is a new hint.
CREATE TABLE webhook_inbox (
    id            uuid PRIMARY KEY,
    provider      text        NOT NULL,
    received_at   timestamptz NOT NULL DEFAULT now(),
    body          bytea       NOT NULL,
    content_type  text        NOT NULL DEFAULT '',
    digest        bytea       NOT NULL CHECK (length(digest) = 32),
    -- How often it came while it waited.
    deliveries    integer     NOT NULL DEFAULT 1,
    -- Ignored is what says nothing that we know.
    state         text        NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'done', 'ignored', 'failed')),
    attempts      integer     NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL DEFAULT now(),
    processed_at  timestamptz,
    customer_id   uuid,
    -- A safe text.
    outcome       text        NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX webhook_inbox_waiting ON webhook_inbox (provider, digest) WHERE state = 'new';
CREATE INDEX webhook_inbox_due ON webhook_inbox (next_at) WHERE state = 'new';
CREATE INDEX webhook_inbox_received ON webhook_inbox (received_at DESC);

-- Work at fixed times, done by the replica that takes it first. Real time, not billing time.
CREATE TABLE schedule (
    name   text PRIMARY KEY,
    due_at timestamptz NOT NULL
);
INSERT INTO schedule (name, due_at) VALUES ('audit', now());

-- Work on demand: reconciliation.
CREATE TABLE tasks (
    id          uuid PRIMARY KEY,
    kind        text        NOT NULL,
    customer_id uuid,
    state       text        NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'failed')),
    actor       text        NOT NULL,
    outcome     jsonb       NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    -- A replica works on it: the others leave it alone until then, in real time.
    held_until  timestamptz
);

-- The audit: books against documents, subscriptions against instances (BIL-37).
CREATE TABLE audit_runs (
    id          uuid PRIMARY KEY,
    -- Who wanted it: the schedule, or the task of an admin.
    cause       text        NOT NULL,
    state       text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
    -- How many of each kind were found.
    counts      jsonb       NOT NULL DEFAULT '{}',
    reason      text        NOT NULL DEFAULT '',
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX audit_runs_done ON audit_runs (finished_at DESC) WHERE state = 'done';
-- The run of an admin's task.
CREATE INDEX audit_runs_cause ON audit_runs (cause);

-- What a run found, the first of each kind.
CREATE TABLE audit_findings (
    run_id      uuid    NOT NULL REFERENCES audit_runs (id) ON DELETE CASCADE,
    position    integer NOT NULL,
    kind        text    NOT NULL,
    -- Entry, invoice, payment, subscription or instance; empty means the whole of something.
    subject_id  uuid,
    customer_id uuid,
    detail      text    NOT NULL,
    PRIMARY KEY (run_id, position)
);

-- What the audit found, over all runs: one row from the run that finds it to the one that does not any more
-- (BIL-37).
CREATE TABLE findings (
    id                 uuid PRIMARY KEY,
    kind               text        NOT NULL,
    subject_id         uuid,
    customer_id        uuid,
    -- What tells two of one kind and subject apart: a currency, an issuer.
    scope              text        NOT NULL DEFAULT '',
    detail             text        NOT NULL,
    first_seen_at      timestamptz NOT NULL,
    last_seen_at       timestamptz NOT NULL,
    last_run           uuid        NOT NULL,
    resolved_at        timestamptz,
    acknowledged_at    timestamptz,
    acknowledged_by    text        NOT NULL DEFAULT '',
    acknowledge_reason text        NOT NULL DEFAULT '',
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by = ''))
);
CREATE UNIQUE INDEX findings_open ON findings (kind, subject_id, customer_id, scope) NULLS NOT DISTINCT
    WHERE resolved_at IS NULL;
CREATE INDEX findings_seen ON findings (last_seen_at DESC);

-- What operators did, and why; written in the transaction of the action (SEC-17).
CREATE TABLE audit_log (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT now(),
    -- User id or service name.
    actor       text        NOT NULL,
    role        text        NOT NULL,
    action      text        NOT NULL,
    customer_id uuid,
    -- Invoice, payment, subscription or hook.
    subject_id  uuid,
    reason      text        NOT NULL,
    request_id  text        NOT NULL DEFAULT '',
    details     jsonb       NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_of_customer ON audit_log (customer_id, at DESC);

-- Events that a transaction announced. The relay publishes them, and marks them sent on the broker's confirm
-- (REL-02).
CREATE TABLE outbox (
    id           uuid PRIMARY KEY,
    topic        text        NOT NULL,
    aggregate_id uuid        NOT NULL,
    payload      jsonb       NOT NULL,
    -- W3C trace context of the cause.
    headers      jsonb       NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    sent_at      timestamptz,
    attempts     integer     NOT NULL DEFAULT 0,
    last_error   text
);
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;

CREATE FUNCTION outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('outbox', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER outbox_wakes_relay AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION outbox_notify();

-- Messages whose effect is done, written in the transaction of the effect (REL-03).
CREATE TABLE inbox (
    consumer     text        NOT NULL,
    message_id   uuid        NOT NULL,
    processed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_processed ON inbox (processed_at);
