-- Wakes the senders at the commit of a new or requeued mail; a sweep stands behind it.
CREATE FUNCTION emails_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('emails', '');
    RETURN NULL;
END
$$;
CREATE TRIGGER emails_wake_senders AFTER INSERT ON emails FOR EACH STATEMENT EXECUTE FUNCTION emails_notify();
