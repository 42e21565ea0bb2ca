-- The least that a durable, keyed, prepaid debit can cost on this PostgreSQL. Account 0 is the hot
-- one, 1 to 1,000 are the others, and those from 1,001 on have nothing.

CREATE TABLE balance (
    id int PRIMARY KEY,
    balance bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE journal (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key uuid NOT NULL UNIQUE,
    account int NOT NULL,
    amount bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO balance
SELECT i, CASE WHEN i <= 1000 THEN 1000000000000000 ELSE 0 END FROM generate_series(0, 1020) i;

-- One debit. The journal first: so the hot row is locked for a shorter time. -1 is a refusal.
CREATE FUNCTION debit(k uuid, a int, x bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    INSERT INTO journal (key, account, amount) VALUES (k, a, -x)
    ON CONFLICT (key) DO NOTHING RETURNING seq INTO place;
    IF place IS NULL THEN
        RETURN (SELECT seq FROM journal WHERE key = k);
    END IF;
    UPDATE balance SET balance = balance - x WHERE id = a AND balance >= x;
    IF NOT FOUND THEN
        DELETE FROM journal WHERE seq = place;
        RETURN -1;
    END IF;
    RETURN place;
END $$;

-- Many debits, set based: accounts are locked in order, what was asked before is found by its key,
-- the rest is accepted while the running sum fits. Returns the places of what is accepted.
CREATE FUNCTION debit_set(ks uuid[], a int[], x bigint[]) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    accepted bigint[];
BEGIN
    PERFORM FROM balance WHERE id = ANY (a) ORDER BY id FOR UPDATE;
    WITH asked AS MATERIALIZED (
        SELECT r.*, (SELECT true FROM journal j WHERE j.key = r.key) AS known
        FROM unnest(ks, a, x) WITH ORDINALITY AS r (key, account, amount, place)),
    running AS (
        SELECT asked.*, sum(amount) OVER (PARTITION BY account ORDER BY place) AS so_far
        FROM asked WHERE known IS NULL),
    fits AS MATERIALIZED (
        SELECT running.* FROM running
        JOIN balance b ON b.id = running.account AND running.so_far <= b.balance),
    paid AS (
        UPDATE balance b SET balance = b.balance - t.total
        FROM (SELECT account, sum(amount)::bigint AS total FROM fits GROUP BY 1) t
        WHERE b.id = t.account),
    written AS (
        INSERT INTO journal (key, account, amount)
        SELECT key, account, -amount FROM fits ORDER BY place)
    SELECT coalesce(array_agg(place), '{}') INTO accepted
    FROM (SELECT place FROM fits UNION ALL SELECT place FROM asked WHERE known) AS answered;
    RETURN accepted;
END $$;
