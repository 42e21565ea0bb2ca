-- Webhooks of our own: where workspaces want to be told, of what, and how each attempt went.

CREATE TABLE outgoing_endpoints (
    endpoint_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,     -- the order in which they were registered
    url text NOT NULL,
    types text[] NOT NULL,                          -- empty: every type
    balance_low bigint NULL,                        -- µ; below it the balance counts as low
    description text NULL,
    secret bytea NOT NULL,                          -- signs; told once, when it is made
    old_secret bytea NULL,                          -- signs too, until it runs out
    old_secret_until timestamptz NULL,              -- by our clock
    disabled text NULL CHECK (disabled IN ('owner', 'gone', 'failing')),
    from_position bigint NOT NULL,                  -- of later facts only
    leased_until timestamptz NULL,                  -- by the machine's clock: somebody sends
    created_at timestamptz NOT NULL
);
CREATE INDEX outgoing_endpoints_by_workspace ON outgoing_endpoints (workspace_id, number);
GRANT SELECT, INSERT, UPDATE, DELETE ON outgoing_endpoints TO daybook_runtime;

-- The streams of the workspaces that have endpoints: stream ids say nothing by themselves.
CREATE TABLE outgoing_streams (
    stream uuid PRIMARY KEY,
    workspace_id text NOT NULL
);
GRANT SELECT, INSERT, DELETE ON outgoing_streams TO daybook_runtime;

CREATE TABLE outgoing_position (
    "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),     -- one row at most
    position bigint NOT NULL                        -- every fact up to here was looked at
);
GRANT SELECT, INSERT, UPDATE ON outgoing_position TO daybook_runtime;

CREATE TABLE outgoing_messages (
    endpoint_id text NOT NULL REFERENCES outgoing_endpoints ON DELETE CASCADE,
    message_id text NOT NULL,                       -- made from the fact, so that it exists once
    number bigint GENERATED ALWAYS AS IDENTITY,     -- the order in which they are sent
    position bigint NOT NULL,                       -- of the fact
    type text NOT NULL,
    body text NOT NULL,                             -- as it is sent, each time the same
    created_at timestamptz NOT NULL,                -- by our clock, as all times here
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NULL,               -- NULL once settled
    settled_at timestamptz NULL,
    PRIMARY KEY (endpoint_id, message_id)
);
CREATE UNIQUE INDEX outgoing_messages_by_number ON outgoing_messages (endpoint_id, number);
CREATE INDEX outgoing_messages_open ON outgoing_messages (endpoint_id, number)
    WHERE status = 'pending';
GRANT SELECT, INSERT, UPDATE, DELETE ON outgoing_messages TO daybook_runtime;

CREATE TABLE outgoing_attempts (
    endpoint_id text NOT NULL,
    message_id text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    manual boolean NOT NULL,                        -- asked for by a person
    status_code integer NULL,                       -- NULL: there was no answer
    error text NULL,                                -- its kind, where there was no answer
    duration_ms integer NOT NULL,
    FOREIGN KEY (endpoint_id, message_id) REFERENCES outgoing_messages ON DELETE CASCADE
);
CREATE INDEX outgoing_attempts_by_message ON outgoing_attempts (endpoint_id, message_id, number);
GRANT SELECT, INSERT, DELETE ON outgoing_attempts TO daybook_runtime;
