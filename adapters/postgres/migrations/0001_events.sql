-- The book of original entry: every fact, once, in one order. Everything else is posted from it.

CREATE TABLE events (
    originator_id      uuid   NOT NULL,
    originator_version bigint NOT NULL,
    topic              text,
    state              bytea,               -- UTF-8 JSON; see the view event_log
    notification_id    bigserial,           -- the position
    cause              text,                -- why it happened; unique in its stream for ever
    kind               text,                -- the fact's name, for plain SQL
    amount             bigint,              -- signed µ, of facts that move wallet money
    balance_after      bigint,              -- µ
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
CREATE UNIQUE INDEX events_notification_id_idx ON events (notification_id);
CREATE UNIQUE INDEX events_cause_idx ON events (originator_id, cause);

CREATE TABLE snapshots (
    originator_id      uuid   NOT NULL,
    originator_version bigint NOT NULL,
    topic              text   NOT NULL,
    state              bytea  NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
);

-- One call commits a whole batch. No client code runs while the lock is held, and because ids
-- are drawn under it, positions commit in order: who has seen n never later finds less than n.
-- Guards are what the decisions rest on without writing it: streams that were only read (prices,
-- a refused account) must not have moved on, and the causes of refused commands must not be
-- recorded already. Where one fails, the batch was decided on old state and is refused whole.
CREATE FUNCTION append_events(
    ids uuid[], versions bigint[], topics text[], states bytea[],
    causes text[], amounts bigint[], balances bigint[],
    guard_ids uuid[], guard_versions bigint[], refused_ids uuid[], refused_causes text[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
BEGIN
    IF cardinality(ids) > 0 THEN
        PERFORM pg_advisory_xact_lock(7001, 'events'::regclass::oid::int);
    END IF;
    -- One look-up at a time: a join would be planned once, for a table that was still empty.
    FOR i IN 1 .. cardinality(guard_ids) LOOP
        IF EXISTS (SELECT FROM events WHERE originator_id = guard_ids[i]
                   AND originator_version = guard_versions[i] + 1) THEN
            RAISE EXCEPTION 'a guarded stream has moved on' USING ERRCODE = 'DB001';
        END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(refused_ids) LOOP
        IF EXISTS (SELECT FROM events WHERE originator_id = refused_ids[i]
                   AND cause = refused_causes[i]) THEN
            RAISE EXCEPTION 'a refused command was recorded before' USING ERRCODE = 'DB001';
        END IF;
    END LOOP;
    IF cardinality(ids) > 0 THEN
        NOTIFY events;
        INSERT INTO events (originator_id, originator_version, topic, state,
                            cause, kind, amount, balance_after)
        SELECT id, version, topic, state, cause, split_part(topic, ':', 2), amount, balance
        FROM unnest(ids, versions, topics, states, causes, amounts, balances)
             AS new (id, version, topic, state, cause, amount, balance);
    END IF;
    IF cardinality(ids) > 0 THEN
        SELECT last_value INTO last FROM events_notification_id_seq;
    ELSE -- not the sequence: it also counts what was rolled back, and nobody ever reaches that
        SELECT coalesce(max(notification_id), 0) INTO last FROM events;
    END IF;
    RETURN last;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are never changed: % is refused; correct by adding', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER events_never_change BEFORE UPDATE OR DELETE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_never_vanish BEFORE TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- For people and auditors: the same rows with their JSON readable.
CREATE VIEW event_log AS
SELECT notification_id AS position, originator_id AS stream, originator_version AS version,
       kind, cause, amount, balance_after, (data->>'at')::timestamptz AS recorded_at, data
FROM events, LATERAL (SELECT convert_from(state, 'UTF8')::jsonb AS data) AS decoded;

GRANT SELECT, INSERT ON events TO daybook_runtime;
GRANT USAGE, SELECT ON SEQUENCE events_notification_id_seq TO daybook_runtime;
GRANT SELECT ON event_log TO daybook_runtime;
GRANT SELECT, INSERT, DELETE ON snapshots TO daybook_runtime;
