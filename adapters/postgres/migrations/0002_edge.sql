-- What the edge must remember: who may call, what was already answered, and the test clock.

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    key_hash bytea NOT NULL UNIQUE,     -- SHA-256; the key itself is shown once and kept nowhere
    workspace_id text NULL,             -- NULL: every workspace
    scopes text[] NOT NULL,
    name text,
    created_at timestamptz NOT NULL,
    revoked_at timestamptz NULL
);
GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO daybook_runtime;

CREATE TABLE idempotency_keys (
    workspace_id text,
    method text,
    path text,
    key text,
    fingerprint bytea NOT NULL,         -- of the request: another one under this key is refused
    status integer NULL,                -- status, body and position are NULL while it is answered
    body bytea NULL,
    position bigint NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workspace_id, method, path, key)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO daybook_runtime;

CREATE TABLE test_clock (
    "only" boolean PRIMARY KEY DEFAULT true CHECK ("only"),     -- one row at most
    now timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON test_clock TO daybook_runtime;
