-- A database is copied while its instance runs, and what changed since is copied again when it is off (DBS-33).
ALTER TABLE moves
    -- Counts the copies that were begun: what is found of one says nothing about the next.
    ADD COLUMN copies   integer NOT NULL DEFAULT 0,
    -- What the source looked like before it was copied: catalogue, and writes to each table.
    ADD COLUMN trace    jsonb,
    -- Tables that were found equal at both ends after the copy, by name. Still true of those that nobody wrote to since.
    ADD COLUMN compared jsonb,
    -- Nothing is written to the copy any more: whoever still copies tables finds this and stops.
    ADD COLUMN closed_to_copies boolean NOT NULL DEFAULT false;
