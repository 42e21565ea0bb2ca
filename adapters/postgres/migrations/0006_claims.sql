-- Who answers a request: the application_name of its process's connections. When they are all
-- gone, so is the process, and the next one to send the key need not wait for the claim to age.

ALTER TABLE idempotency_keys ADD COLUMN claimed_by text NULL;
