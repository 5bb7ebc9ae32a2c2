-- Refunds and void invoices are told to a provider that keeps the books, too, as money is: until it has heard.
ALTER TABLE provider_calls
    DROP CONSTRAINT provider_calls_kind_check,
    ADD CONSTRAINT provider_calls_kind_check
        CHECK (kind IN ('change', 'undo_change', 'cancel', 'undo_cancel', 'payment', 'credit', 'write_off', 'void', 'refund'));
