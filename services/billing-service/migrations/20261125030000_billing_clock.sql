-- The domain clock of billing: real time plus this offset (one row). It only goes forward, and moves money and nothing else.
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
CREATE TRIGGER billing_clock_forward BEFORE UPDATE OR DELETE ON billing_clock FOR EACH ROW EXECUTE FUNCTION billing_clock_forward();
