-- Answers are kept for a month: the oldest are found without reading all of them.

CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
