-- Why calls were refused: a bounded, sampled memory. Admissions are explained by their events.

CREATE TABLE decisions (
    decision_id text PRIMARY KEY,
    workspace_id text NOT NULL,
    number bigint GENERATED ALWAYS AS IDENTITY,     -- the order in which they came
    at timestamptz NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX decisions_by_workspace ON decisions (workspace_id, number);
GRANT SELECT, INSERT, DELETE ON decisions TO daybook_runtime;
