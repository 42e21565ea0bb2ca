-- The border with Stripe: what it told us and what became of it, and how far the facts that ask
-- something of the outside are carried out.

CREATE TABLE stripe_inbox (
    event_id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,     -- the order in which they came
    type text NOT NULL,
    created timestamptz NOT NULL,                   -- when it happened, by Stripe
    api_version text NULL,
    payload bytea NULL,                             -- as it came; NULL once purged
    sha256 bytea NOT NULL,                          -- of the payload
    refs text[] NOT NULL,                           -- ids of the Stripe objects that it names
    source text NOT NULL CHECK (source IN ('webhook', 'reconciler')),
    disposition text NOT NULL DEFAULT 'received'
        CHECK (disposition IN ('received', 'applied', 'ignored', 'deferred', 'failed')),
    reason text NULL,                               -- why it is not settled; never of the payload
    attempts integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL,               -- by our clock
    next_attempt_at timestamptz NULL,               -- by our clock; NULL once settled
    settled_at timestamptz NULL                     -- by our clock
);
CREATE UNIQUE INDEX stripe_inbox_by_number ON stripe_inbox (number);
CREATE INDEX stripe_inbox_open ON stripe_inbox (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX stripe_inbox_open_refs ON stripe_inbox USING gin (refs)
    WHERE next_attempt_at IS NOT NULL;
CREATE INDEX stripe_inbox_purgeable ON stripe_inbox (settled_at) WHERE payload IS NOT NULL;
GRANT SELECT, INSERT, UPDATE, DELETE ON stripe_inbox TO daybook_runtime;

CREATE TABLE follower_positions (
    follower text PRIMARY KEY,
    position bigint NOT NULL                        -- every fact up to here was handed out
);
GRANT SELECT, INSERT, UPDATE ON follower_positions TO daybook_runtime;

-- Reactions that failed: tried again by themselves, so that they hold up nobody else.
CREATE TABLE follower_parked (
    follower text NOT NULL,
    position bigint NOT NULL,                       -- of the fact
    reaction text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    error text NOT NULL,                            -- its kind only
    parked_at timestamptz NOT NULL DEFAULT now(),
    next_attempt_at timestamptz NOT NULL,           -- by the machine's clock
    PRIMARY KEY (follower, position, reaction)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON follower_parked TO daybook_runtime;

CREATE TABLE reconciliations (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    since timestamptz NOT NULL,                     -- Stripe's objects from here on
    finished_at timestamptz NOT NULL,               -- by our clock
    report jsonb NOT NULL                           -- ids and amounts only
);
GRANT SELECT, INSERT, DELETE ON reconciliations TO daybook_runtime;
