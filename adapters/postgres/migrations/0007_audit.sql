-- What binds the book: a chain of hashes over all events in order of position, made after the
-- commit, and the signed checkpoints of it, which are published outside of the database too.

CREATE TABLE audit_trail (
    position       bigint PRIMARY KEY,
    stream         uuid   NOT NULL,
    version        bigint NOT NULL,
    type           text   NOT NULL,
    actor          text   NULL,
    cause          text   NULL,
    correlation_id text   NULL,
    occurred_at    timestamptz NULL,        -- of usage: when it was; else as recorded
    recorded_at    timestamptz NULL,
    event_hash     bytea  NOT NULL,         -- SHA-256; see projections/event_hash.py
    chain_hash     bytea  NOT NULL          -- SHA-256 of the one before and of event_hash
);

CREATE TABLE audit_checkpoints (
    position   bigint PRIMARY KEY,          -- of the last event that it covers
    chain_hash bytea  NOT NULL,
    at         timestamptz NOT NULL,
    key_id     text   NOT NULL,             -- which key signed it
    signature  bytea  NOT NULL              -- Ed25519
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is only ever added to: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_trail_never_changes BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_trail
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_checkpoints_never_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

GRANT SELECT, INSERT ON audit_trail, audit_checkpoints TO daybook_runtime;
