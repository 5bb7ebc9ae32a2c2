-- Passwords, encrypted with AES-256-GCM (DBS-32): `sealed` = nonce, ciphertext and tag; the row's id is authenticated with it.
CREATE TABLE server_secrets (
    db_server_id uuid PRIMARY KEY REFERENCES db_servers (id) ON DELETE CASCADE,
    key_id       text        NOT NULL CHECK (key_id <> ''),
    sealed       bytea       NOT NULL CHECK (length(sealed) > 28),
    -- Tells the worker that the password changed, without telling the password.
    secret_hash  text        NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE allocation_secrets (
    allocation_id uuid PRIMARY KEY REFERENCES allocations (id) ON DELETE CASCADE,
    key_id        text        NOT NULL CHECK (key_id <> ''),
    sealed        bytea       NOT NULL CHECK (length(sealed) > 28),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
